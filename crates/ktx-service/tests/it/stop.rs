//! The end of a daemon, seen and not only asked for.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fs_err as fs;
use ktx_service::{Scope, StopStatus, stop, stop_all};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{DEAF, Unheard, VERSION, World, eventually, is_alive, names, signal, sockets};

#[test]
fn ends_the_daemon_and_all_that_it_runs() {
    let world = World::new();
    let daemon = world.start().daemon.state;
    eventually("the first worker", || world.processes().len() > 2);
    let stopped = world.stop();
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].status, StopStatus::Stopped);
    assert_eq!(
        (stopped[0].pid, &stopped[0].endpoint),
        (daemon.pid, &daemon.endpoint)
    );
    assert!(!is_alive(daemon.pid));
    world.is_empty();
    let left = names(stopped[0].state_file.parent().unwrap());
    assert_eq!(left, ["daemon.log", "version"]);
    assert_eq!(world.stop(), []);
    assert_eq!(StopStatus::of_all(&[]), StopStatus::AlreadyStopped);
}

#[test]
fn ends_a_daemon_that_is_stopped() {
    let world = World::new();
    let daemon = world.start().daemon.state;
    signal(daemon.pid, Signal::STOP);
    let before = Instant::now();
    assert_eq!(world.stop()[0].status, StopStatus::Stopped);
    assert!(before.elapsed() < Duration::from_secs(15));
    assert!(!is_alive(daemon.pid));
    world.is_empty();
}

#[test]
fn ends_a_daemon_whose_whole_group_is_stopped() {
    let world = World::new();
    let daemon = world.start().daemon.state;
    kill_process_group(
        Pid::from_raw(daemon.pid.cast_signed()).unwrap(),
        Signal::STOP,
    )
    .unwrap();
    assert_eq!(world.stop()[0].status, StopStatus::Stopped);
    world.is_empty();
}

#[test]
fn kills_a_daemon_that_hears_nothing_and_its_company() {
    let world = World::with_fake(DEAF);
    let mut starter = world.starter();
    starter.dialer = Box::new(Unheard);
    let daemon = world.start_with(&starter).unwrap().daemon.state;
    eventually("the companion", || world.processes().len() == 2);
    let mut means = world.stopper();
    means.dialer = Box::new(Unheard);
    let stopped = stop(&means, VERSION, &Scope::User).unwrap();
    assert_eq!(stopped[0].status, StopStatus::Stopped);
    assert!(!is_alive(daemon.pid));
    world.is_empty();
}

#[test]
fn clears_up_after_a_daemon_that_was_killed() {
    let world = World::new();
    let first = world.start();
    signal(first.daemon.state.pid, Signal::KILL);
    world.is_empty();
    let directory = first.state_path.parent().unwrap();
    assert_eq!(sockets(directory), 1);
    let stopped = world.stop();
    assert_eq!(stopped[0].status, StopStatus::AlreadyStopped);
    assert_eq!(names(directory), ["daemon.log", "version"]);
    let second = world.start();
    signal(second.daemon.state.pid, Signal::KILL);
    eventually("the daemon to end", || !is_alive(second.daemon.state.pid));
    let third = world.start();
    assert_ne!(third.daemon.state.pid, second.daemon.state.pid);
    assert_eq!(sockets(directory), 1);
}

#[test]
fn ends_the_daemons_of_one_scope_or_all() {
    let world = World::new();
    let users = world.start().daemon.state;
    let project = world.path("project");
    fs::create_dir(&project).unwrap();
    let mut starter = world.starter();
    starter.scope = Scope::of(Some(&project)).unwrap();
    let own = world.start_with(&starter).unwrap().daemon.state;
    let older = |starter: &_| {
        let mut installation = world.installation();
        installation.version = "0.0.9".to_owned();
        ktx_service::start(starter, || {
            Ok::<_, ktx_service::ServiceError>(installation.clone())
        })
    };
    let older = older(&world.starter()).unwrap().daemon.state;
    let stopped = stop(&world.stopper(), VERSION, &starter.scope).unwrap();
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].project_dir, own.project_dir);
    assert!(is_alive(users.pid) && is_alive(older.pid) && !is_alive(own.pid));
    let versions: HashMap<_, _> = stop_all(&world.stopper())
        .unwrap()
        .into_iter()
        .map(|one| (one.version, one.pid))
        .collect();
    let expected = [
        (VERSION.to_owned(), users.pid),
        ("0.0.9".to_owned(), older.pid),
    ];
    assert_eq!(versions, expected.into());
    world.is_empty();
}

#[test]
fn ends_the_daemon_of_an_environment_that_was_replaced() {
    let world = World::new();
    let daemon = world.start().daemon.state;
    let mut installation = world.installation();
    installation.environment = world.path("another");
    assert_eq!(world.stop()[0].pid, daemon.pid);
    world.is_empty();
}

#[test]
fn waits_for_whoever_starts_the_daemon() {
    let world = World::new();
    let starter = world.starter();
    world.start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| world.start_with(&starter).unwrap());
            scope.spawn(|| world.stop());
        }
    });
    world.stop();
    world.is_empty();
}

#[test]
fn many_lives_leave_nothing_behind() {
    let world = World::new();
    let descriptors = || names(Path::new("/proc/self/fd")).len();
    let life = || {
        world.start();
        assert_eq!(world.stop().len(), 1);
    };
    life();
    let before = (descriptors(), names(&world.path("runtime/daemons")));
    for _ in 0..25 {
        life();
    }
    assert_eq!(
        (descriptors(), names(&world.path("runtime/daemons"))),
        before
    );
    world.is_empty();
    assert!(names(&world.path("temporary")).is_empty());
    // Nobody that was started here waits to be asked how it ended.
    assert!(children().is_empty());
}

/// The children of this process, ended ones among them.
fn children() -> Vec<String> {
    let tasks = names(Path::new("/proc/self/task"));
    let listed = tasks.iter().map(|task| {
        fs::read_to_string(format!("/proc/self/task/{task}/children")).unwrap_or_default()
    });
    listed
        .flat_map(|text| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}
