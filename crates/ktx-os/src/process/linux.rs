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
    parse(&String::from_utf8_lossy(&text)).map_err(|()| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`/proc/{pid}/stat` is not what proc(5) describes"),
        )
    })
}

/// The process that a line of `proc_pid_stat(5)` is about, unless it has ended.
fn parse(text: &str) -> Result<Option<Found>, ()> {
    // The name of the program stands in parentheses and may contain any byte.
    let (_, rest) = text.rsplit_once(')').ok_or(())?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied().ok_or(());
    // One that the system is letting go of has no group any more, in whatever
    // state it is shown.
    if matches!(field(3)?, "Z" | "X" | "x") || field(5)? == "-1" {
        return Ok(None);
    }
    let group = field(5)?.parse().map_err(drop)?;
    let start_time = field(22)?.parse().map_err(drop)?;
    Ok(Some(Found { start_time, group }))
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

#[cfg(test)]
mod tests {
    use super::parse;

    const REST: &str = "0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 256990 76398592";

    #[test]
    fn reads_what_the_system_says_of_a_process() {
        let read = |text: &str| parse(text).map(|found| found.map(|it| (it.group, it.start_time)));
        let running = format!("12 (a) S 1 (b) R 7 34 34 {REST}");
        assert_eq!(read(&running), Ok(Some((34, 256_990))));
        for gone in ["Z 7 34 34", "X 7 34 34", "S 0 -1 -1"] {
            assert_eq!(read(&format!("12 (a) {gone} {REST}")), Ok(None), "{gone}");
        }
        for nonsense in ["", "12 (a)", "12 (a) S 1", "12 (a) S 1 x 1"] {
            assert_eq!(read(nonsense), Err(()), "{nonsense}");
        }
    }
}
