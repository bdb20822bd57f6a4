//! Versions in both forms, and a whole copy of the checkout's manifests that gets another one.

use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::places::Checkout;
use super::{following, pep440, problems};

#[test]
fn maps_prereleases_that_both_schemes_order_alike() {
    for (semver, python) in [
        ("0.1.0", "0.1.0"),
        ("0.1.0-rc.1", "0.1.0rc1"),
        ("1.2.3-alpha.10", "1.2.3a10"),
        ("1.2.3-beta.0", "1.2.3b0"),
    ] {
        assert_eq!(pep440(semver).unwrap(), python);
    }
}

#[test]
fn refuses_other_prereleases_with_the_reason() {
    for version in [
        "1.0.0-dev.1",
        "1.0.0-rc",
        "1.0.0-rc.1.2",
        "1.0.0-rc.01",
        "1.0.0+build",
    ] {
        let message = pep440(version).unwrap_err().to_string();
        assert!(message.contains(version), "{message}");
    }
}

#[test]
fn raises_a_part_of_the_version() {
    for (current, [patch, minor, major]) in [
        ("1.2.3", ["1.2.4", "1.3.0", "2.0.0"]),
        ("1.2.3-rc.1", ["1.2.3", "1.3.0", "2.0.0"]),
        ("1.3.0-rc.1", ["1.3.0", "1.3.0", "2.0.0"]),
        ("2.0.0-rc.1", ["2.0.0", "2.0.0", "2.0.0"]),
    ] {
        assert_eq!(following(current, "patch").unwrap(), patch);
        assert_eq!(following(current, "minor").unwrap(), minor);
        assert_eq!(following(current, "major").unwrap(), major);
    }
}

const DAY: &str = "2026-01-31";

fn that_day() -> SystemTime {
    humantime::parse_rfc3339(&format!("{DAY}T00:01:00Z")).unwrap()
}

/// The files that cargo and npm read, at version 0.1.0.
fn copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let sh = Shell::new().unwrap();
    sh.change_dir(crate::repo::root());
    let listed = cmd!(
        sh,
        "git ls-files --cached --others --exclude-standard -- Cargo.toml Cargo.lock CHANGELOG.md package-lock.json npm/ktx/package.json python/pyproject.toml crates fuzz"
    );
    for name in listed.quiet().read().unwrap().lines() {
        let (from, to) = (crate::repo::path(name), copy.path().join(name));
        if from.is_file() {
            fs_err::create_dir_all(to.parent().unwrap()).unwrap();
            fs_err::copy(from, to).unwrap();
        }
    }
    let changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- Tea.\n";
    fs_err::write(copy.path().join("CHANGELOG.md"), changelog).unwrap();
    copy
}

fn set(root: &Path, version: &str) -> Vec<&'static str> {
    let checkout = Checkout(root);
    let changes = checkout.changes(version, that_day()).unwrap();
    checkout.write(&changes).unwrap();
    changes.iter().map(|change| change.name).collect()
}

fn refusal(root: &Path, version: &str) -> String {
    let refused = Checkout(root).changes(version, that_day());
    format!("{:#}", refused.unwrap_err())
}

fn read(root: &Path, name: &str) -> String {
    fs_err::read_to_string(root.join(name)).unwrap()
}

/// What differs between the files of two directories, as `-old` and `+new` lines.
fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    assert_eq!(before.len(), after.len());
    before
        .iter()
        .zip(&after)
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("{} -> {}", old.trim(), new.trim()))
        .collect()
}

#[test]
fn sets_the_version_in_all_places_and_nothing_else() {
    let copy = copy();
    let root = copy.path();
    let old = Checkout(root).version().unwrap();
    let names = [
        "Cargo.toml",
        "npm/ktx/package.json",
        "package-lock.json",
        "Cargo.lock",
        "fuzz/Cargo.lock",
    ];
    let before = names.map(|name| read(root, name));

    assert_eq!(
        set(root, "90.0.0-rc.1"),
        [names.as_slice(), &["CHANGELOG.md"]].concat()
    );
    assert_eq!(problems(root).unwrap(), Vec::<String>::new());
    let toml = format!("version = \"{old}\" -> version = \"90.0.0-rc.1\"");
    let json = format!("\"version\": \"{old}\", -> \"version\": \"90.0.0-rc.1\",");
    let members = fs_err::read_dir(root.join("crates")).unwrap().count();
    let fuzzed = read(root, "fuzz/Cargo.toml")
        .matches("path = \"../crates/")
        .count();
    for ((name, before), expected) in names.into_iter().zip(&before).zip([
        vec![toml.clone()],
        vec![json.clone()],
        vec![json],
        vec![toml.clone(); members],
        vec![toml; fuzzed],
    ]) {
        assert_eq!(changed_lines(before, &read(root, name)), expected, "{name}");
    }
    assert_eq!(
        read(root, "CHANGELOG.md"),
        format!(
            "# Changelog\n\n## [Unreleased]\n\n## [90.0.0-rc.1] - {DAY}\n\n### Added\n\n- Tea.\n"
        )
    );

    let sh = Shell::new().unwrap();
    sh.change_dir(root);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = cmd!(
        sh,
        "{cargo} metadata --locked --offline --no-deps --format-version 1"
    );
    let metadata: Value = serde_json::from_str(&metadata.quiet().read().unwrap()).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        assert_eq!(package["version"], "90.0.0-rc.1");
    }
    // With the dependencies, so that cargo compares the lock with the manifests.
    cmd!(sh, "{cargo} metadata --locked --offline --format-version 1")
        .quiet()
        .ignore_stdout()
        .run()
        .unwrap();
}

#[test]
fn the_same_version_again_changes_nothing() {
    let copy = copy();
    let version = Checkout(copy.path()).version().unwrap();
    assert_eq!(set(copy.path(), &version), Vec::<&str>::new());
    set(copy.path(), "90.0.0");
    assert_eq!(set(copy.path(), "90.0.0"), Vec::<&str>::new());
}

#[test]
fn the_same_version_again_repairs_what_says_another() {
    let copy = copy();
    let root = copy.path();
    let version = Checkout(root).version().unwrap();
    let package = read(root, "npm/ktx/package.json");
    let drifted = package.replace(&format!("\"{version}\""), "\"0.0.1\"");
    fs_err::write(root.join("npm/ktx/package.json"), drifted).unwrap();
    assert_eq!(
        problems(root).unwrap(),
        [format!(
            "npm/ktx/package.json: the version is 0.0.1, the workspace's is {version}; \
             set all with `cargo xtask version {version}`"
        )]
    );
    assert_eq!(set(root, &version), ["npm/ktx/package.json"]);
    assert_eq!(read(root, "npm/ktx/package.json"), package);
}

#[test]
fn refuses_what_is_no_newer_version_and_writes_nothing() {
    let copy = copy();
    let root = copy.path();
    set(root, "90.0.0");
    let before = read(root, "Cargo.toml");
    for (version, expected) in [
        ("89.9.9", "89.9.9 is not newer than 90.0.0"),
        ("90.0.0-rc.1", "90.0.0-rc.1 is not newer than 90.0.0"),
        ("91.0.0-dev.1", "Python cannot order"),
        ("91.0.0+build", "build metadata"),
        ("91.0", "not a semantic version"),
        ("v91.0.0", "not a semantic version"),
    ] {
        let message = refusal(root, version);
        assert!(message.contains(expected), "{message}");
    }
    fs_err::write(root.join("CHANGELOG.md"), "# Changelog\n").unwrap();
    assert!(refusal(root, "91.0.0").contains("`[Unreleased]`"));
    assert_eq!(read(root, "Cargo.toml"), before);
}

#[test]
fn a_file_that_cannot_be_written_leaves_all_as_they_were() {
    let copy = copy();
    let root = copy.path();
    let checkout = Checkout(root);
    let changes = checkout.changes("90.0.0", that_day()).unwrap();
    let lock = read(root, "package-lock.json");
    fs_err::remove_file(root.join("package-lock.json")).unwrap();
    fs_err::create_dir(root.join("package-lock.json")).unwrap();
    assert!(checkout.write(&changes).is_err());
    fs_err::remove_dir(root.join("package-lock.json")).unwrap();
    fs_err::write(root.join("package-lock.json"), lock).unwrap();
    assert_eq!(checkout.version().unwrap(), crate::repo::VERSION);
    assert_eq!(problems(root).unwrap(), Vec::<String>::new());
}
