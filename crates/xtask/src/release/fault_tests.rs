//! Whatever goes wrong at any of the publishes, the next run finishes, and no version ever has
//! other bytes: small packages, the real npm, a real registry, and a proxy that lets it fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::lab::{Lab, VERSION, packed, patience, release, scope};
use super::publish::{Outcome, Publisher};
use crate::npm::Packed;
use crate::policy::Access;
use crate::registry::faulty::{Fault, Faulty};
use crate::registry::{Own, Registry};

const ALWAYS: usize = usize::MAX;
/// Two processors are as busy with three.
const AT_ONCE: usize = 3;
const KILLED: &str = "KTX_TEST_KILLED_RELEASE";
const PATIENT: Duration = Duration::from_mins(1);

type Case<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Every package is there once, as it was packed, under the tag.
fn check(lab: &Lab, faulty: &Faulty, packages: &[Packed]) {
    for package in packages {
        let published = lab.registry().version(&package.name, VERSION);
        let published = published.unwrap().unwrap();
        assert_eq!(published.integrity, package.integrity);
        assert_eq!(published.tags["next"], VERSION);
        assert_eq!(faulty.accepted(&package.name), 1, "{}", package.name);
    }
}

/// Runs the cases, a few at a time.
fn at_once(cases: Vec<Case<'_>>) {
    let queue = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let case = queue.lock().unwrap().pop();
                    match case {
                        Some(case) => case(),
                        None => return,
                    }
                }
            });
        }
    });
}

#[test]
fn finishes_after_any_fault_at_any_publish() {
    let lab = Lab::start();
    let lab = &lab;
    let names = [
        "e403", "e409", "e429", "e500", "passing", "closed", "silent", "killed",
    ];
    let mut packed = lab.pack(&names, "1").into_iter();
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut case = |name, answer_within, run: fn(&Faulty, &Registry, &[Packed])| {
        let packages = packed.next().unwrap();
        cases.push(Box::new(move || {
            let (faulty, registry) = lab.faulty(name, answer_within);
            run(&faulty, &registry, &packages);
            check(lab, &faulty, &packages);
        }));
    };
    case("e403", PATIENT, |faulty, registry, packages| {
        fails_at_each_in_turn(faulty, registry, packages, 403);
    });
    case("e409", PATIENT, |faulty, registry, packages| {
        fails_at_each_in_turn(faulty, registry, packages, 409);
    });
    case("e429", PATIENT, |faulty, registry, packages| {
        fails_at_each_in_turn(faulty, registry, packages, 429);
    });
    case("e500", PATIENT, |faulty, registry, packages| {
        fails_at_each_in_turn(faulty, registry, packages, 500);
    });
    case("passing", PATIENT, |faulty, registry, packages| {
        for (package, status) in packages.iter().zip([409, 429, 500]) {
            faulty.set(&package.name, Fault::Refused(status), 1);
        }
        let outcomes = release(registry, packages, "next").unwrap();
        assert_eq!(outcomes, [Outcome::Published; 3]);
    });
    case("closed", PATIENT, |faulty, registry, packages| {
        accepted_without_an_answer(faulty, registry, packages, Fault::ClosedAfterwards);
    });
    case(
        "silent",
        Duration::from_secs(5),
        |faulty, registry, packages| {
            accepted_without_an_answer(faulty, registry, packages, Fault::SilentAfterwards);
        },
    );
    case("killed", PATIENT, killed_at_each_in_turn);
    at_once(cases);
}

/// Each run fails one publish later than the one before it, and the last finishes.
fn fails_at_each_in_turn(faulty: &Faulty, registry: &Registry, packages: &[Packed], status: u16) {
    for (index, package) in packages.iter().enumerate() {
        faulty.clear();
        faulty.set(&package.name, Fault::Refused(status), ALWAYS);
        let message = format!("{:#}", release(registry, packages, "next").unwrap_err());
        assert!(message.contains(&package.name), "{message}");
        assert!(message.contains(&format!("E{status}")), "{message}");
        let accepted: usize = packages
            .iter()
            .map(|package| faulty.accepted(&package.name))
            .sum();
        assert_eq!(accepted, index);
    }
    faulty.clear();
    let outcomes = release(registry, packages, "next").unwrap();
    let there = Outcome::AlreadyThere;
    assert_eq!(outcomes, [there, there, Outcome::Published]);
}

/// The registry has all of them although npm said otherwise of each.
fn accepted_without_an_answer(
    faulty: &Faulty,
    registry: &Registry,
    packages: &[Packed],
    fault: Fault,
) {
    for package in packages {
        faulty.set(&package.name, fault, ALWAYS);
    }
    let outcomes = release(registry, packages, "next").unwrap();
    assert_eq!(outcomes, [Outcome::ThereAfterAnError; 3]);
    let outcomes = release(registry, packages, "next").unwrap();
    assert_eq!(outcomes, [Outcome::AlreadyThere; 3]);
}

/// Each run is killed when the registry has accepted one more package, before npm knows.
fn killed_at_each_in_turn(faulty: &Faulty, registry: &Registry, packages: &[Packed]) {
    for package in packages {
        faulty.clear();
        faulty.set(&package.name, Fault::SilentAfterwards, ALWAYS);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact"])
            .arg("release::fault_tests::publishes_until_it_is_killed")
            .env(KILLED, killed_release(registry, packages).to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        faulty.wait_until_accepted(&package.name);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
    }
    faulty.clear();
    let outcomes = release(registry, packages, "next").unwrap();
    assert_eq!(outcomes, [Outcome::AlreadyThere; 3]);
}

fn killed_release(registry: &Registry, packages: &[Packed]) -> Value {
    let own = registry.own().unwrap();
    json!({
        "url": registry.url(),
        "userConfig": own.user_config_path,
        "cache": own.cache_dir,
        "packages": packages.iter().map(|package| json!({
            "name": package.name,
            "version": package.version,
            "filename": package.path,
            "integrity": package.integrity,
            "size": package.bytes,
            "platform": package.platform,
        })).collect::<Vec<_>>(),
    })
}

#[test]
#[ignore = "`finishes_after_any_fault_at_any_publish` starts it as a process of its own"]
fn publishes_until_it_is_killed() {
    let request: Value = serde_json::from_str(&std::env::var(KILLED).unwrap()).unwrap();
    let text = |key: &str| request[key].as_str().unwrap();
    let registry = Registry::at(text("url"), &scope())
        .with_own(Own {
            user_config_path: text("userConfig").into(),
            cache_dir: text("cache").into(),
        })
        .with_patience(patience(PATIENT));
    let packages: Vec<Packed> = request["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| packed(told, told["platform"].as_str(), Path::new("/")))
        .collect();
    release(&registry, &packages, "next").unwrap();
}

#[test]
fn other_bytes_under_a_published_version_stop_everything() {
    let lab = Lab::start();
    let registry = lab.registry();
    let [first] = &lab.pack(&["same"], "1")[..] else {
        panic!("one was packed");
    };
    release(registry, &first[2..], "next").unwrap();
    let [second] = &lab.pack(&["same"], "2")[..] else {
        panic!("one was packed");
    };
    let message = format!("{:#}", release(registry, second, "next").unwrap_err());
    for expected in [
        &first[2].integrity,
        &second[2].integrity,
        "cargo xtask version",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    // The platforms, which would have come before it, are not there either.
    assert_eq!(registry.version(&second[0].name, VERSION).unwrap(), None);
    let kept = registry.version(&first[2].name, VERSION).unwrap().unwrap();
    assert_eq!(kept.integrity, first[2].integrity);
}

#[test]
fn waits_for_what_is_not_there_yet_and_for_nothing_else() {
    let lab = Lab::start();
    let [packages] = &lab.pack(&["late"], "1")[..] else {
        panic!("one was packed");
    };
    let package = &packages[0];
    let (faulty, registry) = lab.faulty("late", PATIENT);
    let publisher = Publisher {
        registry: &registry,
        tag: "next",
        access: Access::Public,
        has_provenance: false,
    };
    publisher.publish(package, None).unwrap();
    faulty.set(&package.name, Fault::Unreadable(404), 3);
    publisher.confirm(package, PATIENT).unwrap();

    faulty.set(&package.name, Fault::Unreadable(404), ALWAYS);
    let message = publisher
        .confirm(package, Duration::ZERO)
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot be seen"), "{message}");

    faulty.set(&package.name, Fault::Unreadable(403), 1);
    let message = publisher.confirm(package, PATIENT).unwrap_err().to_string();
    assert!(message.contains("E403"), "{message}");
}

#[test]
fn a_version_that_is_there_gets_the_tag_that_is_asked_for() {
    let lab = Lab::start();
    let [packages] = &lab.pack(&["tagged"], "1")[..] else {
        panic!("one was packed");
    };
    let registry = lab.registry();
    release(registry, &packages[..1], "next").unwrap();
    let outcomes = release(registry, &packages[..1], "beta").unwrap();
    assert_eq!(outcomes, [Outcome::AlreadyThere]);
    let tags = registry.tags(&packages[0].name).unwrap().unwrap();
    assert_eq!(tags["beta"], VERSION);
    assert_eq!(tags["next"], VERSION);
}
