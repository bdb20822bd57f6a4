//! Every place that states the version, read and written together.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::changelog::{self, Changelog};
use crate::version;

const WORKSPACE: &str = "Cargo.toml";
const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];
/// What cargo notes of a package that states no version.
const NO_VERSION: &str = "0.0.0";
const PACKAGE: &str = "npm/ktx/package.json";
const PACKAGE_LOCK: &str = "package-lock.json";
const PROJECT: &str = "python/pyproject.toml";
const CRATES_DIR: &str = "crates";
/// The package as npm's lock names it.
const LOCKED_PACKAGE: &str = "npm/ktx";

/// A checkout, by its directory.
pub(super) struct Checkout<'a>(pub(super) &'a Path);

/// A file and what it is to hold.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: &'static str,
    before: String,
    after: String,
}

impl Checkout<'_> {
    /// The workspace's version, which everything else follows.
    pub(super) fn version(&self) -> Result<String> {
        let workspace = self.toml(WORKSPACE)?;
        let version = workspace["workspace"]["package"]["version"].as_str();
        version
            .map(str::to_owned)
            .with_context(|| format!("`{WORKSPACE}` has no `workspace.package.version`"))
    }

    /// Where another version stands than in the workspace, or none that follows it.
    pub(super) fn problems(&self) -> Result<Vec<String>> {
        let expected = self.version()?;
        let mut problems = Vec::new();
        if let Err(error) = version::parse(&expected) {
            problems.push(format!("{WORKSPACE}: {error}"));
        }
        let stated = self.stated()?;
        for (place, version) in stated.iter().filter(|(_, version)| *version != expected) {
            problems.push(format!(
                "{place}: the version is {version}, the workspace's is {expected}; \
                 set all with `cargo xtask version {expected}`"
            ));
        }
        if !self.read(PROJECT)?.contains("dynamic = [\"version\"]") {
            problems.push(format!(
                "{PROJECT}: the version must be dynamic, so that it is the workspace's"
            ));
        }
        for entry in fs_err::read_dir(self.0.join(CRATES_DIR))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let manifest = format!("{CRATES_DIR}/{name}/Cargo.toml");
            if !self.read(&manifest)?.contains("version.workspace = true") {
                problems.push(format!("{manifest}: the version must be the workspace's"));
            }
        }
        let changelog = Changelog::parse(&self.read(changelog::PATH)?);
        problems.extend(
            changelog
                .problems(&expected)
                .iter()
                .map(|problem| format!("{}: {problem}", changelog::PATH)),
        );
        Ok(problems)
    }

    /// What each place that repeats the version says.
    fn stated(&self) -> Result<Vec<(String, String)>> {
        let said = |value: &Value| value.as_str().unwrap_or("missing").to_owned();
        let mut stated = vec![
            (PACKAGE.to_owned(), said(&self.json(PACKAGE)?["version"])),
            (
                PACKAGE_LOCK.to_owned(),
                said(&self.json(PACKAGE_LOCK)?["packages"][LOCKED_PACKAGE]["version"]),
            ),
        ];
        for name in LOCKS {
            let lock = self.toml(name)?;
            let packages = lock["package"].as_array_of_tables();
            let packages = packages.with_context(|| format!("`{name}` lists no packages"))?;
            for package in packages.iter().filter(|package| is_own(package)) {
                let text = |key| package.get(key).and_then(Item::as_str).unwrap_or("missing");
                stated.push((
                    format!("{name}: {}", text("name")),
                    text("version").to_owned(),
                ));
            }
        }
        Ok(stated)
    }

    /// What has to be written so that all say `version`; nothing where all do.
    pub(super) fn changes(&self, version: &str, now: SystemTime) -> Result<Vec<Change>> {
        let current = self.version()?;
        let new = version::parse(version)?;
        let is_new = match version::parse(&current) {
            Ok(current) => {
                ensure!(
                    new >= current,
                    "{version} is not newer than {current}, the version of this checkout"
                );
                new > current
            }
            // A version that nothing can order is older than one that can be.
            Err(_) => true,
        };
        let mut changes = vec![
            self.change(WORKSPACE, |text| {
                let mut workspace: DocumentMut = text.parse()?;
                set(&mut workspace["workspace"]["package"]["version"], version);
                Ok(workspace.to_string())
            })?,
            self.change(PACKAGE, |text| with_json(text, &["version"], version))?,
            self.change(PACKAGE_LOCK, |text| {
                with_json(text, &["packages", LOCKED_PACKAGE, "version"], version)
            })?,
        ];
        for name in LOCKS {
            changes.push(self.change(name, |text| {
                let mut lock: DocumentMut = text.parse()?;
                let packages = lock["package"].as_array_of_tables_mut();
                let packages = packages.context("It lists no packages")?;
                for package in packages.iter_mut().filter(|package| is_own(package)) {
                    set(&mut package["version"], version);
                }
                Ok(lock.to_string())
            })?);
        }
        if is_new {
            let day = humantime::format_rfc3339_seconds(now).to_string();
            let day = day.split('T').next().context("A time begins with a day")?;
            changes.push(self.change(changelog::PATH, |text| {
                Changelog::parse(text).with_release(&current, version, day)
            })?);
        }
        changes.retain(|change| change.before != change.after);
        Ok(changes)
    }

    /// Writes all changes or, where one cannot be written, none.
    pub(super) fn write(&self, changes: &[Change]) -> Result<()> {
        let mut files = Vec::new();
        for change in changes {
            let path = self.0.join(change.name);
            files.push((
                staged(&path, &change.after)?,
                staged(&path, &change.before)?,
                path,
            ));
        }
        let mut originals: Vec<(NamedTempFile, PathBuf)> = Vec::new();
        for (new, original, path) in files {
            if let Err(error) = new.persist(&path) {
                for (original, path) in originals {
                    original.persist(path)?;
                }
                return Err(error.error).with_context(|| {
                    format!("Cannot write `{}`; nothing was changed", path.display())
                });
            }
            originals.push((original, path));
        }
        Ok(())
    }

    fn change(&self, name: &'static str, edit: impl Fn(&str) -> Result<String>) -> Result<Change> {
        let before = self.read(name)?;
        let after = edit(&before).with_context(|| format!("`{name}`"))?;
        Ok(Change {
            name,
            before,
            after,
        })
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(fs_err::read_to_string(self.0.join(name))?)
    }

    fn toml(&self, name: &str) -> Result<DocumentMut> {
        let text = self.read(name)?;
        text.parse()
            .with_context(|| format!("`{name}` is not valid"))
    }

    fn json(&self, name: &str) -> Result<Value> {
        serde_json::from_str(&self.read(name)?).with_context(|| format!("`{name}` is not valid"))
    }
}

/// Whether a lock's package comes from nowhere else, and has the workspace's version.
fn is_own(package: &Table) -> bool {
    let version = package.get("version").and_then(Item::as_str);
    !package.contains_key("source") && version != Some(NO_VERSION)
}

/// Sets a value and leaves what stands around it.
fn set(item: &mut Item, version: &str) {
    let around = item.as_value().map(|old| old.decor().clone());
    *item = value(version);
    if let (Some(new), Some(around)) = (item.as_value_mut(), around) {
        *new.decor_mut() = around;
    }
}

fn with_json(text: &str, keys: &[&str], version: &str) -> Result<String> {
    let mut document: Value = serde_json::from_str(text)?;
    let mut place = &mut document;
    for key in keys {
        let Some(next) = place.get_mut(*key) else {
            bail!("It has no `{}`", keys.join("` → `"));
        };
        place = next;
    }
    *place = version.into();
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// A file with the text beside where it is to be, with the mode of what is there.
fn staged(path: &Path, text: &str) -> Result<NamedTempFile> {
    let dir = path.parent().context("A file is in a directory")?;
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs_err::metadata(path)?.permissions())?;
    Ok(file)
}
