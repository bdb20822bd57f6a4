//! A virtual environment with the built binary and the package in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take that should happen at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A virtual environment of this test's own.
pub(crate) struct Environment {
    dir: TempDir,
}

impl Environment {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let environment = Self { dir };
        let made = Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(environment.root())
            .status()
            .unwrap();
        assert!(made.success());
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/ktx_daemon");
        let installed = environment.site_packages().join("ktx_daemon");
        fs_err::create_dir(&installed).unwrap();
        for entry in fs_err::read_dir(package).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs_err::copy(&path, installed.join(path.file_name().unwrap())).unwrap();
            }
        }
        install(
            Path::new(env!("CARGO_BIN_EXE_ktx-daemon")),
            &environment.daemon(),
        );
        environment
    }

    /// One with the packages that a warm parent needs.
    #[cfg(unix)]
    pub(crate) fn with_packages() -> Self {
        let environment = Self::new();
        crate::packages::install_msgpack(&environment.bin().join("python"));
        environment
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("an environment")
    }

    pub(crate) fn daemon(&self) -> PathBuf {
        self.bin()
            .join(format!("ktx-daemon{}", std::env::consts::EXE_SUFFIX))
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.root()
            .join(if cfg!(windows) { "Scripts" } else { "bin" })
    }

    pub(crate) fn site_packages(&self) -> PathBuf {
        if cfg!(windows) {
            return self.root().join("Lib").join("site-packages");
        }
        let versions = fs_err::read_dir(self.root().join("lib")).unwrap();
        let version = versions.map(|entry| entry.unwrap().path()).next().unwrap();
        version.join("site-packages")
    }

    /// `ktx-daemon execute`, not started yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.daemon());
        command.arg("execute");
        command
    }

    /// What came of `code`.
    pub(crate) fn execute(&self, code: &str) -> Value {
        self.request(&json!({ "code": code }))
    }

    /// What came of `request`.
    pub(crate) fn request(&self, request: &Value) -> Value {
        let output = send(self.command(), request.to_string().as_bytes());
        outcome(&output)
    }
}

/// Copies a program in a process of its own: while this one has the copy open
/// for writing, a test on another thread that forks would keep it open, and
/// running it would fail with ETXTBSY.
fn install(program: &Path, destination: &Path) {
    if cfg!(windows) {
        fs_err::copy(program, destination).unwrap();
    } else {
        let mut copy = Command::new("cp");
        let copied = copy.args([program, destination]).status().unwrap();
        assert!(copied.success());
    }
}

/// Starts `command` with `input`.
pub(crate) fn start(mut command: Command, input: &[u8]) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse the input before it has read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child
}

/// Runs `command` with `input` to its end.
pub(crate) fn send(command: Command, input: &[u8]) -> Output {
    start(command, input).wait_with_output().unwrap()
}

/// The outcome in `output`, which holds nothing else.
pub(crate) fn outcome(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    assert!(output.stdout.ends_with(b"\n"));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The kind of failure in an outcome.
pub(crate) fn kind(outcome: &Value) -> &str {
    outcome["error"]["kind"].as_str().unwrap_or("none")
}

/// The message of the failure in an outcome.
pub(crate) fn message(outcome: &Value) -> &str {
    outcome["error"]["message"].as_str().unwrap_or("none")
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process exists and is no zombie.
#[cfg(target_os = "linux")]
pub(crate) fn is_alive(process: &str) -> bool {
    let process = process.trim();
    assert!(process.parse::<u32>().is_ok(), "`{process}` is no process");
    fs_err::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}
