//! The packed npm packages: which files, which modes, and what `package.json` says, against the
//! policy; in a platform's package the addon and the wheel too.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::Result;
use flate2::bufread::GzDecoder;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tar::EntryType;

use super::archive::{File, Files, MOST_BYTES};
use super::binary::{self, Binary};
use super::problems::Problems;
use super::wheel::{self, Wheel};
use super::{Kind, Rules, check_size, paths};
use crate::policy::Policy;
use crate::{addon, digest, lock, repo, version};

/// The directory that npm packs everything in.
const TOP: &str = "package/";
const MANIFEST: &str = "package.json";
/// What every package has beside its own files.
const COMMON: [&str; 3] = [MANIFEST, "README.md", "LICENSE"];
/// What the package that people install is made of.
const ROOT_DIR: &str = "dist/";
const ROOT_ENDINGS: [&str; 6] = [
    ".cjs",
    ".mjs",
    ".d.ts",
    ".d.mts",
    ".d.cts",
    "/THIRD_PARTY_LICENSES",
];
/// What `package.json` may say; nothing of it makes npm run anything.
const KEYS: [&str; 21] = [
    "name",
    "version",
    "description",
    "keywords",
    "homepage",
    "bugs",
    "license",
    "repository",
    "type",
    "main",
    "types",
    "exports",
    "bin",
    "files",
    "engines",
    "os",
    "cpu",
    "libc",
    "optionalDependencies",
    "preferUnplugged",
    "publishConfig",
];
const PYTHON_DIR: &str = "python/";

/// What a packed package was found to be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tarball {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) files: usize,
    /// The packages of platforms that it brings along.
    pub(crate) platforms: Vec<String>,
    pub(crate) addon: Option<Binary>,
    pub(crate) wheel: Option<Wheel>,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Checks the package of a platform.
pub(super) fn check_platform(
    rules: Rules<'_>,
    content: &[u8],
    problems: &mut Problems,
) -> Result<Tarball> {
    let policy = rules.policy;
    let limit = policy.max_bytes.platform_tarball;
    check_size(limit, "platformTarball", content.len(), problems);
    let mut tarball = Tarball::of(&policy.platform_package(rules.platform), content)?;
    let Some(files) = read_or_note(content, problems) else {
        return Ok(tarball);
    };
    tarball.files = files.len();
    let manifest = parse(&files, problems);
    let asset_files = [
        format!("{PYTHON_DIR}{}", ktx_asset::MANIFEST_FILE),
        format!("{PYTHON_DIR}{}", lock::FILE_NAME),
    ];
    let is_wheel = |name: &str| {
        let file = name.strip_prefix(PYTHON_DIR).map(Path::new);
        file.is_some_and(|file| {
            file.extension().is_some_and(|extension| extension == "whl")
                && file.components().count() == 1
        })
    };
    for (name, file) in files.iter() {
        let is_known = COMMON.contains(&name)
            || name == addon::FILE_NAME
            || asset_files.iter().any(|file| file == name)
            || is_wheel(name);
        problems.unless(is_known, "files", format!("`{name}` does not belong in it"));
        check_mode(name, file, 0o644, problems);
    }
    let expected = Map::from_iter([
        ("name".to_owned(), json!(tarball.name)),
        ("version".to_owned(), json!(repo::VERSION)),
        ("os".to_owned(), json!([rules.platform.os])),
        ("cpu".to_owned(), json!([rules.platform.cpu])),
        (
            "libc".to_owned(),
            rules
                .platform
                .libc
                .as_ref()
                .map_or(Value::Null, |libc| json!([libc])),
        ),
        ("optionalDependencies".to_owned(), Value::Null),
        ("bin".to_owned(), Value::Null),
        ("main".to_owned(), json!(addon::FILE_NAME)),
    ]);
    check_common(policy, &files, &manifest, &expected, problems)?;
    tarball.addon = check_addon(rules, &files, problems)?;
    let wheels: Vec<&str> = files
        .iter()
        .map(|(name, _)| name)
        .filter(|name| is_wheel(name))
        .collect();
    problems.unless(
        wheels.len() == 1,
        "files",
        format!("has {} wheels; expected one", wheels.len()),
    );
    for name in wheels {
        let Some(file) = files.get(name) else {
            continue;
        };
        let file_name = name.strip_prefix(PYTHON_DIR).unwrap_or(name);
        tarball.wheel = Some(problems.inside(name, |problems| {
            wheel::check(rules, file_name, &file.content, problems)
        })?);
    }
    check_asset(&files, problems)?;
    problems.unless(
        files.get(&asset_files[1]).is_none_or(|file| {
            fs_err::read(repo::path(lock::PATH)).is_ok_and(|lock| lock == file.content)
        }),
        &asset_files[1],
        format!("is not `{}`", lock::PATH),
    );
    Ok(tarball)
}

/// Checks the package that people install.
pub(super) fn check_root(
    policy: &Policy,
    content: &[u8],
    problems: &mut Problems,
) -> Result<Tarball> {
    check_size(
        policy.max_bytes.root_tarball,
        "rootTarball",
        content.len(),
        problems,
    );
    let mut tarball = Tarball::of(&policy.root_package(), content)?;
    let Some(files) = read_or_note(content, problems) else {
        return Ok(tarball);
    };
    tarball.files = files.len();
    let manifest = parse(&files, problems);
    let programs: BTreeSet<&str> = manifest
        .get("bin")
        .and_then(Value::as_object)
        .map(|bin| bin.values().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, file) in files.iter() {
        let is_known = COMMON.contains(&name)
            || (name.starts_with(ROOT_DIR)
                && ROOT_ENDINGS.iter().any(|ending| name.ends_with(ending)));
        problems.unless(is_known, "files", format!("`{name}` does not belong in it"));
        let is_program = programs.contains(name);
        check_mode(name, file, if is_program { 0o755 } else { 0o644 }, problems);
        problems.unless(
            !is_program || file.content.starts_with(b"#!/usr/bin/env node\n"),
            "bin",
            format!("`{name}` does not begin with the line that runs Node"),
        );
        if let Some(path) = paths::of_build_machine(&file.content)? {
            problems.add(
                "paths",
                format!("`{name}` holds `{path}`, a path of the machine that built it"),
            );
        }
    }
    for name in named_files(&manifest) {
        problems.unless(
            files.get(&name).is_some(),
            MANIFEST,
            format!("names `{name}`, which is not there"),
        );
    }
    tarball.platforms = check_platforms(policy, &manifest, problems);
    let expected = Map::from_iter([
        ("name".to_owned(), json!(tarball.name)),
        ("version".to_owned(), json!(repo::VERSION)),
        ("os".to_owned(), Value::Null),
        ("cpu".to_owned(), Value::Null),
        ("libc".to_owned(), Value::Null),
    ]);
    check_common(policy, &files, &manifest, &expected, problems)?;
    Ok(tarball)
}

/// Checks that the root package brings along packages of the policy's platforms, at its version: all
/// of them, or those that are released without the others.
fn check_platforms(
    policy: &Policy,
    manifest: &Map<String, Value>,
    problems: &mut Problems,
) -> Vec<String> {
    const KEY: &str = "optionalDependencies";
    let names: Vec<String> = policy
        .platforms
        .iter()
        .map(|platform| policy.platform_package(platform))
        .collect();
    let found = manifest.get(KEY).and_then(Value::as_object);
    problems.unless(
        found.is_some_and(|found| !found.is_empty()),
        MANIFEST,
        format!("`{KEY}` names no platform's package"),
    );
    for (name, version) in found.into_iter().flatten() {
        problems.unless(
            names.contains(name) && version == repo::VERSION,
            MANIFEST,
            format!(
                "`{KEY}` has `{name}` at {version}; expected packages of the policy's platforms at \"{}\"",
                repo::VERSION
            ),
        );
    }
    found.into_iter().flat_map(Map::keys).cloned().collect()
}

impl Tarball {
    fn of(name: &str, content: &[u8]) -> Result<Self> {
        let digested = digest::of_reader(content)?;
        Ok(Self {
            name: name.to_owned(),
            version: repo::VERSION.to_owned(),
            files: 0,
            platforms: Vec::new(),
            addon: None,
            wheel: None,
            bytes: digested.bytes,
            sha256: digested.sha256,
        })
    }
}

fn read_or_note(content: &[u8], problems: &mut Problems) -> Option<Files> {
    match read(content, problems) {
        Ok(files) => Some(files),
        Err(error) => {
            problems.add("archive", format!("cannot be read ({error:#})"));
            None
        }
    }
}

/// Reads every file; what is wrong with the form of the archive is a problem.
fn read(content: &[u8], problems: &mut Problems) -> Result<Files> {
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(content);
    decoder
        .by_ref()
        .take(MOST_BYTES)
        .read_to_end(&mut unpacked)?;
    problems.unless(
        decoder.into_inner().is_empty(),
        "archive",
        "has something after its end, or unpacks to too much",
    );
    let mut files = Files::default();
    let mut archive = tar::Archive::new(&unpacked[..]);
    // Raw, so that no header which renames the next entry goes unseen.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let header = entry.header();
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let (kind, mode) = (header.entry_type(), header.mode()?);
        problems.unless(
            header.uid()? == 0
                && header.gid()? == 0
                && header.username_bytes().is_none_or(<[u8]>::is_empty),
            "owner",
            format!("`{name}` belongs to whoever packed it"),
        );
        if kind != EntryType::Regular {
            problems.add("files", format!("`{name}` is no file ({kind:?})"));
            continue;
        }
        let Some(name) = name.strip_prefix(TOP) else {
            problems.add("paths", format!("`{name}` is not in `{TOP}`"));
            continue;
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let file = File { mode, content };
        files.add(name, file, problems);
    }
    Ok(files)
}

fn check_mode(name: &str, file: &File, expected: u32, problems: &mut Problems) {
    problems.unless(
        file.mode == expected,
        "modes",
        format!("`{name}` has {:o}; expected {expected:o}", file.mode),
    );
}

fn parse(files: &Files, problems: &mut Problems) -> Map<String, Value> {
    let Some(text) = files.text(MANIFEST, problems) else {
        return Map::new();
    };
    match serde_json::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            problems.add(MANIFEST, format!("cannot be read ({error})"));
            Map::new()
        }
    }
}

/// What holds for every package: the files that all have, and what `package.json` says.
fn check_common(
    policy: &Policy,
    files: &Files,
    manifest: &Map<String, Value>,
    expected: &Map<String, Value>,
    problems: &mut Problems,
) -> Result<()> {
    for name in COMMON {
        problems.unless(
            files.get(name).is_some(),
            "files",
            format!("`{name}` is missing"),
        );
    }
    let license = fs_err::read(repo::path("LICENSE"))?;
    problems.unless(
        files
            .get("LICENSE")
            .is_none_or(|file| file.content == license),
        "files",
        "`LICENSE` is not that of the checkout",
    );
    for key in manifest.keys() {
        problems.unless(
            KEYS.contains(&key.as_str()),
            MANIFEST,
            format!("has `{key}`, which no published package of ours has"),
        );
    }
    let access = json!({ "access": policy.access.name() });
    let repository = json!(format!("git+{}", policy.repository));
    for (key, expected) in expected
        .iter()
        .chain([(&"publishConfig".to_owned(), &access)])
    {
        let found = manifest.get(key).unwrap_or(&Value::Null);
        problems.unless(
            found == expected,
            MANIFEST,
            format!("`{key}` is `{found}`; expected `{expected}`"),
        );
    }
    let found = manifest
        .get("repository")
        .and_then(|repository| repository.get("url"));
    problems.unless(
        found == Some(&repository),
        MANIFEST,
        format!(
            "`repository.url` is `{}`; expected `{repository}`",
            found.unwrap_or(&Value::Null)
        ),
    );
    Ok(())
}

/// The files that `package.json` sends people and programs to.
fn named_files(manifest: &Map<String, Value>) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::String(name) => {
                names.insert(name.strip_prefix("./").unwrap_or(name).to_owned());
            }
            Value::Object(entries) => entries.values().for_each(|value| collect(value, names)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    for key in ["main", "types", "exports", "bin"] {
        if let Some(value) = manifest.get(key) {
            collect(value, &mut names);
        }
    }
    names
}

fn check_addon(rules: Rules<'_>, files: &Files, problems: &mut Problems) -> Result<Option<Binary>> {
    let Some(file) = files.get(addon::FILE_NAME) else {
        problems.add("files", format!("`{}` is missing", addon::FILE_NAME));
        return Ok(None);
    };
    problems.inside(addon::FILE_NAME, |problems| {
        check_size(
            rules.policy.max_bytes.addon,
            "addon",
            file.content.len(),
            problems,
        );
        binary::check(rules, Kind::Addon, &file.content, problems).map(Some)
    })
}

/// Verifies the asset as the runtime does when it is installed.
fn check_asset(files: &Files, problems: &mut Problems) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, file) in files.iter() {
        if let Some(name) = name.strip_prefix(PYTHON_DIR)
            && !name.contains('/')
        {
            fs_err::write(dir.path().join(name), &file.content)?;
        }
    }
    let key = format!("{PYTHON_DIR}{}", ktx_asset::MANIFEST_FILE);
    match ktx_asset::verify(dir.path()) {
        Ok(asset) => {
            let manifest = asset.manifest;
            for (name, found, expected) in [
                (
                    "distributionName",
                    &manifest.distribution_name,
                    wheel::DISTRIBUTION,
                ),
                (
                    "version",
                    &manifest.version,
                    &version::pep440(repo::VERSION)?,
                ),
            ] {
                problems.unless(
                    found == expected,
                    &key,
                    format!("`{name}` is `{found}`; expected `{expected}`"),
                );
            }
            problems.unless(
                manifest
                    .lock
                    .is_some_and(|lock| lock.file == lock::FILE_NAME),
                &key,
                format!("does not name `{}`", lock::FILE_NAME),
            );
        }
        Err(error) => {
            let place = format!("{}/", dir.path().display());
            let chain = format!("{:#}", anyhow::Error::new(error)).replace(&place, PYTHON_DIR);
            problems.add(&key, chain);
        }
    }
    Ok(())
}
