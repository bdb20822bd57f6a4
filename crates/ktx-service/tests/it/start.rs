//! One daemon for all who want one, known to others only when it answers.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fs_err as fs;
use ktx_service::{Dialer, Installation, Scope, ServiceError, Settings, StartStatus};
use serde_json::{Value, json};

use crate::support::{DEAF, PATIENCE, Unheard, World, eventually, is_alive, signal, sockets};

#[test]
fn starts_one_and_finds_it_again() {
    let world = World::new();
    let first = world.start();
    assert_eq!(first.status, StartStatus::Started);
    let second = world.start();
    assert_eq!(second.status, StartStatus::Reused);
    assert_eq!(second.daemon.state, first.daemon.state);
    assert_eq!(second.daemon.token.as_str(), first.daemon.token.as_str());

    let mut written: Value = serde_json::from_slice(&fs::read(&first.state_path).unwrap()).unwrap();
    let state = &first.daemon.state;
    assert_eq!(written["pid"], state.pid);
    assert_eq!(written["token"], first.daemon.token.as_str());
    for key in ["pid", "startTime", "bootId", "startedAt", "token"] {
        written[key] = json!("[own]");
    }
    let text = world.filtered(&serde_json::to_string_pretty(&written).unwrap());
    insta::with_settings!({filters => [("[0-9a-f]{64}", "[sha256]"), ("[0-9a-f]{16}", "[key]"), ("[0-9a-f]{8}@", "[id]@")]}, {
        insta::assert_snapshot!(text, @r#"
        {
          "schemaVersion": 1,
          "pid": "[own]",
          "startTime": "[own]",
          "bootId": "[own]",
          "endpoint": "unix:[world]/runtime/daemons/[key]/[id]@localhost",
          "version": "0.1.0",
          "wheelSha256": "[sha256]",
          "features": [
            "core"
          ],
          "startedAt": "[own]",
          "logPath": "[world]/runtime/daemons/[key]/daemon.log",
          "environment": "[world]/an environment",
          "protocol": 1,
          "token": "[own]"
        }
        "#);
    });
    let mode = fs::metadata(&first.state_path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let directory = first.state_path.parent().unwrap();
    let mode = fs::metadata(directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn of_64_starts_at_once_one_starts() {
    let world = World::new();
    let started: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..64).map(|_| scope.spawn(|| world.start())).collect();
        starts.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let first = &started[0].daemon.state;
    assert!(started.iter().all(|it| it.daemon.state.pid == first.pid));
    let is_started = |it: &&ktx_service::Started| it.status == StartStatus::Started;
    assert_eq!(started.iter().filter(is_started).count(), 1);
}

#[test]
fn a_forced_start_replaces_the_daemon() {
    let world = World::new();
    let first = world.start();
    let mut starter = world.starter();
    starter.force = true;
    let second = world.start_with(&starter).unwrap();
    assert_eq!(second.status, StartStatus::Started);
    assert_ne!(second.daemon.state.pid, first.daemon.state.pid);
    assert!(!is_alive(first.daemon.state.pid));
    assert_eq!(sockets(second.state_path.parent().unwrap()), 1);
}

#[test]
fn each_project_has_its_own() {
    let world = World::new();
    let users = world.start();
    let mut starter = world.starter();
    let project = world.path("a project");
    starter.scope = Scope::of(Some(&project)).unwrap();
    let error = world.start_with(&starter).unwrap_err();
    assert!(matches!(error, ServiceError::NoProject { .. }));
    fs::create_dir(&project).unwrap();
    std::os::unix::fs::symlink(&project, world.path("link")).unwrap();
    starter.scope = Scope::of(Some(&project)).unwrap();
    let own = world.start_with(&starter).unwrap();
    assert_ne!(own.daemon.state.pid, users.daemon.state.pid);
    assert_eq!(
        own.daemon.state.project_dir.as_ref(),
        Some(&fs::canonicalize(&project).unwrap())
    );
    starter.scope = Scope::of(Some(&world.path("link"))).unwrap();
    let again = world.start_with(&starter).unwrap();
    assert_eq!(again.daemon.state.pid, own.daemon.state.pid);
}

#[test]
fn the_daemon_gets_its_settings_and_nothing_by_accident() {
    let mut world = World::new();
    world.environment.set("SECRET", "leaked");
    world.environment.set("PYTHONPATH", "/evil");
    world.environment.set("KTX_LOG", "debug");
    let mut starter = world.starter();
    starter.settings = Settings {
        idle_timeout: Some(Duration::from_millis(1500)),
        max_memory: Some(1 << 30),
        max_concurrency: Some(3),
    };
    let daemon = world.start_with(&starter).unwrap();
    let process = format!("/proc/{}", daemon.daemon.state.pid);
    let arguments = fs::read_to_string(format!("{process}/cmdline")).unwrap();
    let arguments = arguments.replace('\0', " ");
    for argument in [
        "--idle-timeout 2",
        "--max-memory 1073741824",
        "--max-concurrency 3",
    ] {
        assert!(arguments.contains(argument), "{arguments}");
    }
    assert!(!arguments.contains(daemon.daemon.token.as_str()));
    let variables = fs::read_to_string(format!("{process}/environ")).unwrap();
    assert!(variables.contains("KTX_LOG=debug"));
    assert!(!variables.contains("SECRET") && !variables.contains("PYTHONPATH"));
}

#[test]
fn the_daemon_holds_no_descriptor_of_its_starter() {
    let world = World::new();
    // Without close-on-exec, as a program inherits what its output is read
    // from.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let started = world.start();
    drop(writer);
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ended = fs::File::from_parts(std::fs::File::from(reader), "a pipe").read(&mut [0]);
        told.send(ended.unwrap()).unwrap();
    });
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(0));
    assert!(is_alive(started.daemon.state.pid));
}

/// Whoever runs this is killed while the daemon waits to be published.
#[test]
#[ignore = "it is run, and killed, by another test"]
fn waits_between_the_ready_line_and_the_state() {
    struct Waits;
    impl Dialer for Waits {
        fn health(&self, endpoint: &str, _: &str, _: Duration) -> Result<(), String> {
            println!("asked {endpoint}");
            std::thread::sleep(PATIENCE);
            Err("the test did not end".to_owned())
        }
        fn shutdown(&self, _: &str, _: &str, _: Duration) -> Result<(), String> {
            Ok(())
        }
    }
    let inherited = std::env::var("KTX_TEST_WORLD").unwrap();
    let world = World::at(inherited.as_ref());
    let mut starter = world.starter();
    starter.dialer = Box::new(Waits);
    world.start_with(&starter).unwrap_err();
}

#[test]
fn a_daemon_whose_starter_is_killed_before_the_state_is_written_leaves() {
    let world = World::new();
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "start::waits_between_the_ready_line_and_the_state",
        ])
        .args(["--ignored", "--nocapture"])
        .env("KTX_TEST_WORLD", world.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("asked unix:")));
    assert!(!world.processes().is_empty());
    let killed = Instant::now();
    signal(starter.id(), rustix::process::Signal::KILL);
    starter.wait().unwrap();
    world.is_empty();
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_eq!(world.start().status, StartStatus::Started);
}

#[test]
fn a_daemon_that_does_not_answer_is_ended_again() {
    struct Mute;
    impl Dialer for Mute {
        fn health(&self, _: &str, _: &str, _: Duration) -> Result<(), String> {
            Err("connection refused".to_owned())
        }
        fn shutdown(&self, _: &str, _: &str, _: Duration) -> Result<(), String> {
            Ok(())
        }
    }
    let world = World::new();
    let mut starter = world.starter();
    starter.dialer = Box::new(Mute);
    let error = world.start_with(&starter).unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_DAEMON_UNREACHABLE");
    assert!(error.to_string().contains("connection refused"));
    world.is_empty();
    assert_eq!(world.start().status, StartStatus::Started);
}

#[test]
fn an_early_end_is_reported_at_once_with_the_end_of_the_log() {
    let world = World::with_fake("exec >&2; seq 100; echo 'no room to live'; exit 7");
    let before = Instant::now();
    let error = world.start_with(&world.starter()).unwrap_err();
    assert!(before.elapsed() < Duration::from_secs(1));
    assert_eq!(error.code().as_str(), "KTX_DAEMON_START");
    assert_eq!(
        fs::read_to_string(error.log_path().unwrap())
            .unwrap()
            .lines()
            .count(),
        101
    );
    insta::with_settings!({filters => [("[0-9a-f]{16}", "[key]")]}, {
        insta::assert_snapshot!(world.filtered(&error.to_string()), @"
        The KTX Python daemon did not start: it ended before it listened (exit status: 7). Log: [world]/runtime/daemons/[key]/daemon.log
          82
          83
          84
          85
          86
          87
          88
          89
          90
          91
          92
          93
          94
          95
          96
          97
          98
          99
          100
          no room to live
        ");
    });
    world.replace_daemon("exit 1");
    let error = world.start_with(&world.starter()).unwrap_err();
    assert!(!error.to_string().contains("no room to live"));
}

#[test]
fn says_what_a_daemon_without_an_environment_says() {
    let world = World::new();
    fs::remove_file(world.root().join(".ktx-lease")).unwrap();
    let error = world.start_with(&world.starter()).unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_DAEMON_START");
    assert!(error.to_string().contains("environment"), "{error}");
    world.is_empty();
}

#[test]
fn looks_again_when_the_environment_is_replaced_meanwhile() {
    let world = World::new();
    let asked = AtomicU32::new(0);
    let find = || -> Result<Installation, ServiceError> {
        let mut installation = world.installation();
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            installation.environment = world.path("gone");
            installation.executable = world.path("gone/bin/ktx-daemon");
        }
        Ok(installation)
    };
    let started = ktx_service::start(&world.starter(), find).unwrap();
    assert_eq!(started.daemon.state.environment, world.root());
    assert_eq!(asked.into_inner(), 2);
}

#[test]
fn whoever_gives_up_leaves_nothing_behind() {
    let world = World::with_fake("exec cat");
    let starter = world.starter();
    let cancellation = starter.cancellation.clone();
    std::thread::scope(|scope| {
        let start = scope.spawn(|| world.start_with(&starter));
        eventually("the program to run", || !world.processes().is_empty());
        cancellation.cancel();
        let error = start.join().unwrap().unwrap_err();
        assert!(matches!(error, ServiceError::Cancelled));
    });
    world.is_empty();
}

#[test]
fn a_daemon_that_listens_nowhere_is_not_believed() {
    let world = World::with_fake("echo 'Listening on port 80'; exec cat >/dev/null");
    let error = world.start_with(&world.starter()).unwrap_err();
    assert!(error.to_string().contains("is not valid"), "{error}");
    world.is_empty();
}

#[test]
fn a_daemon_may_say_who_it_is_and_not_be_it() {
    // The first process of the system was started at another time.
    let world = World::with_fake(&DEAF.replace("'$$'", "1"));
    let mut starter = world.starter();
    starter.dialer = Box::new(Unheard);
    let error = world.start_with(&starter).unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_DAEMON_START");
    assert!(is_alive(1));
}
