//! A daemon from the start of its program to the moment in which others may
//! know of it. Until then it ends with whoever started it.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fs_err as fs;
use ktx_os::environment::Environment;
use ktx_os::files::open_itself;
use ktx_os::process::{self, Identity, Process, Signal};
use ktx_os::variables::KTX_LOG;
use ktx_protocol::endpoint::Endpoint;
use ktx_protocol::startup::{PUBLISHED, Ready};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::error::ServiceError;

/// How long a daemon may take until it listens.
const LISTENING: Duration = Duration::from_secs(30);

/// How often a caller is asked whether it gave up.
const GLIMPSE: Duration = Duration::from_millis(20);

/// How long the program that starts the daemon may take to end by itself.
const LAUNCHER: Duration = Duration::from_secs(2);

/// How long a daemon that nobody may know of may take to leave.
const LEAVING: Duration = Duration::from_secs(2);

/// Longest line in which a daemon says where it listens, in bytes.
const LONGEST_LINE: u64 = 64 * 1024;

/// How much of the log an error quotes: bytes that are read, lines of them.
const QUOTED: (u64, usize) = (16 * 1024, 20);

/// What is said of a daemon that ended before others knew of it.
const ENDED: &str = "it ended as soon as it listened";

/// How a daemon runs; what is absent is the daemon's default.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// It leaves when nothing was run for so long; zero is never.
    pub idle_timeout: Option<Duration>,
    /// Memory that each process of a call may take, in bytes.
    pub max_memory: Option<u64>,
    /// Calls that run at once.
    pub max_concurrency: Option<u32>,
}

impl Settings {
    fn arguments(&self) -> Vec<String> {
        // Whole seconds, and never zero for a little.
        let idle = self
            .idle_timeout
            .map(|limit| limit.as_millis().div_ceil(1000).to_string());
        let memory = self.max_memory.map(|bytes| bytes.to_string());
        let concurrency = self.max_concurrency.map(|number| number.to_string());
        [
            ("--idle-timeout", idle),
            ("--max-memory", memory),
            ("--max-concurrency", concurrency),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some([name.to_owned(), value?]))
        .flatten()
        .collect()
    }
}

/// What to start.
pub(crate) struct Launch<'a> {
    pub(crate) executable: &'a Path,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) log_path: &'a Path,
    /// The working directory.
    pub(crate) directory: &'a Path,
    pub(crate) settings: &'a Settings,
    pub(crate) environment: &'a Environment,
}

/// A daemon that listens and that nobody else knows of. Dropping it ends it.
pub(crate) struct Newborn {
    pub(crate) ready: Ready,
    process: Process,
    input: ChildStdin,
    log: Log,
}

impl Launch<'_> {
    /// Starts the daemon and waits until it listens.
    pub(crate) fn run(&self, cancellation: &CancellationToken) -> Result<Newborn, ServiceError> {
        let (mut child, log) = self.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are pipes")
        };
        let line = first_line(output, cancellation);
        // It is done by now, and waiting leaves no zombie.
        let launched = wait(&mut child);
        let Some(line) = line? else {
            let reason = format!("it did not listen within {} s", LISTENING.as_secs());
            return Err(log.failure(reason));
        };
        if !line.ends_with('\n') {
            let how = launched.filter(|status| !status.success());
            let how = how.map_or_else(String::new, |status| format!(" ({status})"));
            return Err(log.failure(format!("it ended before it listened{how}")));
        }
        let ready: Ready = serde_json::from_str(&line)
            .and_then(|line: Value| serde_json::from_value(line))
            .map_err(|error| log.failure(format!("what it says is not valid: {error}")))?;
        let unknown = |source| ServiceError::Process {
            pid: ready.pid,
            source,
        };
        let identity = Identity {
            pid: ready.pid,
            start_time: ready.start_time,
            boot_id: process::boot_id().map_err(unknown)?.to_owned(),
        };
        match identity.open().map_err(unknown)? {
            Some(process) => Ok(Newborn {
                ready,
                process,
                input,
                log,
            }),
            None => Err(log.failure(ENDED.to_owned())),
        }
    }

    fn spawn(&self) -> Result<(Child, Log), ServiceError> {
        let mut options = fs::OpenOptions::new();
        let file = open_itself(self.log_path, options.append(true).create(true))
            .map_err(ServiceError::io(self.log_path))?;
        let log = Log {
            path: self.log_path.to_owned(),
            start: file.metadata().map_or(0, |metadata| metadata.len()),
        };
        let failed = |source| ServiceError::Spawn {
            program: self.executable.to_owned(),
            source,
        };
        let mut environment = self.environment.for_child();
        if let Some(filter) = self.environment.var(KTX_LOG) {
            environment.set(KTX_LOG, filter);
        }
        let mut command = Command::new(self.executable);
        command
            .args(["serve", "--listen", &self.endpoint.to_string()])
            .args(["--leased", "--detach", "--log"])
            .arg(self.log_path)
            .args(self.settings.arguments())
            .current_dir(self.directory)
            .env_clear()
            .envs(environment.iter())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file.into_parts().0);
        #[cfg(unix)]
        ktx_os::command::lend_streams_only(&mut command).map_err(failed)?;
        tracing::debug!(program = %self.executable.display(), endpoint = %self.endpoint, "starting");
        Ok((command.spawn().map_err(failed)?, log))
    }
}

impl Newborn {
    /// Its process, as it is known for as long as it runs.
    pub(crate) fn identity(&self) -> &Identity {
        self.process.identity()
    }

    /// Lets it live: others know of it now.
    pub(crate) fn release(mut self) -> Result<(), ServiceError> {
        self.input
            .write_all(PUBLISHED.as_bytes())
            .map_err(|_| self.log.failure(ENDED.to_owned()))
    }

    /// Ends it, and says why that had to be.
    pub(crate) fn abandon(self, reason: String) -> ServiceError {
        if self.process.wait(Duration::ZERO).unwrap_or(false) {
            return self.log.failure(ENDED.to_owned());
        }
        // It leaves by itself at the end of its input.
        drop(self.input);
        if !self.process.wait(LEAVING).unwrap_or(false) {
            // What cannot be killed ends when it comes out of the kernel, for
            // nobody writes to its input any more.
            let _ = self.process.signal(Signal::Kill);
            let _ = self.process.wait(LEAVING);
        }
        ServiceError::Unreachable {
            endpoint: self.ready.endpoint,
            reason,
            log: self.log.path,
        }
    }
}

/// The first line of `output`, or what there was of it at its end; `None` if
/// there is neither in time.
fn first_line(
    output: ChildStdout,
    cancellation: &CancellationToken,
) -> Result<Option<String>, ServiceError> {
    let line = Arc::new(OnceLock::new());
    // It ends with the pipe, which a daemon that nobody waits for closes.
    std::thread::spawn({
        let (line, waiter) = (Arc::clone(&line), std::thread::current());
        move || {
            let mut text = String::new();
            // What is not text is no line either.
            let _ = BufReader::new(output.take(LONGEST_LINE)).read_line(&mut text);
            let _ = line.set(text);
            waiter.unpark();
        }
    });
    let started = Instant::now();
    while started.elapsed() < LISTENING {
        if let Some(line) = line.get() {
            return Ok(Some(line.clone()));
        }
        if cancellation.is_cancelled() {
            return Err(ServiceError::Cancelled);
        }
        std::thread::park_timeout(GLIMPSE);
    }
    Ok(None)
}

/// Waits for a child that is done, or all but done.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < LAUNCHER {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            other => return other.ok().flatten(),
        }
    }
    let _ = child.kill();
    child.wait().ok()
}

/// The log of a daemon that is being started.
struct Log {
    path: PathBuf,
    /// Where it ended before.
    start: u64,
}

impl Log {
    /// The daemon did not start, with what it had to say about it.
    fn failure(&self, reason: String) -> ServiceError {
        ServiceError::Start {
            reason,
            said: self.end().unwrap_or_default(),
            log: self.path.clone(),
        }
    }

    /// The last lines that were written since the start.
    fn end(&self) -> std::io::Result<String> {
        let (bytes, lines) = QUOTED;
        let mut file = fs::File::open(&self.path)?;
        let length = file.metadata()?.len();
        // The log may have been put aside meanwhile, and begun anew.
        let start = if self.start > length { 0 } else { self.start };
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(bytes))))?;
        let mut text = Vec::new();
        file.take(bytes).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.trim().lines().collect();
        Ok(all[all.len().saturating_sub(lines)..].join("\n"))
    }
}
