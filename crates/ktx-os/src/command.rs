//! Child processes that end with their caller: each runs in a process group
//! (on Windows: a job) of its own, is bounded in time and output, and is gone,
//! with its descendants, when a run is cancelled.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;

/// How long a cancelled child may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// How long output is read after the child ended, for the case that a
/// descendant keeps the pipe open.
const DRAIN: Duration = Duration::from_millis(500);

/// How much of each output stream is kept, in bytes: the end of it.
const KEPT_OUTPUT: usize = 4 * 1024 * 1024;

/// A program to run, its arguments, and all that it may see.
#[derive(Clone, Debug)]
pub struct Command {
    /// A path, or a name that is looked up on the `PATH` of `environment`.
    pub program: String,
    /// Arguments after the program.
    pub arguments: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub environment: Environment,
    /// Working directory; the caller's if `None`.
    pub directory: Option<PathBuf>,
    /// How long it may run.
    pub timeout: Duration,
}

impl std::fmt::Display for Command {
    /// The command line for people to read, not for a shell to run.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.program)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(formatter, " {argument}"))
    }
}

/// What a child that succeeded wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// Why a child did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started.
    #[error("Cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The program ran and failed.
    #[error("`{program}` failed: {reason}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended: `exit status: 2`, `signal: 9 (SIGKILL)`.
        reason: String,
        /// What it wrote until then.
        output: Output,
    },
    /// The program ran for too long and was ended.
    #[error("`{program}` was ended after {seconds} s without a result")]
    Timeout {
        /// The program.
        program: String,
        /// Its bound, in seconds.
        seconds: u64,
        /// What it wrote until then.
        output: Output,
    },
    /// The caller gave up and the program was ended.
    #[error("`{program}` was cancelled")]
    Cancelled {
        /// The program.
        program: String,
    },
}

impl CommandError {
    /// What the child wrote before it failed.
    pub fn output(&self) -> Option<&Output> {
        match self {
            Self::Failed { output, .. } | Self::Timeout { output, .. } => Some(output),
            Self::Start { .. } | Self::Cancelled { .. } => None,
        }
    }
}

/// Called with each line that a command writes to standard error, as it comes.
pub type Lines<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Runs commands: the system, or whatever a caller puts in its place.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs `command` to its end. `line` is called with each line that it
    /// writes to standard error, as it comes.
    async fn run(
        &self,
        command: &Command,
        cancellation: &CancellationToken,
        line: &Lines<'_>,
    ) -> Result<Output, CommandError>;
}

/// Runs commands as child processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[async_trait]
impl Executor for System {
    async fn run(
        &self,
        command: &Command,
        cancellation: &CancellationToken,
        line: &Lines<'_>,
    ) -> Result<Output, CommandError> {
        let program = || command.program.clone();
        tracing::debug!(%command, "starting");
        let mut child = spawn(command).map_err(|source| CommandError::Start {
            program: program(),
            source,
        })?;
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let outcome = {
            let pipes = (child.stdout().take(), child.stderr().take());
            let mut reading = std::pin::pin!(async {
                tokio::join!(
                    read(pipes.0, &mut stdout, &|_| {}),
                    read(pipes.1, &mut stderr, line)
                )
            });
            let outcome = tokio::select! {
                (status, _) = async { tokio::join!(child.wait(), &mut reading) } => Outcome::Ended(status),
                () = tokio::time::sleep(command.timeout) => Outcome::TimedOut,
                () = cancellation.cancelled() => Outcome::Cancelled,
            };
            if !matches!(outcome, Outcome::Ended(_)) {
                end(child.as_mut()).await;
                // The streams may already have been read to their ends, and
                // whatever still holds one open is not waited for.
                let _ = tokio::time::timeout(DRAIN, reading).await;
            }
            outcome
        };
        let output = Output {
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        };
        match outcome {
            Outcome::Ended(Ok(status)) if status.success() => Ok(output),
            Outcome::Ended(Ok(status)) => Err(CommandError::Failed {
                program: program(),
                reason: status.to_string(),
                output,
            }),
            Outcome::Ended(Err(source)) => Err(CommandError::Start {
                program: program(),
                source,
            }),
            Outcome::TimedOut => Err(CommandError::Timeout {
                program: program(),
                seconds: command.timeout.as_secs(),
                output,
            }),
            Outcome::Cancelled => Err(CommandError::Cancelled { program: program() }),
        }
    }
}

/// Lends a child of `command` the three standard streams and nothing else.
///
/// What ktx opens itself is closed in every child, but the program that ktx is
/// loaded into may have inherited descriptors that are not, such as the pipe
/// to somebody who waits for its end.
#[cfg(unix)]
pub fn lend_streams_only(command: &mut std::process::Command) -> std::io::Result<()> {
    use std::os::fd::{BorrowedFd, RawFd};
    use std::os::unix::process::CommandExt;

    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    let mut inheritable: Vec<RawFd> = Vec::new();
    for entry in fs_err::read_dir("/dev/fd")? {
        let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // SAFETY: the number is only looked at; if its file was closed
        // meanwhile, the system says so.
        let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) });
        if number > 2 && flags.is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            inheritable.push(number);
        }
    }
    if !inheritable.is_empty() {
        let close = move || {
            for number in &inheritable {
                // SAFETY: as above; the process is a copy of its own by now.
                let _ = fcntl_setfd(unsafe { BorrowedFd::borrow_raw(*number) }, FdFlags::CLOEXEC);
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only, which are safe after a
        // fork.
        unsafe { command.pre_exec(close) };
    }
    Ok(())
}

enum Outcome {
    Ended(std::io::Result<std::process::ExitStatus>),
    TimedOut,
    Cancelled,
}

fn spawn(command: &Command) -> std::io::Result<Box<dyn ChildWrapper>> {
    let mut wrapped = CommandWrap::with_new(&command.program, |process| {
        process
            .args(&command.arguments)
            .env_clear()
            .envs(command.environment.iter())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &command.directory {
            process.current_dir(directory);
        }
    });
    #[cfg(unix)]
    wrapped.wrap(process_wrap::tokio::ProcessGroup::leader());
    #[cfg(windows)]
    wrapped.wrap(process_wrap::tokio::JobObject);
    wrapped.spawn()
}

/// Ends a child and its descendants: asks first where a system can ask.
async fn end(child: &mut dyn ChildWrapper) {
    #[cfg(unix)]
    {
        let asked = child.signal(rustix::process::Signal::TERM.as_raw());
        if asked.is_ok() && tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
            // Descendants that ignored the request lose their group leader,
            // not their group.
            let _ = child.start_kill();
            return;
        }
    }
    // A child that is gone cannot be killed, and that is what is wanted.
    let _ = child.start_kill();
    let _ = tokio::time::timeout(GRACE, child.wait()).await;
}

/// Reads `stream` to its end and keeps the last [`KEPT_OUTPUT`] bytes.
async fn read(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, line: &Lines<'_>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream).take(u64::MAX);
    loop {
        let start = kept.len();
        // A line without an end is read in pieces, so that it stays bounded.
        reader.set_limit(KEPT_OUTPUT as u64);
        match reader.read_until(b'\n', kept).await {
            Ok(0) | Err(_) => return,
            Ok(_) => line(String::from_utf8_lossy(&kept[start..]).trim_end()),
        }
        if kept.len() > 2 * KEPT_OUTPUT {
            kept.drain(..kept.len() - KEPT_OUTPUT);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn shell(script: &str, timeout: Duration) -> Command {
        Command {
            program: "/bin/sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: Environment::default(),
            directory: None,
            timeout,
        }
    }

    async fn run(script: &str, timeout: Duration) -> Result<Output, CommandError> {
        System
            .run(&shell(script, timeout), &CancellationToken::new(), &|_| {})
            .await
    }

    #[tokio::test]
    async fn hands_lines_on_as_they_come_and_keeps_the_output() {
        let lines = Mutex::new(Vec::new());
        let output = System
            .run(
                &shell("echo out; echo one >&2; echo two >&2", GRACE),
                &CancellationToken::new(),
                &|line| lines.lock().unwrap().push(line.to_owned()),
            )
            .await
            .unwrap();
        assert_eq!(output.stdout, "out\n");
        assert_eq!(*lines.lock().unwrap(), ["one", "two"]);
    }

    #[tokio::test]
    async fn reports_a_death_by_signal_with_what_was_written() {
        let error = run("echo before; kill -9 $$", GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "`/bin/sh` failed: signal: 9 (SIGKILL)");
        assert_eq!(error.output().unwrap().stdout, "before\n");
    }

    #[tokio::test]
    async fn ends_descendants_at_the_timeout() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let error = run(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, CommandError::Timeout { .. }));
        let pid = fs_err::read_to_string(pid).unwrap();
        let ended = async {
            // A killed process that its new parent has not reaped is a zombie.
            while fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .is_ok_and(|state| !state.contains(") Z "))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(GRACE, ended).await.unwrap();
    }
}
