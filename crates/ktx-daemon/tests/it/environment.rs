//! The environment that the worker runs in: its interpreter, its variables,
//! its directory, its lease.

use serde_json::json;

use crate::support::{Environment, kind, outcome, send};

/// How `ktx-daemon execute` ends when the environment is gone or going.
const NOT_RUN: i32 = 3;

#[test]
fn uses_the_interpreter_beside_it() {
    let environment = Environment::new();
    let outcome = environment.execute("import sys\nsys.prefix");
    assert_eq!(outcome["value"], environment.root().to_str().unwrap());
}

#[test]
#[cfg(unix)]
fn uses_it_through_a_link_too() {
    let environment = Environment::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("ktx-daemon");
    std::os::unix::fs::symlink(environment.daemon(), &link).unwrap();
    let mut command = std::process::Command::new(link);
    command.arg("execute");
    let output = send(command, br#"{"code": "import sys\nsys.prefix"}"#);
    assert_eq!(
        outcome(&output)["value"],
        environment.root().to_str().unwrap()
    );
}

#[test]
fn ignores_a_hostile_environment_and_directory() {
    let environment = Environment::new();
    let hostile = tempfile::tempdir().unwrap();
    for module in ["ktx_daemon", "json", "os", "sitecustomize"] {
        let text = "raise SystemExit('hostile')";
        fs_err::write(hostile.path().join(format!("{module}.py")), text).unwrap();
    }
    let mut command = environment.command();
    command.current_dir(&hostile);
    for name in [
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONEXECUTABLE",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "LD_LIBRARY_PATH",
    ] {
        command.env(name, hostile.path());
    }
    command.envs([
        ("PYTHONINSPECT", "1"),
        ("PYTHONOPTIMIZE", "2"),
        ("LC_ALL", "C"),
        ("PYTHONIOENCODING", "ascii"),
    ]);
    let code = "import os, json, sys\nassert not hasattr(sys, 'ps1')\nprint('ü')\n\
                sorted(n for n in os.environ if n.startswith(('PYTHON', 'VIRTUAL', 'CONDA', 'LD_')))";
    let request = json!({"code": code, "cwd": hostile.path()});
    let outcome = outcome(&send(command, request.to_string().as_bytes()));
    assert_eq!(outcome["value"], json!([]), "{outcome}");
    assert_eq!(outcome["stdout"], "ü\n");
}

#[test]
fn works_in_an_empty_directory_that_is_removed() {
    let environment = Environment::new();
    let outcome = environment.execute(
        "import os\nopen('left', 'w').close()\nos.mkdir('d', 0)\n[os.getcwd(), os.listdir()]",
    );
    let directory = outcome["value"][0].as_str().unwrap();
    assert_eq!(outcome["value"][1].as_array().unwrap().len(), 2);
    assert!(!std::path::Path::new(directory).exists());
}

#[test]
fn holds_the_lease_while_the_code_runs() {
    let environment = Environment::new();
    let lease = environment.root().join(".ktx-lease");
    assert_eq!(environment.execute("1")["value"], 1);
    assert!(!lease.exists());

    let file = fs_err::File::create(&lease).unwrap();
    let code = format!(
        "import fcntl\nfile = open({:?}, 'rb')\n\
         try:\n    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
         except BlockingIOError:\n    _result = 'held'",
        lease.to_str().unwrap()
    );
    if cfg!(unix) {
        assert_eq!(environment.execute(&code)["value"], "held");
    }
    file.file().try_lock().unwrap();
    let output = send(environment.command(), br#"{"code": "1"}"#);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(NOT_RUN));
    assert!(
        stderr.contains(" is being removed: another process holds "),
        "{stderr}"
    );
}

#[test]
fn runs_nothing_where_a_lease_has_to_be_and_is_not() {
    let environment = Environment::new();
    let lease = environment.root().join(".ktx-lease");
    let ran = environment.root().join("ran");
    let execute = || {
        let mut command = environment.command();
        command.arg("--leased");
        let code = format!("open({:?}, 'w').close()", ran.to_str().unwrap());
        send(command, json!({ "code": code }).to_string().as_bytes())
    };
    let output = execute();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NOT_RUN), "{stderr}");
    assert!(
        stderr.contains(" is being removed: there is no "),
        "{stderr}"
    );
    assert!(output.stdout.is_empty());
    assert!(!ran.exists());

    fs_err::File::create(&lease).unwrap();
    assert_eq!(outcome(&execute())["success"], true);
    assert!(ran.exists());
}

#[test]
fn says_what_is_wrong_with_the_interpreter() {
    let environment = Environment::new();
    fs_err::remove_dir_all(environment.site_packages().join("ktx_daemon")).unwrap();
    let output = send(environment.command(), br#"{"code": "1"}"#);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("did not start: it exited with status 1: ModuleNotFoundError"),
        "{stderr}"
    );

    for name in fs_err::read_dir(environment.bin()).unwrap() {
        let path = name.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("python")
        {
            fs_err::remove_file(path).unwrap();
        }
    }
    let output = send(environment.command(), br#"{"code": "1"}"#);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(NOT_RUN));
    assert!(
        stderr.starts_with("error: No Python interpreter in "),
        "{stderr}"
    );
}

#[test]
fn a_lost_worker_leaves_the_next_call_alone() {
    let environment = Environment::new();
    assert_eq!(
        kind(&environment.execute("import os; os.abort()")),
        if cfg!(unix) { "signal" } else { "exit" }
    );
    assert_eq!(environment.execute("1")["value"], 1);
}
