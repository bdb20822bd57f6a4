//! Processes as `/proc` shows them, held by pidfds (Linux 5.3).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags};

use super::{Found, Identity, Signal};

/// What `/proc/<pid>/stat` says, as proc(5) describes it.
pub(super) fn find(pid: u32) -> io::Result<Option<Found>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "fs-err hides the number of the error, which tells that the process ended meanwhile"
    )]
    let text = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The name of the program stands in parentheses and may contain any byte.
    let text = String::from_utf8_lossy(&text);
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().collect())
        .unwrap_or_default();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let found = (|| {
        let group = u32::try_from(number(5)?).ok()?;
        Some((*fields.first()?, group, number(22)?))
    })();
    match found {
        Some(("Z" | "X" | "x", ..)) => Ok(None),
        Some((_, group, start_time)) => Ok(Some(Found { start_time, group })),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`/proc/{pid}/stat` is not what proc(5) describes"),
        )),
    }
}

/// Whether a process ended while it was looked at.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::SRCH)
}

pub(super) fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// Every process: the group of each is in what [`find`] says of it.
pub(super) fn members(_group: u32) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// A process, whatever becomes of its number.
#[derive(Debug)]
pub(super) struct Handle {
    pid: Pid,
    /// Missing where the kernel has none or a sandbox forbids them.
    pidfd: Option<OwnedFd>,
}

impl Handle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self {
                pid,
                pidfd: Some(pidfd),
            })),
            Err(Errno::NOSYS | Errno::PERM) => Ok(Some(Self { pid, pidfd: None })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let signal = match signal {
            Signal::Terminate => process::Signal::TERM,
            Signal::Kill => process::Signal::KILL,
            Signal::Continue => process::Signal::CONT,
        };
        let sent = match &self.pidfd {
            Some(pidfd) => process::pidfd_send_signal(pidfd, signal),
            None => process::kill_process(self.pid, signal),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn wait(&self, identity: &Identity, timeout: Duration) -> io::Result<bool> {
        let Some(pidfd) = &self.pidfd else {
            return super::poll(identity, timeout);
        };
        let started = Instant::now();
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
