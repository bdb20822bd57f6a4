//! A lock between processes that says who holds it.
//!
//! It is an advisory whole-file lock, so the system frees it when its holder
//! dies, however it dies. The file is never deleted: a lock file that comes
//! and goes can be held by two processes at once.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::code::Code;
use crate::files;

/// How long a waiter believes a holder that gives no sign of life.
pub const HOLDER_SILENCE: Duration = Duration::from_secs(30);

/// How long a waiter waits for a holder that is alive and working.
pub const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// How often a holder says that it is alive, by touching the lock file.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Longest pause between two attempts at a lock that is held.
const POLL: Duration = Duration::from_millis(50);

/// Who holds a lock.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// What it does under the lock, as it said itself: `install 0.1.0`.
    pub purpose: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "process {} (`{}`)", self.pid, self.command())
    }
}

impl Holder {
    /// The holder's command line where the system tells, else its purpose.
    fn command(&self) -> String {
        let arguments = fs_err::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let command = String::from_utf8_lossy(&arguments)
            .trim_end_matches('\0')
            .replace('\0', " ");
        if command.is_empty() {
            self.purpose.clone()
        } else {
            command
        }
    }
}

/// Why a lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it for longer than a waiter waits.
    #[error("Timed out after {waited_seconds} s waiting for the lock `{}` held by {}", path.display(), name(holder.as_ref()))]
    Timeout {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it said so.
        holder: Option<Holder>,
        /// How long was waited, in seconds.
        waited_seconds: u64,
    },
    /// The file system has no locks.
    #[error("The file system of `{}` does not support file locks", path.display())]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock file is a symbolic link, which another user may have planted.
    #[error("The lock `{}` is a symbolic link", path.display())]
    Link {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be opened or locked.
    #[error("Cannot lock `{}`", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller gave up.
    #[error("Cancelled while waiting for the lock `{}`", path.display())]
    Cancelled {
        /// The lock file.
        path: PathBuf,
    },
}

impl LockError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Timeout { .. } => Code::LockTimeout,
            Self::Unsupported { .. } => Code::LockUnsupported,
            Self::Link { .. } => Code::RootUnsafe,
            Self::Io { source, .. } if files::is_full(source) => Code::DiskFull,
            Self::Io { .. } => Code::Io,
            Self::Cancelled { .. } => Code::Aborted,
        }
    }
}

fn name(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), ToString::to_string)
}

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub struct Lock {
    released: Arc<AtomicBool>,
    heart: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Release);
        if let Some(heart) = self.heart.take() {
            heart.thread().unpark();
            // The thread owns the locked file and closes it as it ends. It
            // cannot panic, and there is nobody to tell if it did.
            let _ = heart.join();
        }
    }
}

/// Takes the lock at `path`, or waits for it.
///
/// `path` is created if it is missing; where that is refused because its
/// folder cannot be written, `fallback`, an existing directory, is locked
/// instead. `waiting` is called once when the lock turns out to be held.
///
/// # Errors
///
/// [`LockError::Timeout`] after [`HOLDER_SILENCE`] without a sign of life of
/// the holder, or after [`LONGEST_WAIT`] in all.
pub async fn acquire(
    path: &Path,
    fallback: &Path,
    purpose: &str,
    cancellation: &CancellationToken,
    waiting: impl FnOnce(Option<&Holder>),
) -> Result<Lock, LockError> {
    let mut wait = Wait::begin(path, fallback)?;
    let mut waiting = Some(waiting);
    loop {
        if wait.is_over()? {
            return Ok(hold(wait.file, purpose));
        }
        if let Some(waiting) = waiting.take() {
            waiting(read_holder(&mut wait.file).as_ref());
        }
        tokio::select! {
            () = tokio::time::sleep(wait.pause()) => {}
            () = cancellation.cancelled() => return Err(wait.cancelled()),
        }
    }
}

/// As [`acquire`]; blocks the thread.
pub fn acquire_blocking(
    path: &Path,
    fallback: &Path,
    purpose: &str,
    cancellation: &CancellationToken,
) -> Result<Lock, LockError> {
    let mut wait = Wait::begin(path, fallback)?;
    while !wait.is_over()? {
        if cancellation.is_cancelled() {
            return Err(wait.cancelled());
        }
        std::thread::sleep(wait.pause());
    }
    Ok(hold(wait.file, purpose))
}

/// A wait for a lock.
struct Wait {
    file: std::fs::File,
    path: PathBuf,
    started: Instant,
    pause: Duration,
    silence: Silence,
}

/// For how long a holder gave no sign of life while this process listened. A
/// machine that slept, a process that was stopped and a clock that was set say
/// nothing about the holder.
struct Silence {
    touched: Option<SystemTime>,
    looked: Instant,
    length: Duration,
}

impl Silence {
    fn begin(now: Instant) -> Self {
        Self {
            touched: None,
            looked: now,
            length: Duration::ZERO,
        }
    }

    /// Notes when the lock file was touched last, as seen `now`.
    fn note(&mut self, touched: Option<SystemTime>, now: Instant) {
        if touched.is_some() && touched != self.touched {
            self.length = Duration::ZERO;
        } else {
            self.length += (now - self.looked).min(HEARTBEAT);
        }
        self.touched = touched;
        self.looked = now;
    }
}

impl Wait {
    fn begin(path: &Path, fallback: &Path) -> Result<Self, LockError> {
        let (file, path) = open(path, fallback)?;
        let started = Instant::now();
        Ok(Self {
            file,
            path,
            started,
            pause: Duration::from_millis(1),
            silence: Silence::begin(started),
        })
    }

    /// Whether the lock is taken now.
    fn is_over(&mut self) -> Result<bool, LockError> {
        match self.file.try_lock() {
            Ok(()) => return Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => {}
            // The system was interrupted, and is asked again.
            Err(std::fs::TryLockError::Error(source))
                if source.kind() == io::ErrorKind::Interrupted => {}
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(refused(self.path.clone(), source));
            }
        }
        let touched = self.file.metadata().and_then(|it| it.modified());
        self.silence.note(touched.ok(), Instant::now());
        let waited = self.started.elapsed();
        if self.silence.length > HOLDER_SILENCE || waited > LONGEST_WAIT {
            return Err(LockError::Timeout {
                path: self.path.clone(),
                holder: read_holder(&mut self.file),
                waited_seconds: waited.as_secs(),
            });
        }
        Ok(false)
    }

    /// How long to wait until the next attempt.
    fn pause(&mut self) -> Duration {
        self.pause = (self.pause * 2).min(POLL);
        self.pause
    }

    fn cancelled(self) -> LockError {
        LockError::Cancelled { path: self.path }
    }
}

/// Takes the lock at `path` if it is free; `None` if somebody holds it.
pub fn try_acquire(path: &Path, fallback: &Path, purpose: &str) -> Result<Option<Lock>, LockError> {
    let (file, path) = open(path, fallback)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(hold(file, purpose))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(source)) => Err(refused(path, source)),
    }
}

fn open(path: &Path, fallback: &Path) -> Result<(std::fs::File, PathBuf), LockError> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create(true);
    match files::open_itself(path, &mut options) {
        Ok(file) => Ok((file.into_parts().0, path.to_owned())),
        // The system answers ELOOP for a link, which has no stable kind yet.
        Err(_) if path.is_symlink() => Err(LockError::Link {
            path: path.to_owned(),
        }),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            let directory = fs_err::File::open(fallback).map_err(|_| LockError::Io {
                path: path.to_owned(),
                source: error,
            })?;
            Ok((directory.into_parts().0, fallback.to_owned()))
        }
        Err(source) => Err(LockError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Says who holds the lock from now on and keeps saying that it lives.
fn hold(mut file: std::fs::File, purpose: &str) -> Lock {
    let holder = Holder {
        pid: std::process::id(),
        purpose: purpose.to_owned(),
    };
    // Who holds the lock is told for the waiters' messages; a directory, or a
    // full disk, cannot hold the note, and the lock holds all the same.
    if let Ok(note) = serde_json::to_vec(&holder) {
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&note));
    }
    let released = Arc::new(AtomicBool::new(false));
    let heart = std::thread::spawn({
        let released = Arc::clone(&released);
        move || {
            while !released.load(Ordering::Acquire) {
                let _ = file.set_modified(SystemTime::now());
                std::thread::park_timeout(HEARTBEAT);
            }
        }
    });
    Lock {
        released,
        heart: Some(heart),
    }
}

fn read_holder(file: &mut std::fs::File) -> Option<Holder> {
    let mut note = Vec::new();
    file.rewind().ok()?;
    file.take(4096).read_to_end(&mut note).ok()?;
    serde_json::from_slice(&note).ok()
}

fn refused(path: PathBuf, source: io::Error) -> LockError {
    #[cfg(unix)]
    let unsupported = matches!(
        source
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error),
        Some(rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP)
    );
    #[cfg(windows)]
    let unsupported = source.kind() == io::ErrorKind::Unsupported;
    if unsupported {
        LockError::Unsupported { path, source }
    } else {
        LockError::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(path: &Path) -> Result<Lock, LockError> {
        acquire(
            path,
            path.parent().unwrap(),
            "test",
            &CancellationToken::new(),
            |_| {},
        )
        .await
    }

    #[tokio::test]
    async fn lets_one_in_at_a_time_and_names_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.lock");
        let held = take(&path).await.unwrap();
        let (told, heard) = tokio::sync::oneshot::channel();
        let waiter = tokio::spawn({
            let path = path.clone();
            async move {
                let fallback = path.parent().unwrap().to_owned();
                acquire(
                    &path,
                    &fallback,
                    "second",
                    &CancellationToken::new(),
                    |holder| {
                        told.send(holder.cloned()).unwrap();
                    },
                )
                .await
            }
        });
        assert_eq!(heard.await.unwrap().unwrap().pid, std::process::id());
        drop(held);
        waiter.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn stops_waiting_when_cancelled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.lock");
        let _held = take(&path).await.unwrap();
        let cancellation = CancellationToken::new();
        cancellation.cancel();
        let refused = acquire(&path, directory.path(), "second", &cancellation, |_| {}).await;
        assert!(matches!(refused, Err(LockError::Cancelled { .. })));
    }

    #[test]
    fn holds_no_sleep_and_no_set_clock_against_the_holder() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let clock = SystemTime::now();
        let mut silence = Silence::begin(begun);
        silence.note(Some(clock), begun + second);
        // The machine sleeps for a day while nobody touches the file.
        let woken = begun + 86_400 * second;
        silence.note(Some(clock), woken);
        assert_eq!(silence.length, second);
        // The clock was set back.
        silence.note(Some(clock - 3600 * second), woken + second);
        assert_eq!(silence.length, Duration::ZERO);
        for passed in 2..=40 {
            silence.note(Some(clock - 3600 * second), woken + passed * second);
        }
        assert!(silence.length > HOLDER_SILENCE);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn refuses_a_planted_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.lock");
        std::os::unix::fs::symlink(directory.path().join("victim"), &path).unwrap();
        assert!(matches!(take(&path).await, Err(LockError::Link { .. })));
        assert!(!directory.path().join("victim").exists());
    }
}
