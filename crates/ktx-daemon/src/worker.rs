//! A Python process that takes requests: how it is reached, and how its end is
//! brought about and learnt of.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::channel::{Channel, FrameError};
use crate::error::Error;
use crate::guard::{End, Notice, Role};
use crate::household::{Connections, Duties, Guard, Household};
use crate::pipe::OutputPipe;

/// How long an interpreter may take until it takes requests.
pub const STARTUP: Duration = Duration::from_secs(30);

/// How long a guard may take to end everything; longer than its sweep.
pub const END: Duration = Duration::from_secs(6);

/// How long a report, which holds the value, may be, in bytes.
pub const MAX_REPORT: u64 = 64 * 1024 * 1024;

/// A Python process that takes requests. It ends, with all that it started,
/// when this is dropped.
#[derive(Debug)]
pub struct Worker {
    pub(crate) channel: Channel,
    pub(crate) stdout: OutputPipe,
    pub(crate) stderr: OutputPipe,
    pub(crate) process: Process,
    is_ready: bool,
}

impl Worker {
    /// A worker that has just been started.
    pub fn new(channel: Channel, stdout: OutputPipe, stderr: OutputPipe, process: Process) -> Self {
        Self {
            channel,
            stdout,
            stderr,
            process,
            is_ready: false,
        }
    }

    /// Starts an interpreter that is a worker and nothing else.
    pub fn start(household: &Household, duties: &Duties<'_>) -> io::Result<Self> {
        debug_assert_eq!(duties.role, Role::Worker);
        let (channel, end) = Channel::new()?;
        let (stdout, output) = OutputPipe::new()?;
        let (stderr, error) = OutputPipe::new()?;
        let guard = household.start_guard(
            duties,
            Connections {
                input: &end.input,
                output,
                error,
                report: Some(&end.report),
            },
        )?;
        let (process, keeper) = Process::new();
        tokio::spawn(keep(guard, keeper));
        Ok(Self::new(channel, stdout, stderr, process))
    }

    /// Waits until it takes requests.
    pub async fn ready(&mut self) -> Result<(), NotReady> {
        if self.is_ready {
            return Ok(());
        }
        let first = tokio::time::timeout(STARTUP, self.channel.receive(MAX_REPORT));
        match first.await {
            Ok(Ok(frame)) if frame.field(0) == b"ready" => {
                self.is_ready = true;
                Ok(())
            }
            Ok(Ok(_) | Err(FrameError::Malformed | FrameError::TooLong { .. })) => {
                Err(NotReady::Foreign)
            }
            Ok(Err(FrameError::Closed)) => Err(NotReady::Ended),
            Err(_) => Err(NotReady::Slow),
        }
    }

    /// Whether it is there to take another request.
    pub fn is_alive(&self) -> bool {
        self.process.outcome().is_none() && !self.channel.is_closed()
    }

    /// Whether the process that it was forked from is gone. Code that does
    /// something to its parent would do it to the guard of many then.
    pub fn is_orphan(&self) -> bool {
        self.process.orphaned.load(Ordering::Relaxed)
    }
}

/// Why a worker takes no requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// It ended.
    Ended,
    /// It took longer than [`STARTUP`].
    Slow,
    /// What answers is no worker.
    Foreign,
}

/// The process of a worker.
#[derive(Debug)]
pub struct Process {
    ended: watch::Receiver<Option<End>>,
    orphaned: Arc<AtomicBool>,
    asked: CancellationToken,
    _dropped: DropGuard,
}

/// Whoever brings about the end of a process, and tells of it.
#[derive(Debug)]
pub struct Keeper {
    ended: watch::Sender<Option<End>>,
    orphaned: Arc<AtomicBool>,
    /// Cancelled when the process has to end.
    pub asked: CancellationToken,
}

impl Process {
    /// A process, and its keeper's part.
    pub fn new() -> (Self, Keeper) {
        let (sender, ended) = watch::channel(None);
        let asked = CancellationToken::new();
        let orphaned = Arc::new(AtomicBool::new(false));
        let process = Self {
            ended,
            orphaned: Arc::clone(&orphaned),
            asked: asked.clone(),
            _dropped: asked.clone().drop_guard(),
        };
        let keeper = Keeper {
            ended: sender,
            orphaned,
            asked,
        };
        (process, keeper)
    }

    /// Asks for its end, and that of all that it started.
    pub fn end(&self) {
        self.asked.cancel();
    }

    /// Waits until it and all that it started are gone. Can be dropped and
    /// called again.
    pub async fn ended(&mut self) -> End {
        let gone = || End::Unguarded {
            how: "ended".to_owned(),
        };
        match self.ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<End> {
        self.ended.borrow().clone()
    }
}

impl Keeper {
    /// Tells that the process and all that it started are gone.
    pub fn tell(&self, end: End) {
        self.ended.send_replace(Some(end));
    }

    /// Tells that the process has lost its parent.
    pub fn tell_orphaned(&self) {
        self.orphaned.store(true, Ordering::Relaxed);
    }
}

/// Keeps the process of a guard that has no other.
async fn keep(mut guard: Guard, keeper: Keeper) {
    let mut end = None;
    let mut give_up = None;
    loop {
        let deadline = give_up.unwrap_or_else(Instant::now);
        tokio::select! {
            notice = guard.notice() => match notice {
                Some(Notice::Ended(_, how)) => end = Some(how),
                Some(Notice::NotStarted(reason)) => end = Some(End::NotStarted { reason }),
                Some(_) => {}
                None => break,
            },
            () = keeper.asked.cancelled(), if give_up.is_none() => {
                guard.dismiss();
                give_up = Some(Instant::now() + END);
            }
            () = sleep_until(deadline), if give_up.is_some() => {
                // The code stopped its guard.
                guard.kill();
                break;
            }
        }
    }
    let how = guard.bury().await;
    keeper.tell(end.unwrap_or(End::Unguarded { how }));
}

/// The error for a worker that never took a request. `said` is what it wrote.
pub async fn startup_error(worker: &mut Worker, why: NotReady, household: &Household) -> Error {
    worker.process.end();
    let end = worker.process.ended().await;
    let mut said = Vec::new();
    while worker.stderr.read_ready().await {
        said.append(&mut worker.stderr.take());
    }
    let how = match (end, why) {
        (End::NotStarted { reason }, _) => reason,
        (_, NotReady::Slow) => format!("it took longer than {} s", STARTUP.as_secs()),
        (_, NotReady::Foreign) => "it is no worker of this version".to_owned(),
        (End::Exit(status), NotReady::Ended) => format!("it exited with status {status}"),
        (End::Signal(signal), NotReady::Ended) => {
            format!("it was ended by {}", crate::household::signal_name(signal))
        }
        (End::Unguarded { .. }, NotReady::Ended) => "its guard ended".to_owned(),
    };
    let said = String::from_utf8_lossy(&said);
    let reason = match said.trim_end().lines().next_back() {
        Some(last) => format!("{how}: {last}"),
        None => how,
    };
    Error::Startup {
        python: household.interpreter.python.clone(),
        reason,
    }
}
