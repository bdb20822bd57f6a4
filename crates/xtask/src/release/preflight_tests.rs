//! Each thing that stops a release is named, with what to do, before anything is published.

use std::time::Duration;

use xshell::{Shell, cmd};

use super::Request;
use super::checkout::Checkout;
use super::contents::Contents;
use super::lab::{Lab, patience, scope};
use super::preflight::{Problem, of_checkout, of_registry, require_loopback, require_none};

use crate::policy::Policy;
use crate::registry::{Own, Registry};

/// A release that nothing stops.
struct Wanted {
    request: Request,
    policy: Policy,
    checkout: Checkout,
}

impl Wanted {
    fn new() -> Self {
        Self {
            request: Request {
                tag: "next".to_owned(),
                version: "1.2.3".to_owned(),
                is_local: false,
                is_host_only: true,
                contents: Contents::Artifacts(None),
                has_trusted_publishing: false,
            },
            policy: Policy::load().unwrap(),
            checkout: Checkout {
                revision: "0".repeat(40),
                changes: Vec::new(),
                origin: Some("git@github.com:kaelio/ktx.git".to_owned()),
            },
        }
    }

    fn refusal(&self) -> String {
        let problems = of_checkout(&self.request, &self.policy, &self.checkout).unwrap();
        match require_none(&problems) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }
}

/// What is said, and what is advised, when one thing is other than it should be.
fn check(change: impl FnOnce(&mut Wanted), expected: [&str; 2]) {
    let mut wanted = Wanted::new();
    change(&mut wanted);
    let message = wanted.refusal();
    for expected in expected.iter().chain(&["Nothing was published"]) {
        assert!(
            message.contains(expected),
            "`{expected}` is not in: {message}"
        );
    }
}

#[test]
fn a_release_that_nothing_stops_goes_on() {
    assert_eq!(Wanted::new().refusal(), "");
}

#[test]
fn a_dirty_tree_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Checkout::read(dir.path()).is_err());
    let sh = Shell::new().unwrap();
    sh.change_dir(dir.path());
    sh.write_file("kept", "1").unwrap();
    for command in [
        cmd!(sh, "git init --quiet"),
        cmd!(sh, "git add kept"),
        cmd!(
            sh,
            "git -c user.name=a -c user.email=a@example.com commit --quiet -m first"
        ),
    ] {
        command.quiet().run().unwrap();
    }
    let clean = Checkout::read(dir.path()).unwrap();
    assert_eq!(clean.revision.len(), 40);
    assert!(clean.changes.is_empty() && clean.origin.is_none());

    sh.write_file("kept", "2").unwrap();
    sh.write_file("new", "").unwrap();
    let dirty = Checkout::read(dir.path()).unwrap();
    assert_eq!(dirty.changes, ["kept", "new"]);
    check(
        |wanted| wanted.checkout.changes = dirty.changes,
        ["not committed: `kept`, `new`", "git stash"],
    );
}

#[test]
fn names_that_differ_stop_it() {
    check(
        |wanted| wanted.policy.package = "ktz".to_owned(),
        ["npm/ktx/package.json", "cargo xtask policy"],
    );
}

#[test]
fn another_repository_stops_it() {
    let origin = |origin: &str, is_local| {
        let origin = Some(origin.to_owned()).filter(|origin| !origin.is_empty());
        move |wanted: &mut Wanted| {
            wanted.checkout.origin = origin;
            wanted.request.is_local = is_local;
        }
    };
    let set = "git remote set-url origin https://github.com/kaelio/ktx";
    for is_local in [false, true] {
        let other = origin("https://me:secret@github.com/me/ktx", is_local);
        check(other, ["is of `github.com/me/ktx`", set]);
    }
    check(origin("/srv/ktx", false), ["of a folder", set]);
    check(origin("", false), ["no `origin`", "git remote add origin"]);
    for path in ["/srv/ktx", ""] {
        let mut wanted = Wanted::new();
        origin(path, true)(&mut wanted);
        assert_eq!(wanted.refusal(), "");
    }
    check(
        |wanted| wanted.policy.repository = "https://github.com/kaelio/other".to_owned(),
        ["`Cargo.toml` says", "Write the same"],
    );
}

#[test]
fn a_tag_that_is_not_for_the_version_stops_it() {
    check(
        |wanted| {
            wanted.request.tag = "latest".to_owned();
            wanted.request.version = "1.2.3-rc.1".to_owned();
        },
        ["`latest`", "--tag"],
    );
}

#[test]
fn a_missing_platform_stops_it_and_all_problems_are_named_at_once() {
    check(
        |wanted| {
            wanted.request.is_host_only = false;
            wanted.request.tag = "newest".to_owned();
        },
        ["There are no artifacts of ", "`newest`"],
    );
}

#[test]
fn a_public_registry_gets_all_platforms() {
    let public = Registry::at("https://registry.example.com/", "@scope");
    let message = require_loopback(&public).unwrap_err().to_string();
    assert!(
        message.contains("--host-only") && message.contains("--artifacts"),
        "{message}"
    );
    require_loopback(&Registry::at("http://127.0.0.1:1/", "@scope")).unwrap();
}

/// What is said of a registry.
fn refusal_of(registry: &Registry, request: &Request, names: &[String]) -> String {
    let problems = of_registry(request, registry, names);
    let listed: Vec<String> = problems.iter().map(Problem::to_string).collect();
    listed.join("\n")
}

#[test]
fn a_registry_that_is_down_stops_it() {
    let down = Registry::at("http://127.0.0.1:9/", "@scope");
    let message = refusal_of(&down, &Wanted::new().request, &["@scope/ktx".to_owned()]);
    assert!(
        message.contains("`http://127.0.0.1:9/` does not answer"),
        "{message}"
    );
    assert!(message.contains("npm config get registry"), "{message}");
}

#[test]
fn only_who_is_logged_in_or_trusted_goes_on() {
    let lab = Lab::start();
    let [packages] = &lab.pack(&["known"], "1")[..] else {
        panic!("one was packed");
    };
    lab.publish(packages);
    let names: Vec<String> = packages
        .iter()
        .map(|package| package.name.clone())
        .collect();
    let dir = lab.dir();
    let stranger = Registry::at(lab.registry().url(), &scope())
        .with_own(Own {
            user_config_path: dir.join("npmrc"),
            cache_dir: dir.join("cache"),
        })
        .with_patience(patience(Duration::from_mins(1)));
    let mut request = Wanted::new().request;

    assert_eq!(refusal_of(lab.registry(), &request, &names), "");
    let message = refusal_of(&stranger, &request, &names);
    assert!(message.contains("Nobody is logged in"), "{message}");
    assert!(message.contains("npm login --registry="), "{message}");

    request.has_trusted_publishing = true;
    assert_eq!(refusal_of(&stranger, &request, &names), "");
    let unknown = format!("{}/unknown", scope());
    let message = refusal_of(&stranger, &request, std::slice::from_ref(&unknown));
    assert!(
        message.contains(&format!("`{unknown}` is not on the registry")),
        "{message}"
    );

    request.version = "1.2.2".to_owned();
    let message = refusal_of(lab.registry(), &request, &names[..1]);
    assert!(
        message.contains("1.2.3, which is newer than 1.2.2"),
        "{message}"
    );
}
