//! `dist/manifest.json`: everything that a release made, so that what is published later, perhaps
//! by another machine, can be told to be exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xshell::cmd;

use crate::artifact::{self, Problems, unsafe_name};
use crate::npm::{self, Packed};
use crate::policy::Policy;
use crate::{digest, repo, tools, version};

/// Where a release puts what it made, in the checkout.
pub(crate) const DIR: &str = "dist";
const MANIFEST: &str = "manifest.json";
const SCHEMA_VERSION: u32 = 2;
/// What a release writes beside the manifest, after it.
const REPORTS: [&str; 2] = ["report.json", "report.md"];

/// Everything that a release made.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    /// RFC 3339.
    generated_at: String,
    /// The commit, with `-dirty` if the checkout held something else.
    source_revision: String,
    packages: Vec<Package>,
    files: Vec<File>,
}

/// What people install by name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
struct Package {
    ecosystem: Ecosystem,
    name: String,
    version: String,
}

/// One file beside the manifest.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// From the manifest's directory, with `/` between directories.
    path: String,
    ecosystem: Ecosystem,
    kind: Kind,
    name: String,
    version: String,
    bytes: u64,
    sha256: String,
    /// SHA-512 as npm states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    integrity: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Ecosystem {
    Npm,
    Pypi,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Root,
    Platform,
    Wheel,
}

/// Writes the manifest of tarballs and wheels into `dir`, which then holds them and no others.
pub(crate) fn write(
    policy: &Policy,
    packed: &[Packed],
    wheels: &[impl AsRef<Path>],
    dir: &Path,
) -> Result<Manifest> {
    fs_err::create_dir_all(dir)?;
    let mut files = Vec::new();
    for package in packed {
        let kind = match package.platform {
            Some(_) => Kind::Platform,
            None => Kind::Root,
        };
        files.push(File {
            path: take_in(&package.path, dir)?,
            ecosystem: Ecosystem::Npm,
            kind,
            name: package.name.clone(),
            version: package.version.clone(),
            bytes: package.bytes,
            sha256: package.sha256.clone(),
            integrity: Some(package.integrity.clone()),
        });
    }
    for wheel in wheels {
        let path = take_in(wheel.as_ref(), dir)?;
        let digested = digest::of_file(&dir.join(&path))?;
        files.push(File {
            path,
            ecosystem: Ecosystem::Pypi,
            kind: Kind::Wheel,
            name: artifact::DISTRIBUTION.to_owned(),
            version: version::pep440(repo::VERSION)?,
            bytes: digested.bytes,
            sha256: digested.sha256,
            integrity: None,
        });
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    remove_older(&files, dir)?;
    let stated_time = std::env::var("SOURCE_DATE_EPOCH").ok();
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        generated_at: humantime::format_rfc3339_seconds(now(stated_time.as_deref())?).to_string(),
        source_revision: source_revision()?,
        packages: packages(&files).into_iter().collect(),
        files,
    };
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    fs_err::write(dir.join(MANIFEST), text)?;
    verify(policy, dir)
}

/// The packed packages of a verified release and the commit that they were made from; the root
/// comes last.
pub(crate) fn packed(policy: &Policy, dir: &Path) -> Result<(String, Vec<Packed>)> {
    let manifest = verify(policy, dir)?;
    let platform_of = |name: &str| {
        let mut platforms = policy.platforms.iter();
        let found = platforms.find(|platform| policy.platform_package(platform) == name);
        found.map(|platform| platform.id.clone())
    };
    let mut packed: Vec<Packed> = manifest
        .files
        .into_iter()
        .filter_map(|file| {
            Some(Packed {
                platform: platform_of(&file.name),
                path: dir.join(&file.path),
                name: file.name,
                version: file.version,
                integrity: file.integrity?,
                sha256: file.sha256,
                bytes: file.bytes,
            })
        })
        .collect();
    packed.sort_by_key(|package| package.platform.is_none());
    Ok((manifest.source_revision, packed))
}

/// Fails with everything in which `dir` is not what its manifest says.
pub(crate) fn verify(policy: &Policy, dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let manifest = read(&path)?;
    let mut problems = Problems::of(&repo::shown(&path));
    manifest.check_head(&mut problems);
    manifest.check_files(policy, dir, &mut problems)?;
    manifest.check_nothing_else(dir, &mut problems)?;
    problems.into_result()?;
    Ok(manifest)
}

fn read(path: &Path) -> Result<Manifest> {
    let shown = repo::shown(path);
    ensure!(
        path.exists(),
        "No `{shown}`, which `cargo xtask release` writes with what it lists"
    );
    let text = fs_err::read_to_string(path)?;
    let json: Value =
        serde_json::from_str(&text).with_context(|| format!("`{shown}` is no JSON"))?;
    // First, as another schema may have other keys.
    let schema = json.get("schemaVersion").unwrap_or(&Value::Null);
    ensure!(
        *schema == SCHEMA_VERSION,
        "`{shown}`: `schemaVersion`: is {schema}; expected {SCHEMA_VERSION}"
    );
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| anyhow!("`{shown}`: `{}`: {}", error.path(), error.inner()))
}

impl Manifest {
    fn check_head(&self, problems: &mut Problems) {
        problems.unless(
            humantime::parse_rfc3339(&self.generated_at).is_ok(),
            "`generatedAt`",
            format!(
                "`{}` is no time such as 2026-01-31T12:00:00Z",
                self.generated_at
            ),
        );
        let revision = self
            .source_revision
            .strip_suffix("-dirty")
            .unwrap_or(&self.source_revision);
        problems.unless(
            revision.len() == 40 && is_lower_hex(revision),
            "`sourceRevision`",
            format!("`{}` is no commit", self.source_revision),
        );
        let (expected, stated) = (
            packages(&self.files),
            BTreeSet::from_iter(self.packages.clone()),
        );
        for package in expected.symmetric_difference(&stated) {
            let said = if stated.contains(package) {
                "names a package that has no file"
            } else {
                "does not name the package"
            };
            problems.add(
                "`packages`",
                format!("{said}: {} {}", package.name, package.version),
            );
        }
        problems.unless(
            stated.len() == self.packages.len(),
            "`packages`",
            "names a package twice",
        );
    }

    fn check_files(&self, policy: &Policy, dir: &Path, problems: &mut Problems) -> Result<()> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (index, file) in self.files.iter().enumerate() {
            let key = format!("`files[{index}]`");
            if let Some(reason) = unsafe_name(&file.path) {
                problems.add(&key, format!("`{}` {reason}", file.path.escape_default()));
                continue;
            }
            if let Some(other) = seen.insert(file.path.to_lowercase(), &file.path) {
                problems.add(
                    &key,
                    format!("`{}` is there before, as `{other}`", file.path),
                );
                continue;
            }
            file.check_identity(policy, &key, problems)?;
            file.check_content(dir, &key, problems)?;
        }
        problems.unless(!self.files.is_empty(), "`files`", "names none");
        Ok(())
    }

    fn check_nothing_else(&self, dir: &Path, problems: &mut Problems) -> Result<()> {
        let mut found = Vec::new();
        list(dir, "", &mut found)?;
        let named: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        for name in &found {
            let is_own = name == MANIFEST || REPORTS.contains(&name.as_str());
            problems.unless(
                is_own || named.contains(name.as_str()),
                "`files`",
                format!("does not name `{name}`, which is there"),
            );
        }
        Ok(())
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} files from {}, as they were on {}",
            self.files.len(),
            self.source_revision,
            self.generated_at
        )
    }
}

impl File {
    /// What it is called and which version it is.
    fn check_identity(&self, policy: &Policy, key: &str, problems: &mut Problems) -> Result<()> {
        let is_npm = self.kind != Kind::Wheel;
        let (ecosystem, version, end) = if is_npm {
            (Ecosystem::Npm, repo::VERSION.to_owned(), ".tgz")
        } else {
            (Ecosystem::Pypi, version::pep440(repo::VERSION)?, ".whl")
        };
        let names: Vec<String> = match self.kind {
            Kind::Root => vec![policy.root_package()],
            Kind::Platform => policy
                .platforms
                .iter()
                .map(|platform| policy.platform_package(platform))
                .collect(),
            Kind::Wheel => vec![artifact::DISTRIBUTION.to_owned()],
        };
        problems.unless(
            self.ecosystem == ecosystem && self.path.ends_with(end),
            key,
            format!("`{}` is not of its kind", self.path),
        );
        problems.unless(
            names.contains(&self.name),
            key,
            format!("`name` is `{}`; expected {}", self.name, names.join(" or ")),
        );
        problems.unless(
            self.version == version,
            key,
            format!("`version` is `{}`; expected `{version}`", self.version),
        );
        problems.unless(
            self.integrity.is_some() == is_npm,
            key,
            "`integrity` is there for packages of npm, and for them only",
        );
        Ok(())
    }

    /// What the file beside the manifest holds.
    fn check_content(&self, dir: &Path, key: &str, problems: &mut Problems) -> Result<()> {
        let path = dir.join(&self.path);
        let Ok(metadata) = fs_err::symlink_metadata(&path) else {
            problems.add(key, format!("`{}` is missing", self.path));
            return Ok(());
        };
        if !metadata.is_file() {
            problems.add(key, format!("`{}` is no file", self.path));
            return Ok(());
        }
        let content = fs_err::read(&path)?;
        let digested = digest::of_reader(&content[..])?;
        for (name, found, stated) in [
            (
                "bytes",
                digested.bytes.to_string(),
                Some(self.bytes.to_string()),
            ),
            ("sha256", digested.sha256, Some(self.sha256.clone())),
            (
                "integrity",
                npm::integrity(&content),
                self.integrity.clone(),
            ),
        ] {
            if let Some(stated) = stated {
                problems.unless(
                    found == stated,
                    key,
                    format!(
                        "`{}` has the {name} {found}; the manifest states {stated}",
                        self.path
                    ),
                );
            }
        }
        Ok(())
    }
}

fn packages(files: &[File]) -> BTreeSet<Package> {
    files
        .iter()
        .map(|file| Package {
            ecosystem: file.ecosystem,
            name: file.name.clone(),
            version: file.version.clone(),
        })
        .collect()
}

/// Copies a file into the directory unless it is there, and gives its path from there.
fn take_in(path: &Path, dir: &Path) -> Result<String> {
    let name = path.file_name().context("An artifact has a name")?;
    let inside = dir.join(name);
    let is_there = inside.exists() && fs_err::canonicalize(&inside)? == fs_err::canonicalize(path)?;
    if !is_there {
        fs_err::write(&inside, fs_err::read(path)?)?;
    }
    Ok(name.to_string_lossy().into_owned())
}

/// Removes the artifacts that an earlier release left.
fn remove_older(files: &[File], dir: &Path) -> Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_artifact = [".tgz", ".whl"].iter().any(|end| name.ends_with(end));
        if is_artifact && !files.iter().any(|file| file.path == name) {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

fn list(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.push(name);
        }
    }
    Ok(())
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The given time in seconds, which the environment states for all that is built; else now.
fn now(stated: Option<&str>) -> Result<SystemTime> {
    let Some(seconds) = stated else {
        return Ok(SystemTime::now());
    };
    let seconds = seconds.parse().with_context(|| {
        format!("`SOURCE_DATE_EPOCH` is `{seconds}`, which is no number of seconds")
    })?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn source_revision() -> Result<String> {
    let sh = tools::shell()?;
    let revision = cmd!(sh, "git rev-parse HEAD").quiet().read()?;
    let is_clean = cmd!(sh, "git status --porcelain")
        .quiet()
        .read()?
        .is_empty();
    Ok(if is_clean {
        revision
    } else {
        format!("{revision}-dirty")
    })
}

// A directory called `dist` would be taken for what is built.
#[cfg(test)]
#[path = "dist_tests.rs"]
mod tests;
