//! What is written down is believed only as far as it is true.

use std::process::{Child, Command};

use fs_err as fs;
use ktx_os::process::Identity;
use ktx_service::{StartStatus, StatusKind, StopStatus, stop_all};
use serde_json::{Value, json};

use crate::support::{World, is_alive};

/// A process that has nothing to do with ktx.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn identity(&self) -> Identity {
        Identity::of(self.0.id()).unwrap().unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A world with the state of a daemon that was killed, as `change` makes it.
fn world_with(change: impl FnOnce(&mut Value)) -> (World, std::path::PathBuf) {
    let world = World::new();
    let first = world.start();
    let mut state: Value = serde_json::from_slice(&fs::read(&first.state_path).unwrap()).unwrap();
    world.stop();
    world.is_empty();
    change(&mut state);
    fs::write(&first.state_path, state.to_string()).unwrap();
    (world, first.state_path)
}

/// Makes the state one of this very process.
fn name(state: &mut Value, identity: &Identity) {
    state["pid"] = json!(identity.pid);
    state["startTime"] = json!(identity.start_time);
}

#[test]
fn a_stranger_with_the_number_is_not_signalled() {
    let stranger = Stranger::new();
    let identity = stranger.identity();
    let (world, state_path) = world_with(|state| state["pid"] = json!(identity.pid));
    let text = fs::read(&state_path).unwrap();
    assert_eq!(world.status().kind, StatusKind::Stale);
    assert_eq!(world.stop()[0].status, StopStatus::AlreadyStopped);
    assert!(is_alive(identity.pid));

    fs::write(&state_path, &text).unwrap();
    assert_eq!(world.start().status, StartStatus::Started);
    assert!(is_alive(identity.pid));
}

#[test]
fn what_leads_no_group_is_not_signalled_even_if_it_began_with_the_daemon() {
    let stranger = Stranger::new();
    let identity = stranger.identity();
    let (world, _) = world_with(|state| name(state, &identity));
    assert_eq!(world.status().kind, StatusKind::Stale);
    assert_eq!(world.stop()[0].status, StopStatus::AlreadyStopped);
    assert!(is_alive(identity.pid));
}

#[test]
fn a_process_of_another_boot_is_not_signalled() {
    let stranger = Stranger::new();
    let identity = stranger.identity();
    let (world, _) = world_with(|state| {
        name(state, &identity);
        state["bootId"] = json!("6d0f3f0e-9b0e-4f57-8f2e-000000000000");
    });
    let status = world.status();
    insta::assert_snapshot!(status.detail, @"The daemon ran before the system was started");
    assert_eq!(status.kind, StatusKind::Stale);
    assert_eq!(
        stop_all(&world.stopper()).unwrap()[0].status,
        StopStatus::AlreadyStopped
    );
    assert!(is_alive(identity.pid));
}

#[test]
fn what_lies_where_no_daemon_listens_is_not_removed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("empty/0badcafe@localhost");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    fs::write(&socket, "somebody's").unwrap();
    let endpoint = format!("unix:{}", socket.display());
    let (world, _) = world_with(|state| state["endpoint"] = json!(endpoint));
    assert_eq!(world.stop().len(), 1);
    assert!(socket.exists());
    fs::remove_file(&socket).unwrap();
    let (world, _) = world_with(|state| state["endpoint"] = json!(endpoint));
    assert_eq!(world.start().status, StartStatus::Started);
    assert!(socket.parent().unwrap().is_dir());
}

#[test]
fn what_is_not_a_state_is_replaced() {
    let (world, state_path) = world_with(|_| {});
    let whole = fs::read_to_string(&state_path).unwrap();
    let half = whole[..whole.len() / 2].to_owned();
    let without_token = whole.replace("\"token\"", "\"tokens\"");
    let elsewhere = whole.replace("unix:/", "unix:");
    let mut abroad: Value = serde_json::from_str(&whole).unwrap();
    abroad["endpoint"] = json!("192.0.2.1:4711");
    let abroad = abroad.to_string();
    for text in [
        "",
        "{}",
        "null",
        "\u{feff}{}",
        &half,
        &without_token,
        &elsewhere,
        &abroad,
    ] {
        fs::write(&state_path, text).unwrap();
        assert_eq!(world.status().kind, StatusKind::Stale, "{text}");
        assert_eq!(world.stop(), []);
    }
    fs::write(&state_path, half).unwrap();
    assert_eq!(stop_all(&world.stopper()).unwrap(), []);
    assert!(!state_path.exists());
    fs::write(&state_path, "{").unwrap();
    assert_eq!(world.start().status, StartStatus::Started);
}

#[test]
fn a_newer_state_is_no_more_believed_than_a_broken_one() {
    let (world, _) = world_with(|state| state["schemaVersion"] = json!(2));
    assert_eq!(world.status().kind, StatusKind::Stale);
    assert_eq!(world.start().status, StartStatus::Started);
}

#[test]
fn a_file_of_another_user_is_not_believed() {
    let stranger = Stranger::new();
    let identity = stranger.identity();
    let (world, state_path) = world_with(|state| name(state, &identity));
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    std::os::unix::fs::chown(&state_path, Some(12345), None).unwrap();
    assert_eq!(world.status().kind, StatusKind::Stale);
    assert_eq!(world.stop(), []);
    assert_eq!(world.start().status, StartStatus::Started);
    assert!(is_alive(identity.pid));
}

#[test]
fn a_link_in_place_of_the_state_is_not_followed() {
    let (world, state_path) = world_with(|_| {});
    let target = world.path("elsewhere.json");
    fs::rename(&state_path, &target).unwrap();
    std::os::unix::fs::symlink(&target, &state_path).unwrap();
    assert_eq!(world.status().kind, StatusKind::Stale);
    assert_eq!(world.start().status, StartStatus::Started);
    assert!(target.is_file());
}
