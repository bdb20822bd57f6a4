//! Nothing that a call starts survives it, however it or ktx-daemon ends.
#![cfg(target_os = "linux")]

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Environment, eventually, is_alive, kind, message, start};

/// Starts a process that leaves its group, its session and its parent, keeps
/// every descriptor, and whose number is printed.
const DAEMONIZE: &str = "import os, time\n\
    def daemonize():\n\
    \x20   if os.fork() == 0:\n\
    \x20       os.setsid()\n\
    \x20       if os.fork() == 0:\n\
    \x20           print(os.getpid(), flush=True)\n\
    \x20           time.sleep(600)\n\
    \x20       os._exit(0)\n\
    \x20   os.wait()\n\
    \x20   time.sleep(0.2)\n\
    daemonize()\n";

fn code(last: &str) -> String {
    format!("{DAEMONIZE}{last}")
}

#[test]
fn ends_daemons_that_the_code_leaves_behind() {
    let environment = Environment::new();
    for (last, expected) in [
        ("7", "none"),
        ("1 / 0", "exception"),
        ("os._exit(5)", "exit"),
        ("os.kill(os.getpid(), 11)", "signal"),
        ("while True: pass", "timeout"),
        ("os.kill(os.getppid(), 9); time.sleep(600)", "signal"),
        ("os.kill(os.getppid(), 19); time.sleep(600)", "timeout"),
    ] {
        let started = Instant::now();
        let outcome = environment.request(&json!({"code": code(last), "timeout_ms": 3000}));
        assert_eq!(kind(&outcome), expected, "{last}: {outcome}");
        assert!(started.elapsed() < Duration::from_secs(20), "{last}");
        assert!(!is_alive(outcome["stdout"].as_str().unwrap()), "{last}");
    }
}

#[test]
fn a_child_that_keeps_the_pipe_open_holds_nothing_up() {
    let environment = Environment::new();
    let started = Instant::now();
    let outcome = environment.execute(
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True).pid",
    );
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!is_alive(&outcome["value"].to_string()));
}

#[test]
fn ends_processes_that_multiply() {
    let environment = Environment::new();
    for leave in ["pass", "os.setsid()"] {
        let code = format!(
            "import os\nprint(os.getpid(), flush=True)\nfor _ in range(9):\n    if os.fork() == 0: {leave}\nwhile True: pass"
        );
        let outcome = environment.request(&json!({"code": code, "timeout_ms": 1000}));
        assert_eq!(kind(&outcome), "timeout");
        let session = outcome["stdout"].as_str().unwrap().trim();
        assert!(!is_alive(session));
        let busy = "while True: pass";
        assert!(!command_lines().iter().any(|line| line.contains(busy)));
        assert!(
            !command_lines()
                .iter()
                .any(|line| line.contains(environment.root().to_str().unwrap()))
        );
    }
}

#[test]
fn blames_the_code_that_kills_its_parent() {
    let environment = Environment::new();
    let outcome = environment
        .execute("import os, time\nprint('before')\nos.kill(os.getppid(), 9)\ntime.sleep(600)");
    assert_eq!(outcome["stdout"], "before\n");
    assert_eq!(
        message(&outcome),
        "Python was ended, because its parent process was ended by SIGKILL"
    );
    assert_eq!(environment.execute("1")["value"], 1);
}

#[test]
fn ends_the_code_when_it_is_asked_to_end() {
    for (signal, status) in [("-TERM", Some(143)), ("-INT", Some(130)), ("-KILL", None)] {
        let environment = Environment::new();
        let marker = environment.root().join("marker");
        let request = json!({"code": code(&format!(
            "open({:?}, 'w').write(f'{{os.getpid()}} {{os.getcwd()}}')\ntime.sleep(600)",
            marker.to_str().unwrap()
        ))});
        let mut daemon = start(environment.command(), request.to_string().as_bytes());
        let written = || fs_err::read_to_string(&marker).unwrap_or_default();
        eventually("the code to run", || !written().is_empty());
        let text = written();
        let (worker, scratch) = text.split_once(' ').unwrap();
        let sent = Command::new("kill")
            .args([signal, &daemon.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        assert_eq!(daemon.wait().unwrap().code(), status);
        let mut output = String::new();
        daemon
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        assert_eq!(output, "");
        eventually("the worker to end", || !is_alive(worker));
        let root = environment.root();
        eventually("all else to end", || {
            !command_lines()
                .iter()
                .any(|line| line.contains(root.to_str().unwrap()))
        });
        eventually("the directory to go", || {
            !std::path::Path::new(scratch).exists()
        });
    }
}

/// The command line of every process.
fn command_lines() -> Vec<String> {
    let processes = fs_err::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}
