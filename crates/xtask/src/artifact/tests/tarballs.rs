//! Packages with one thing changed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::assert_problem;
use super::samples::{PLATFORM, SampleWheel};
use crate::artifact::{Problems, Tarball, tarball};
use crate::package::Package;
use crate::policy::Policy;
use crate::repo;

/// A file of a tarball.
#[derive(Clone)]
struct Entry {
    path: String,
    mode: u32,
    owner: u64,
    kind: EntryType,
    content: Vec<u8>,
}

type Change = fn(&mut Vec<Entry>);

fn policy() -> Policy {
    Policy::load().unwrap()
}

fn platform_package() -> Package {
    let policy = policy();
    let dir = tempfile::tempdir().unwrap();
    let (addon_path, wheel_path) = SampleWheel::new().write(dir.path());
    let platform = policy.platform(PLATFORM).unwrap();
    Package::platform(&policy, platform, &addon_path, &wheel_path).unwrap()
}

/// The root package, with files where `package.json` says that there are some.
fn root_package() -> Package {
    let dir = tempfile::tempdir().unwrap();
    let manifest = fs_err::read_to_string(repo::path("npm/ktx/package.json")).unwrap();
    fs_err::write(dir.path().join("package.json"), manifest).unwrap();
    fs_err::create_dir(dir.path().join("dist")).unwrap();
    for (name, content) in [
        ("cli.cjs", "#!/usr/bin/env node\n"),
        ("index.cjs", ""),
        ("index.mjs", ""),
        ("index.d.ts", ""),
        ("index.d.mts", ""),
        ("THIRD_PARTY_LICENSES", ""),
    ] {
        fs_err::write(dir.path().join("dist").join(name), content).unwrap();
    }
    let policy = policy();
    let platforms: Vec<_> = policy.platforms.iter().collect();
    Package::root_from(&policy, &platforms, dir.path()).unwrap()
}

fn entries(package: &Package) -> Vec<Entry> {
    let entry = |(name, file): (&String, &crate::package::File)| Entry {
        path: format!("package/{name}"),
        mode: if file.is_program { 0o755 } else { 0o644 },
        owner: 0,
        kind: EntryType::Regular,
        content: file.content.clone(),
    };
    package.files.iter().map(entry).collect()
}

fn entry<'e>(entries: &'e mut [Entry], name: &str) -> &'e mut Entry {
    let path = format!("package/{name}");
    entries.iter_mut().find(|entry| entry.path == path).unwrap()
}

fn add(entries: &mut Vec<Entry>, path: &str) {
    entries.push(Entry {
        path: path.to_owned(),
        mode: 0o644,
        owner: 0,
        kind: EntryType::Regular,
        content: Vec::new(),
    });
}

fn edit(entries: &mut [Entry], name: &str, change: impl FnOnce(&mut Value)) {
    let entry = entry(entries, name);
    let mut json = serde_json::from_slice(&entry.content).unwrap();
    change(&mut json);
    entry.content = serde_json::to_vec(&json).unwrap();
}

/// Packs names as they are, also those that no packer would write.
fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let mut header = Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..entry.path.len()]
            .copy_from_slice(entry.path.as_bytes());
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(0);
        header.set_entry_type(entry.kind);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        archive.append(&header, &entry.content[..]).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn check_platform(policy: &Policy, content: &[u8]) -> (Tarball, String) {
    super::check(policy, PLATFORM, |rules, problems| {
        tarball::check_platform(rules, content, problems).unwrap()
    })
}

fn check_root(policy: &Policy, content: &[u8]) -> (Tarball, String) {
    let mut problems = Problems::of("x");
    let checked = tarball::check_root(policy, content, &mut problems).unwrap();
    let text = problems
        .into_result()
        .map_or_else(|error| error.to_string(), |()| String::new());
    (checked, text)
}

#[test]
fn takes_whole_packages_and_says_what_is_in_them() {
    let package = platform_package();
    let (tarball, problems) = check_platform(&policy(), &package.tarball().unwrap());
    assert_eq!(problems, "");
    assert_eq!(tarball.name, package.name);
    assert_eq!(tarball.files, 7);
    assert_eq!(tarball.addon.unwrap().machine, "ELF x64");
    assert!(tarball.wheel.unwrap().daemon.is_some());

    let package = root_package();
    let (tarball, problems) = check_root(&policy(), &package.tarball().unwrap());
    assert_eq!(problems, "");
    assert_eq!(tarball.files, 9);
}

const PLATFORM_FAULTS: [(&str, Change); 29] = [
    ("files: `install.js` does not belong in it", |files| {
        add(files, "package/install.js");
    }),
    ("files: `binding.gyp` does not belong in it", |files| {
        add(files, "package/binding.gyp");
    }),
    ("files: `python/sub/x.whl` does not belong in it", |files| {
        add(files, "package/python/sub/x.whl");
    }),
    ("paths: `elsewhere/x` is not in `package/`", |files| {
        add(files, "elsewhere/x");
    }),
    ("paths: `../x` leads out of the directory", |files| {
        add(files, "package/../x");
    }),
    ("paths: `/x` is absolute", |files| add(files, "package//x")),
    ("paths: `a\\\\x` has a backslash", |files| {
        add(files, "package/a\\x");
    }),
    ("paths: `ktx.node` is there twice", |files| {
        add(files, "package/ktx.node");
    }),
    ("are one file where case does not count", |files| {
        add(files, "package/KTX.node");
    }),
    ("files: `package/README.md` is no file (Symlink)", |files| {
        entry(files, "README.md").kind = EntryType::Symlink;
    }),
    ("files: `package/README.md` is no file (Link)", |files| {
        entry(files, "README.md").kind = EntryType::Link;
    }),
    ("modes: `ktx.node` has 755; expected 644", |files| {
        entry(files, "ktx.node").mode = 0o755;
    }),
    ("modes: `ktx.node` has 4644; expected 644", |files| {
        entry(files, "ktx.node").mode = 0o4644;
    }),
    (
        "owner: `package/ktx.node` belongs to whoever packed it",
        |files| {
            entry(files, "ktx.node").owner = 1000;
        },
    ),
    ("files: `ktx.node` is missing", |files| {
        files.retain(|file| !file.path.ends_with("/ktx.node"));
    }),
    ("files: `LICENSE` is missing", |files| {
        files.retain(|file| !file.path.ends_with("/LICENSE"));
    }),
    ("files: `LICENSE` is not that of the checkout", |files| {
        entry(files, "LICENSE").content.push(b'\n');
    }),
    ("files: has 0 wheels; expected one", |files| {
        files.retain(|file| !file.path.ends_with("x86_64.whl"));
    }),
    ("python/manifest.json: ", |files| {
        files.retain(|file| !file.path.ends_with("/manifest.json"));
    }),
    (
        "python/requirements.lock: is not `release/requirements.lock`",
        |files| {
            entry(files, "python/requirements.lock").content.push(b'\n');
        },
    ),
    (
        "python/manifest.json: `version` is `9.9.9`; expected `",
        |files| {
            edit(files, "python/manifest.json", |json| {
                json["version"] = json!("9.9.9");
            });
        },
    ),
    (
        "package.json: has `scripts`, which no published package of ours has",
        |files| {
            edit(files, "package.json", |json| {
                json["scripts"] = json!({ "postinstall": "true" });
            });
        },
    ),
    ("package.json: has `dependencies`", |files| {
        edit(files, "package.json", |json| {
            json["dependencies"] = json!({ "x": "1" });
        });
    }),
    (
        "package.json: `name` is `\"other\"`; expected `\"",
        |files| {
            edit(files, "package.json", |json| json["name"] = json!("other"));
        },
    ),
    (
        "package.json: `version` is `\"9.9.9\"`; expected `\"",
        |files| {
            edit(files, "package.json", |json| {
                json["version"] = json!("9.9.9");
            });
        },
    ),
    (
        "package.json: `cpu` is `[\"arm64\"]`; expected `[\"x64\"]`",
        |files| {
            edit(files, "package.json", |json| json["cpu"] = json!(["arm64"]));
        },
    ),
    (
        "package.json: `libc` is `null`; expected `[\"glibc\"]`",
        |files| {
            edit(files, "package.json", |json| json["libc"] = Value::Null);
        },
    ),
    (
        "package.json: `optionalDependencies` is `{}`; expected `null`",
        |files| {
            edit(files, "package.json", |json| {
                json["optionalDependencies"] = json!({});
            });
        },
    ),
    ("package.json: cannot be read", |files| {
        entry(files, "package.json").content.truncate(20);
    }),
];

#[test]
fn refuses_a_platform_package_that_breaks_a_rule() {
    let whole = entries(&platform_package());
    for (expected, change) in PLATFORM_FAULTS {
        let mut files = whole.clone();
        change(&mut files);
        let (_, problems) = check_platform(&policy(), &pack(&files));
        assert_problem(&problems, expected, expected);
    }
}

#[test]
fn looks_into_the_addon_and_the_wheel() {
    let whole = entries(&platform_package());
    let mut files = whole.clone();
    entry(&mut files, "ktx.node")
        .content
        .extend(b"/home/you/ktx/src/lib.rs\0");
    let (_, problems) = check_platform(&policy(), &pack(&files));
    assert_problem(
        &problems,
        "`x/ktx.node`: paths: holds `/home/you/",
        "an addon with a path",
    );

    let mut files = whole;
    let wheel = files
        .iter_mut()
        .find(|file| file.path.ends_with("x86_64.whl"))
        .unwrap();
    wheel.content.extend(b"more");
    let (_, problems) = check_platform(&policy(), &pack(&files));
    assert_problem(
        &problems,
        ".whl`: archive: has something after its end",
        "a longer wheel",
    );
    // The manifest in the package names the other bytes.
    assert_problem(&problems, "`x`: python/manifest.json: ", "a longer wheel");
}

const ROOT_FAULTS: [(&str, Change); 13] = [
    (
        "files: `dist/index.cjs.map` does not belong in it",
        |files| add(files, "package/dist/index.cjs.map"),
    ),
    ("files: `ktx.node` does not belong in it", |files| {
        add(files, "package/ktx.node");
    }),
    ("modes: `dist/cli.cjs` has 644; expected 755", |files| {
        entry(files, "dist/cli.cjs").mode = 0o644;
    }),
    (
        "bin: `dist/cli.cjs` does not begin with the line that runs Node",
        |files| {
            entry(files, "dist/cli.cjs").content.clear();
        },
    ),
    (
        "paths: `dist/index.mjs` holds `/Users/you/ktx/x.rs`",
        |files| {
            entry(files, "dist/index.mjs").content = b"// /Users/you/ktx/x.rs\n".to_vec();
        },
    ),
    (
        "package.json: names `dist/index.d.mts`, which is not there",
        |files| {
            files.retain(|file| !file.path.ends_with("/index.d.mts"));
        },
    ),
    ("package.json: has `scripts`", |files| {
        edit(files, "package.json", |json| {
            json["scripts"] = json!({ "install": "true" });
        });
    }),
    ("package.json: has `bundleDependencies`", |files| {
        edit(files, "package.json", |json| {
            json["bundleDependencies"] = json!(true);
        });
    }),
    (
        "package.json: `optionalDependencies` names no platform's package",
        |files| {
            edit(files, "package.json", |json| {
                json["optionalDependencies"] = json!({});
            });
        },
    ),
    (
        "package.json: `optionalDependencies` has `@scope/ktx-darwin-x64` at \"^0.1.0\"",
        |files| {
            edit(files, "package.json", |json| {
                json["optionalDependencies"]["@scope/ktx-darwin-x64"] = json!("^0.1.0");
            });
        },
    ),
    (
        "package.json: `os` is `[\"linux\"]`; expected `null`",
        |files| {
            edit(files, "package.json", |json| json["os"] = json!(["linux"]));
        },
    ),
    (
        "package.json: `publishConfig` is `{\"access\":\"restricted\"}`",
        |files| {
            edit(files, "package.json", |json| {
                json["publishConfig"]["access"] = json!("restricted");
            });
        },
    ),
    (
        "package.json: `repository.url` is `\"git+https://example.com/x.git\"`",
        |files| {
            edit(files, "package.json", |json| {
                json["repository"]["url"] = json!("git+https://example.com/x.git");
            });
        },
    ),
];

#[test]
fn refuses_a_root_package_that_breaks_a_rule() {
    let whole = entries(&root_package());
    for (expected, change) in ROOT_FAULTS {
        let mut files = whole.clone();
        change(&mut files);
        let (_, problems) = check_root(&policy(), &pack(&files));
        assert_problem(&problems, expected, expected);
    }
}

#[test]
fn refuses_an_archive_that_is_not_whole_or_not_alone() {
    let whole = root_package().tarball().unwrap();
    let mut second = GzEncoder::new(Vec::new(), Compression::fast());
    second.write_all(b"more").unwrap();
    for (case, content, expected) in [
        (
            "cut",
            whole[..whole.len() / 2].to_vec(),
            "archive: cannot be read",
        ),
        (
            "more",
            [&whole[..], &second.finish().unwrap()].concat(),
            "archive: has something after its end",
        ),
        ("text", b"no archive".to_vec(), "archive: cannot be read"),
    ] {
        assert_problem(&check_root(&policy(), &content).1, expected, case);
    }
}

#[test]
fn keeps_the_budgets() {
    let mut small = policy();
    small.max_bytes.root_tarball = 10;
    small.max_bytes.platform_tarball = 11;
    small.max_bytes.addon = 12;
    let (_, problems) = check_root(&small, &root_package().tarball().unwrap());
    assert_problem(
        &problems,
        "`maxBytes.rootTarball` of the policy allows 10",
        "root",
    );
    let (_, problems) = check_platform(&small, &platform_package().tarball().unwrap());
    assert_problem(
        &problems,
        "`maxBytes.platformTarball` of the policy allows 11",
        "platform",
    );
    assert_problem(
        &problems,
        "`maxBytes.addon` of the policy allows 12",
        "addon",
    );
}

#[test]
fn packs_the_same_bytes_from_other_folders_modes_and_times() {
    let policy = policy();
    let platform = policy.platform(PLATFORM).unwrap();
    let sample = SampleWheel::new();
    let mut tarballs = Vec::new();
    for folder in ["a", "another/and longer one"] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(folder);
        fs_err::create_dir_all(&dir).unwrap();
        let (addon_path, wheel_path) = sample.write(&dir);
        if folder != "a" {
            restrict(&addon_path);
            restrict(&wheel_path);
        }
        let package = Package::platform(&policy, platform, &addon_path, &wheel_path).unwrap();
        tarballs.push(package.tarball().unwrap());
    }
    assert!(tarballs[0] == tarballs[1]);
}

/// Gives a file another mode and another time.
fn restrict(path: &std::path::Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.file().set_modified(std::time::UNIX_EPOCH).unwrap();
}
