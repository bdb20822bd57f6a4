//! What takes too much is ended, and what was written until then is kept.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Environment, kind, message};

/// More than any of these calls takes, less than what they sleep for.
const BOUND: Duration = Duration::from_secs(20);

fn within_bound(environment: &Environment, request: &Value) -> Value {
    let started = Instant::now();
    let outcome = environment.request(request);
    assert!(started.elapsed() < BOUND);
    outcome
}

#[test]
fn ends_the_code_at_the_timeout_with_its_partial_output() {
    let environment = Environment::new();
    for code in [
        "print('partial', end='')\nwhile True: pass",
        "import sys, time\nsys.stdout.write('partial')\ntime.sleep(600)",
        "import ctypes, os\nos.write(1, b'partial')\nctypes.PyDLL(None).sleep(600)",
        "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\nprint('partial', end='')\ntime.sleep(600)",
        "import atexit, time\natexit.register(time.sleep, 600)\nprint('partial', end='')",
    ] {
        let outcome = within_bound(&environment, &json!({"code": code, "timeout_ms": 500}));
        assert_eq!(
            (kind(&outcome), message(&outcome)),
            ("timeout", "The code ran longer than 500 ms")
        );
        assert_eq!(outcome["stdout"], "partial", "{code}");
        assert!(outcome["durationMs"].as_f64().unwrap() >= 500.0);
    }
}

#[test]
fn ends_what_prints_without_end() {
    let environment = Environment::new();
    let outcome = within_bound(
        &environment,
        &json!({"code": "import os\nblock = b'x' * 65536\nwhile True: os.write(1, block)"}),
    );
    assert_eq!(kind(&outcome), "output-limit");
    assert_eq!(
        message(&outcome),
        "The code wrote more than 64 MiB of output"
    );
    assert_eq!(outcome["stdout"].as_str().unwrap().len(), 64 * 1024 * 1024);
}

#[test]
fn refuses_a_value_that_is_too_long() {
    let environment = Environment::new();
    let outcome = environment.execute("'x' * (65 * 1024 * 1024)");
    assert_eq!(kind(&outcome), "output-limit");
    assert_eq!(message(&outcome), "The value takes more than 64 MiB");
}

#[test]
#[cfg(target_os = "linux")]
fn ends_what_fills_the_memory() {
    let environment = Environment::new();
    for code in [
        "bytearray(10 ** 15)",
        "a = []\nwhile True: a.append(bytes(2 ** 27))",
    ] {
        let outcome = within_bound(&environment, &json!({"code": code}));
        assert_eq!(
            (kind(&outcome), message(&outcome)),
            ("memory", "MemoryError")
        );
        assert!(
            outcome["error"]["traceback"]
                .as_str()
                .unwrap()
                .contains("ktx:code")
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn names_the_signal_that_ended_python() {
    let environment = Environment::new();
    for (code, expected) in [
        (
            "import ctypes\nprint('before')\nctypes.string_at(0)",
            "Python was ended by SIGSEGV",
        ),
        (
            "import os, signal\nprint('before')\nos.kill(os.getpid(), signal.SIGTERM)",
            "Python was ended by SIGTERM",
        ),
        (
            "import os\nprint('before')\nos.killpg(0, 9)",
            "Python was ended by SIGKILL",
        ),
    ] {
        let outcome = environment.execute(code);
        assert_eq!((kind(&outcome), message(&outcome)), ("signal", expected));
        assert_eq!(outcome["stdout"], "before\n");
    }
}
