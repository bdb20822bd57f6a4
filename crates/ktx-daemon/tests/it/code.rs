//! Code runs once, as a script does.

use serde_json::json;

use crate::support::{Environment, kind, message};

#[test]
fn returns_the_last_expression_and_what_was_written() {
    let environment = Environment::new();
    let outcome =
        environment.execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7");
    assert_eq!(outcome["success"], true);
    assert_eq!(outcome["value"], 42);
    assert_eq!(outcome["stdout"], "out\n");
    assert_eq!(outcome["stderr"], "err\n");
    assert!(outcome["error"].is_null());
    assert!(outcome["durationMs"].as_f64().unwrap() > 0.0);
}

#[test]
fn runs_side_effects_once() {
    let environment = Environment::new();
    let dir = tempfile::tempdir().unwrap();
    environment.request(&json!({
        "code": "open('log', 'a').write('x')",
        "cwd": dir.path(),
    }));
    assert_eq!(fs_err::read_to_string(dir.path().join("log")).unwrap(), "x");
}

#[test]
fn is_main_with_its_future_imports_and_arguments() {
    let environment = Environment::new();
    let outcome = environment.request(&json!({
        "code": "from __future__ import annotations\nimport sys\ndef f(x: missing): pass\n\
                 if __name__ == '__main__':\n    print(sys.argv, f.__annotations__)\n\
                 sys.modules['__main__'].f is f",
        "args": ["a b", "ü"],
    }));
    assert_eq!(outcome["stdout"], "['-c', 'a b', 'ü'] {'x': 'missing'}\n");
    assert_eq!(outcome["value"], true);
}

#[test]
fn names_the_file_that_the_code_is_from() {
    let environment = Environment::new();
    let outcome = environment.request(&json!({
        "code": "\u{feff}import sys\n[__file__, sys.argv]",
        "filename": "some/script.py",
    }));
    assert_eq!(
        outcome["value"],
        json!(["some/script.py", ["some/script.py"]])
    );
}

#[test]
fn shows_upstream_only_when_it_is_given() {
    let environment = Environment::new();
    let given =
        |upstream| environment.request(&json!({"code": "[upstream]", "upstream": upstream}));
    assert_eq!(given(json!(null))["value"], json!([null]));
    let nested = json!({"a": [1.5, "ü", {"b": null}]});
    assert_eq!(given(nested.clone())["value"], json!([nested]));
    let outcome = environment.execute("upstream");
    assert_eq!(
        message(&outcome),
        "NameError: name 'upstream' is not defined"
    );
}

#[test]
fn shows_the_users_frames_with_their_lines() {
    let environment = Environment::new();
    let outcome = environment.execute("def f(x):\n    return 1 / x\n\n\nf(0)\n");
    assert_eq!(kind(&outcome), "exception");
    assert_eq!(message(&outcome), "ZeroDivisionError: division by zero");
    let traceback = outcome["error"]["traceback"].as_str().unwrap();
    // Newer versions of Python underline the place.
    let lines = traceback
        .lines()
        .filter(|line| !line.trim_matches([' ', '~', '^']).is_empty());
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    Traceback (most recent call last):
      File "ktx:code", line 5, in <module>
        f(0)
      File "ktx:code", line 2, in f
        return 1 / x
    ZeroDivisionError: division by zero
    "#);
}

#[test]
fn shows_lines_in_tracebacks_that_the_code_prints() {
    let environment = Environment::new();
    let outcome = environment.execute(
        "import logging\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('no')",
    );
    assert!(outcome["stderr"].as_str().unwrap().contains("    1 / 0\n"));
    assert_eq!(outcome["success"], true);
}

#[test]
fn tells_a_text_that_does_not_compile() {
    let environment = Environment::new();
    let outcome = environment.execute("print('not reached')\nx = (1 +");
    assert_eq!(kind(&outcome), "syntax");
    assert_eq!(outcome["stdout"], "");
    let traceback = outcome["error"]["traceback"].as_str().unwrap();
    assert!(traceback.contains("  File \"ktx:code\", line 2\n    x = (1 +\n"));
    assert!(!traceback.contains("worker.py"));
    for code in ["a\0b".to_owned(), "(".repeat(100_000)] {
        assert_eq!(kind(&environment.execute(&code)), "syntax");
    }
    let raised = environment.execute("exec('1 +')");
    assert_eq!(kind(&raised), "exception");
}

#[test]
fn tells_how_python_exited() {
    let environment = Environment::new();
    for code in ["raise SystemExit", "import sys; sys.exit(0)", "exit()"] {
        let outcome = environment.execute(code);
        assert_eq!(
            (kind(&outcome), &outcome["success"]),
            ("none", &json!(true)),
            "{code}"
        );
    }
    for (code, expected) in [
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit(-1)", 255),
        ("import os; print('kept'); os._exit(0)", 0),
        ("import os; os._exit(9)", 9),
    ] {
        let outcome = environment.execute(code);
        assert_eq!(kind(&outcome), "exit", "{code}");
        assert_eq!(
            message(&outcome),
            format!("Python exited with status {expected}")
        );
    }
    let outcome = environment.execute("import sys; sys.exit('a reason')");
    assert_eq!(outcome["stderr"], "a reason\n");
    assert_eq!(message(&outcome), "Python exited with status 1");
}

#[test]
fn waits_for_threads_and_exit_handlers() {
    let environment = Environment::new();
    let outcome = environment.execute(
        "import atexit, threading, time\n\
         atexit.register(print, 'handler')\n\
         threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n\
         'value'",
    );
    assert_eq!(outcome["stdout"], "thread\nhandler\n");
    assert_eq!(outcome["value"], "value");
}

#[test]
#[cfg(unix)]
fn reports_once_when_the_code_forks() {
    let environment = Environment::new();
    let outcome = environment
        .execute("import os\npid = os.fork()\nif pid == 0:\n    1 / 0\nos.waitpid(pid, 0)[1] >> 8");
    assert_eq!(outcome["value"], 1);
    assert!(
        outcome["stderr"]
            .as_str()
            .unwrap()
            .ends_with("ZeroDivisionError: division by zero\n")
    );
}
