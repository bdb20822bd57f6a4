//! What a look at a daemon says, and that it only looks.

use std::time::{Duration, Instant};

use ktx_service::{Look, Scope, StartStatus, StatusKind, status};
use rustix::process::Signal;

use crate::support::{VERSION, World, signal};

#[test]
fn says_whether_a_daemon_runs() {
    let world = World::new();
    let before = world.status();
    assert_eq!(
        (before.kind, before.detail.as_str()),
        (StatusKind::Stopped, "No KTX Python daemon is running")
    );
    assert!(!world.path("runtime").exists());
    let daemon = world.start();
    let seen = world.status();
    assert_eq!(seen.kind, StatusKind::Running);
    assert_eq!(seen.state_path.as_ref(), Some(&daemon.state_path));
    assert_eq!(seen.daemon.unwrap().state, daemon.daemon.state);
    signal(daemon.daemon.state.pid, Signal::KILL);
    world.is_empty();
    let after = world.status();
    assert_eq!(after.kind, StatusKind::Stale);
    assert!(after.detail.ends_with("has ended"), "{}", after.detail);
    world.stop();
    assert_eq!(world.status().kind, StatusKind::Stopped);
}

#[test]
fn answers_in_time_for_a_daemon_that_is_stopped() {
    let world = World::new();
    let first = world.start().daemon.state;
    signal(first.pid, Signal::STOP);
    let before = Instant::now();
    let seen = world.status();
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(seen.kind, StatusKind::Stale);
    assert!(seen.detail.contains("does not answer"), "{}", seen.detail);
    let second = world.start();
    assert_eq!(second.status, StartStatus::Started);
    assert_ne!(second.daemon.state.pid, first.pid);
}

#[test]
fn tells_of_the_daemon_of_an_environment_that_was_replaced() {
    let world = World::new();
    let daemon = world.start().daemon.state;
    let mut installation = world.installation();
    installation.environment = world.path("another");
    for installation in [Some(&installation), None] {
        let seen = status(&Look {
            daemons: &world.daemons(),
            version: VERSION,
            scope: &Scope::User,
            installation,
            dialer: None,
        })
        .unwrap();
        assert_eq!(seen.kind, StatusKind::Stale);
        assert_eq!(seen.daemon.unwrap().state.pid, daemon.pid);
    }
}
