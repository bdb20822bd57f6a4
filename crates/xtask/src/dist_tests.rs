//! A release's directory with one thing changed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Manifest, now, packed, verify, write};
use crate::npm::{Packed, integrity};
use crate::policy::Policy;
use crate::{digest, package, repo, version};

type Change = fn(&mut Release);

/// What a release made: two packages and a wheel.
struct Release {
    dir: TempDir,
    policy: Policy,
}

impl Release {
    fn new() -> Self {
        let (dir, policy) = (tempfile::tempdir().unwrap(), Policy::load().unwrap());
        let platform = &policy.platforms[0];
        let packages = [
            sample(
                dir.path(),
                &policy.platform_package(platform),
                Some(&platform.id),
            ),
            sample(dir.path(), &policy.root_package(), None),
        ];
        let elsewhere = tempfile::tempdir().unwrap();
        let pep440 = version::pep440(repo::VERSION).unwrap();
        let wheel_path = elsewhere
            .path()
            .join(format!("kaelio_ktx-{pep440}-py3-none-any.whl"));
        fs_err::write(&wheel_path, "wheel").unwrap();
        // What an earlier release left goes away.
        fs_err::write(dir.path().join("scope-ktx-0.0.1.tgz"), "older").unwrap();
        write(&policy, &packages, &[wheel_path], dir.path()).unwrap();
        Self { dir, policy }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&fs_err::read(self.path("manifest.json")).unwrap()).unwrap()
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut json = self.json();
        change(&mut json);
        fs_err::write(self.path("manifest.json"), json.to_string()).unwrap();
    }

    /// The path of the root package's tarball.
    fn root(&self) -> String {
        package::file_name(&self.policy.root_package())
    }

    /// Where the root package's tarball is in the manifest.
    fn root_index(&self) -> usize {
        let json = self.json();
        let files = json["files"].as_array().unwrap();
        files
            .iter()
            .position(|file| file["kind"] == "root")
            .unwrap()
    }

    fn verify(&self) -> Result<Manifest, String> {
        verify(&self.policy, self.dir.path()).map_err(|error| format!("{error:#}"))
    }
}

fn sample(dir: &Path, name: &str, platform: Option<&str>) -> Packed {
    let path = dir.join(package::file_name(name));
    fs_err::write(&path, name).unwrap();
    let digested = digest::of_file(&path).unwrap();
    Packed {
        name: name.to_owned(),
        version: repo::VERSION.to_owned(),
        path,
        integrity: integrity(name.as_bytes()),
        sha256: digested.sha256,
        bytes: digested.bytes,
        platform: platform.map(str::to_owned),
    }
}

#[test]
fn lists_everything_that_was_made_and_nothing_else() {
    let release = Release::new();
    let json = release.json();
    assert_eq!(json["schemaVersion"], 2);
    let files = json["files"].as_array().unwrap();
    let of = |key: &str| -> Vec<&str> {
        files
            .iter()
            .map(|file| file[key].as_str().unwrap())
            .collect()
    };
    assert_eq!(of("ecosystem"), ["pypi", "npm", "npm"]);
    assert_eq!(of("kind"), ["wheel", "root", "platform"]);
    assert_eq!(json["packages"].as_array().unwrap().len(), 3);
    assert!(!release.path("scope-ktx-0.0.1.tgz").exists());
    fs_err::write(release.path("report.md"), "").unwrap();
    fs_err::write(release.path("report.json"), "").unwrap();
    release.verify().unwrap();
    let (_, packages) = packed(&release.policy, release.dir.path()).unwrap();
    let platforms: Vec<bool> = packages
        .iter()
        .map(|package| package.platform.is_some())
        .collect();
    assert_eq!(platforms, [true, false]);
}

const FAULTS: [(&str, Change); 22] = [
    ("is missing", |release| {
        fs_err::remove_file(release.path(&release.root())).unwrap();
    }),
    ("does not name `extra.tgz`, which is there", |release| {
        fs_err::write(release.path("extra.tgz"), "").unwrap();
    }),
    ("does not name `sub/file`, which is there", |release| {
        fs_err::create_dir(release.path("sub")).unwrap();
        fs_err::write(release.path("sub/file"), "").unwrap();
    }),
    ("has the sha256 ", |release| {
        fs_err::write(release.path(&release.root()), "@scope/ktz").unwrap();
    }),
    ("has the bytes 5; the manifest states ", |release| {
        fs_err::write(release.path(&release.root()), "other").unwrap();
    }),
    ("has the integrity sha512-", |release| {
        let index = release.root_index();
        release.edit(|json| json["files"][index]["integrity"] = json!("sha512-x"));
    }),
    ("`integrity` is there for packages of npm", |release| {
        let index = release.root_index();
        release.edit(|json| {
            json["files"][index]
                .as_object_mut()
                .unwrap()
                .shift_remove("integrity");
        });
    }),
    ("`../x.tgz` leads out of the directory", |release| {
        release.edit(|json| json["files"][0]["path"] = json!("../x.tgz"));
    }),
    ("`/x.tgz` is absolute", |release| {
        release.edit(|json| json["files"][0]["path"] = json!("/x.tgz"));
    }),
    ("has a backslash", |release| {
        release.edit(|json| json["files"][0]["path"] = json!("a\\x.tgz"));
    }),
    ("is there before, as `", |release| {
        release.edit(|json| {
            let copy = json["files"][0].clone();
            json["files"].as_array_mut().unwrap().push(copy);
        });
    }),
    ("`version` is `9.9.9`; expected `", |release| {
        release.edit(|json| json["files"][0]["version"] = json!("9.9.9"));
    }),
    ("`name` is `other`; expected kaelio-ktx", |release| {
        release.edit(|json| json["files"][0]["name"] = json!("other"));
    }),
    ("is not of its kind", |release| {
        let index = release.root_index();
        release.edit(|json| json["files"][index]["ecosystem"] = json!("pypi"));
    }),
    ("`schemaVersion`: is 1; expected 2", |release| {
        release.edit(|json| json["schemaVersion"] = json!(1));
    }),
    ("`schemaVersion`: is null; expected 2", |release| {
        release.edit(|json| {
            json.as_object_mut().unwrap().shift_remove("schemaVersion");
        });
    }),
    ("`generatedAt`: `yesterday` is no time", |release| {
        release.edit(|json| json["generatedAt"] = json!("yesterday"));
    }),
    ("`sourceRevision`: `main` is no commit", |release| {
        release.edit(|json| json["sourceRevision"] = json!("main"));
    }),
    ("`packages`: does not name the package: ", |release| {
        release.edit(|json| json["packages"] = json!([]));
    }),
    ("`files[0].kind`: unknown variant `sdist`", |release| {
        release.edit(|json| json["files"][0]["kind"] = json!("sdist"));
    }),
    ("`extra`: unknown field `extra`", |release| {
        release.edit(|json| json["extra"] = json!(1));
    }),
    ("is no JSON", |release| {
        fs_err::write(release.path("manifest.json"), "{").unwrap();
    }),
];

#[test]
fn refuses_whatever_is_not_as_the_manifest_says() {
    for (expected, change) in FAULTS {
        let mut release = Release::new();
        change(&mut release);
        let problems = release.verify().unwrap_err();
        assert!(
            problems.contains(expected),
            "expected `{expected}` in:\n{problems}"
        );
    }
}

#[cfg(unix)]
#[test]
fn follows_no_links() {
    let release = Release::new();
    let (path, elsewhere) = (release.path(&release.root()), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("target");
    fs_err::rename(&path, &target).unwrap();
    fs_err::os::unix::fs::symlink(&target, &path).unwrap();
    let problems = release.verify().unwrap_err();
    assert!(problems.contains("is no file"), "{problems}");
}

#[test]
fn takes_the_time_that_the_environment_gives() {
    let time = now(Some("315532800")).unwrap();
    assert_eq!(
        humantime::format_rfc3339_seconds(time).to_string(),
        "1980-01-01T00:00:00Z"
    );
    let error = now(Some("soon")).unwrap_err().to_string();
    assert!(error.contains("`SOURCE_DATE_EPOCH` is `soon`"), "{error}");
}
