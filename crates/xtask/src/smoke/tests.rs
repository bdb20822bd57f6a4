//! A smoke test finds what is wrong with a publication, says it, and leaves nothing behind.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::installs::Files;
use super::machine::{self, Machine};
use super::managers::Manager;
use super::published::{self, Package, Published};
use super::{Request, run_smoke};
use crate::policy::Policy;
use crate::registry::Registry;
use crate::registry::verdaccio::Verdaccio;

const VERSION: &str = "1.2.3";

fn policy_that_waits(seconds: u64) -> Policy {
    let mut policy = Policy::load().unwrap();
    policy.smoke.availability_seconds = seconds;
    policy.smoke.package_managers = vec!["npm".to_owned()];
    policy
}

/// A registry of the test's own, and a policy that waits for a second.
struct Place {
    policy: Policy,
    registry: Verdaccio,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let policy = policy_that_waits(1);
        let dir = tempfile::tempdir().unwrap();
        let registry = Verdaccio::start_in(&policy, &dir.path().join("registry")).unwrap();
        Self {
            policy,
            registry,
            dir,
        }
    }

    /// Publishes the two packages that a machine gets. The command prints what it is told to.
    fn publish(&self, version: &str, printed: &str, with_command: bool) {
        let platform = self.policy.platform_package(self.policy.host().unwrap());
        self.publish_one(
            &json!({ "name": platform, "version": version, "files": ["ktx.node"] }),
            "ktx.node",
            "",
        );
        let mut root = json!({
            "name": self.policy.root_package(),
            "version": version,
            "files": ["cli.js"],
            "optionalDependencies": { platform: version },
        });
        if with_command {
            root["bin"] = json!({ "ktx": "cli.js" });
        }
        let program = format!("#!/usr/bin/env node\nconsole.log('{printed}');\n");
        self.publish_one(&root, "cli.js", &program);
    }

    fn publish_one(&self, manifest: &serde_json::Value, file: &str, text: &str) {
        let package_dir = tempfile::tempdir_in(self.dir.path()).unwrap();
        let place = |name: &str, text: &str| {
            fs_err::write(package_dir.path().join(name), text).unwrap();
        };
        place("package.json", &manifest.to_string());
        place(file, text);
        self.registry
            .registry()
            .publish(package_dir.path(), "next", self.policy.access, false)
            .unwrap();
    }

    /// The failure that the test of a version ends with.
    fn failure(&self, version: &str, tag: &str) -> String {
        let smoked = run_smoke(&Request {
            policy: &self.policy,
            package: &self.policy.root_package(),
            version,
            tag: Some(tag),
            registry: self.registry.registry(),
        });
        format!("{:#}", smoked.unwrap_err())
    }
}

#[test]
fn waits_for_what_is_not_there_and_then_says_what_is_missing() {
    let place = Place::new();
    let url = place.registry.registry().url().to_owned();
    let name = place.policy.root_package();
    let begun = Instant::now();

    let nothing = place.failure(VERSION, "next");

    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(
        nothing.contains(&format!(
            "`{name}@{VERSION}` is not there on {url} after 1 s"
        )),
        "{nothing}"
    );
    let again = format!(
        "cargo xtask smoke --package {name} --version {VERSION} --registry {url} --tag next"
    );
    assert!(nothing.contains(&again), "{nothing}");
    place.publish(VERSION, VERSION, true);
    let other_tag = place.failure(VERSION, "latest-but-one");
    assert!(
        other_tag.contains(&format!(
            "The tag `latest-but-one` of `{name}` names nothing"
        )),
        "{other_tag}"
    );
    let other_version = place.failure("1.2.4", "next");
    assert!(
        other_version.contains("@1.2.4` is not there"),
        "{other_version}"
    );
}

#[test]
fn does_not_wait_for_a_registry_that_is_not_there() {
    let policy = policy_that_waits(600);
    let registry = Registry::at("http://127.0.0.1:9/", &policy.scope);
    let smoked = run_smoke(&Request {
        policy: &policy,
        package: &policy.root_package(),
        version: VERSION,
        tag: None,
        registry: &registry,
    });
    let message = format!("{:#}", smoked.unwrap_err());
    assert!(message.contains("ECONNREFUSED"), "{message}");
    assert!(message.contains("npm"), "{message}");
}

#[test]
fn refuses_an_address_with_a_password_and_does_not_repeat_it() {
    let policy = policy_that_waits(1);
    let registry = Registry::at("http://me:secret@127.0.0.1:9/", &policy.scope);
    let smoked = run_smoke(&Request {
        policy: &policy,
        package: &policy.root_package(),
        version: VERSION,
        tag: None,
        registry: &registry,
    });
    let message = format!("{:#}", smoked.unwrap_err());
    assert!(message.contains("npm login"), "{message}");
    assert!(!message.contains("secret"), "{message}");
}

#[test]
fn finds_a_package_without_its_command_and_one_with_another_version_inside() {
    let place = Place::new();
    place.publish("1.0.0", "1.0.0", false);
    let no_command = place.failure("1.0.0", "next");
    assert!(
        no_command.contains("could not determine executable to run"),
        "{no_command}"
    );
    place.publish("1.0.1", "1.0.0", true);
    let other_version = place.failure("1.0.1", "next");
    assert!(
        other_version.contains("did not print the version `1.0.1`\n1.0.0"),
        "{other_version}"
    );
}

#[test]
fn tells_what_was_installed_from_what_is_published() {
    let package = |name: &str, integrity: &str| Package {
        name: name.to_owned(),
        integrity: integrity.to_owned(),
    };
    let published = Published {
        root: package("a", "sha512-AAAA"),
        platform: package("a-host", "sha512-BBBB"),
    };
    let dir = tempfile::tempdir().unwrap();
    let lock_path = dir.path().join("yarn.lock");
    fs_err::write(&lock_path, "integrity sha512-AAAA\nintegrity sha512-BBBB\n").unwrap();
    published::check_lock(&lock_path, &published).unwrap();
    fs_err::write(&lock_path, "integrity sha512-AAAA\nintegrity sha512-CCCC\n").unwrap();
    let message = published::check_lock(&lock_path, &published)
        .unwrap_err()
        .to_string();
    for part in ["`a-host`", "sha512-BBBB", "sha512-CCCC"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn knows_every_package_manager_of_the_policy() {
    for name in Policy::load().unwrap().smoke.package_managers {
        assert_eq!(Manager::named(&name).unwrap().name(), name);
    }
}

#[test]
fn names_the_files_that_differ() {
    let files = |content: &str| -> Files {
        serde_json::from_value(json!({
            "versions": { "a": VERSION },
            "files": { "a/index.js": content, "a/package.json": "same" },
        }))
        .unwrap()
    };
    files("one").check_same(&files("one")).unwrap();
    let message = files("one").check_same(&files("two")).unwrap_err();
    assert!(
        message.to_string().ends_with("installed: a/index.js"),
        "{message}"
    );
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Starts a process that outlives the command which starts it.
async fn leave_behind(machine: &Machine) -> Result<()> {
    let mut command = machine.command("node", &machine.home_dir());
    let program = "require('node:child_process')
        .spawn('sleep', ['60'], { detached: true, stdio: 'ignore' }).unref()";
    command.arguments = ["-e", program].map(str::to_owned).to_vec();
    machine.run(&command).await.map(drop)
}

#[cfg(target_os = "linux")]
#[test]
fn ends_a_process_that_is_left_behind_and_deletes_everything() {
    for after_failure in [false, true] {
        let (root_dir, cleared) = block_on(async {
            let machine = Machine::new().unwrap();
            let root_dir = fs_err::canonicalize(machine.path(".")).unwrap();
            leave_behind(&machine).await.unwrap();
            assert_eq!(super::processes::of(&root_dir).unwrap().len(), 1);
            (root_dir, machine.clear(after_failure).await)
        });
        assert_eq!(super::processes::of(&root_dir).unwrap().len(), 0);
        assert!(!Path::new(&root_dir).exists());
        if after_failure {
            cleared.unwrap();
        } else {
            let message = cleared.unwrap_err().to_string();
            assert!(message.contains("left behind"), "{message}");
            assert!(message.contains("sleep 60"), "{message}");
        }
    }
}

#[test]
fn the_first_failure_ends_everything_and_is_what_is_told() {
    block_on(async {
        let machine = Machine::new().unwrap();
        let mut long = machine.command("node", &machine.home_dir());
        long.arguments = ["-e", "setTimeout(() => {}, 60_000)"]
            .map(str::to_owned)
            .to_vec();
        let begun = Instant::now();
        let failing = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bail!("the reason")
        };
        let ended: Result<((), _)> = machine::both(&machine, failing, machine.run(&long)).await;
        assert_eq!(ended.unwrap_err().to_string(), "the reason");
        assert!(begun.elapsed() < Duration::from_secs(30));
        machine.clear(true).await.unwrap();
    });
}
