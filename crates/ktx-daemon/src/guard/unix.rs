//! Guarding with process groups and signals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, setsid,
    waitid, waitpid,
};
use signal_hook::consts::SIGCHLD;

use super::{Charge, End, Notice, Order, Role, remove_scratch, say};
use crate::contain;

pub(super) fn guard(charge: &Charge) -> io::Result<()> {
    contain::contain()?;
    let (ended, told) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, told)?;
    // Makes this process deaf to code that asks its ancestors to end. Blocked
    // and not ignored, which what is started here could not tell from the
    // user's wish.
    set_blocked(&all_signals_but_of_children())?;
    let first = start(charge, charge.command()?)?;
    say(&Notice::Started(first.as_raw_pid()));
    Guard {
        charge,
        first,
        ended: ended.into(),
        orders: Vec::new(),
        is_abandoned: true,
    }
    .watch();
    Ok(())
}

struct Guard<'a> {
    charge: &'a Charge,
    /// The process that was started.
    first: Pid,
    /// Readable when a child ended.
    ended: OwnedFd,
    /// What has been read of the next order.
    orders: Vec<u8>,
    /// Whether the end of the orders is the end of the supervisor.
    is_abandoned: bool,
}

impl Guard<'_> {
    fn watch(mut self) {
        loop {
            let (has_orders, has_ended) = self.wait();
            if has_ended {
                drain(&self.ended);
                self.rouse();
                if self.reap() {
                    return;
                }
            }
            if has_orders && !self.obey() {
                let _ = kill_process_group(self.first, Signal::KILL);
                contain::sweep(&|_| true);
                if self.is_abandoned {
                    remove_scratch(self.charge.scratch.as_deref());
                }
                return;
            }
        }
    }

    fn wait(&self) -> (bool, bool) {
        let input = rustix::stdio::stdin();
        let mut polled = [
            PollFd::new(&input, PollFlags::IN),
            PollFd::from_borrowed_fd(self.ended.as_fd(), PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) => (
                !polled[0].revents().is_empty(),
                !polled[1].revents().is_empty(),
            ),
            Err(_) => (false, true),
        }
    }

    /// Has a warm parent go on that was stopped: all calls would stop with it.
    /// A worker that stops itself is its call's own affair.
    fn rouse(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        if self.charge.role == Role::Nursery
            && matches!(waitid(WaitId::Pid(self.first), options), Ok(Some(_)))
        {
            let _ = kill_process(self.first, Signal::CONT);
        }
    }

    /// Takes leave of every child that has ended; returns whether there is
    /// nothing left to guard.
    fn reap(&self) -> bool {
        loop {
            match ended_child() {
                Ok(Some(process)) => {
                    if self.bury(process) {
                        return true;
                    }
                }
                Ok(None) => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // There are no children any more.
                Err(_) => return true,
            }
        }
    }

    /// Takes leave of a child that has ended, and returns whether it was
    /// the last that had to be guarded.
    fn bury(&self, process: Pid) -> bool {
        let is_first = process == self.first;
        // The group of a warm parent holds, besides it, only workers that are
        // about to leave it, and they are others' calls.
        if !is_first || self.charge.role == Role::Worker {
            // In one step for the whole group, which a fork cannot slip
            // through. The child is dead but not reaped, so the group's
            // number is still its own.
            let _ = kill_process_group(process, Signal::KILL);
        }
        let Ok(Some((_, status))) = waitpid(Some(process), WaitOptions::empty()) else {
            return false;
        };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(status), _) => End::Exit(status),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        };
        let is_last = is_first && self.charge.role == Role::Worker;
        if is_last {
            contain::sweep(&|_| true);
        }
        say(&Notice::Ended(process.as_raw_pid(), end));
        is_last
    }

    /// Does what it is told; returns whether there is still somebody to
    /// tell.
    fn obey(&mut self) -> bool {
        let mut chunk = [0; 1024];
        match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
            Ok(0) => return false,
            Ok(read) => self.orders.extend_from_slice(&chunk[..read]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return false,
        }
        while let Some(end) = self.orders.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.orders.drain(..=end).collect();
            let order = std::str::from_utf8(&line[..end])
                .ok()
                .and_then(Order::parse);
            match order {
                Some(Order::End(process)) => end_child(process),
                Some(Order::Sweep(tag)) => {
                    contain::sweep(&|orphan| contain::tag(orphan) == Some(tag));
                    say(&Notice::Swept(tag));
                }
                Some(Order::Leave) => self.is_abandoned = false,
                None => {}
            }
        }
        true
    }
}

fn no_signals() -> libc::sigset_t {
    // SAFETY: all zeroes are a valid `sigset_t`, which is plain data, and the
    // call writes to it.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        signals
    }
}

fn all_signals_but_of_children() -> libc::sigset_t {
    // SAFETY: as above.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        libc::sigdelset(&raw mut signals, SIGCHLD);
        signals
    }
}

/// Sets which signals have to wait. Safe after a fork.
fn set_blocked(signals: &libc::sigset_t) -> io::Result<()> {
    let former = std::ptr::null_mut();
    // SAFETY: `signals` is readable, and nothing is written to a null pointer.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, signals, former) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Kills the group of `process` if that is a child of this process, whose
/// number then cannot be another's.
fn end_child(process: i32) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    if let Some(process) = Pid::from_raw(process)
        && waitid(WaitId::Pid(process), options).is_ok()
    {
        let _ = kill_process_group(process, Signal::KILL);
    }
}

/// Starts the interpreter as the leader of its own session: it has no
/// terminal, and a signal to its group does not reach the guard.
fn start(charge: &Charge, mut command: Command) -> io::Result<Pid> {
    #[cfg(target_os = "linux")]
    let limits = match charge.role {
        Role::Worker => Some(crate::limits::Limits::now(charge.max_memory)),
        // Each worker gets its own when it is forked.
        Role::Nursery => None,
    };
    #[cfg(not(target_os = "linux"))]
    let _ = charge;
    let guard = rustix::process::getpid();
    let prepare = move || {
        set_blocked(&no_signals())?;
        setsid()?;
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{getppid, set_parent_process_death_signal};

            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(guard) {
                return Err(io::Error::other("the guard is gone"));
            }
            if let Some(limits) = &limits {
                limits.apply();
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = guard;
        Ok(())
    };
    // SAFETY: the closure makes system calls only, which are safe after a
    // fork, and this process has no other thread.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    // It is waited for by its number, with all other children.
    Ok(Pid::from_child(&child))
}

/// A child that has ended and is not waited for yet.
fn ended_child() -> io::Result<Option<Pid>> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeroes are a valid `siginfo_t`, which is plain data.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is writable and of the type that the call fills in.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was filled in by `waitid`, or left zero if there is none.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}

fn drain(signals: &OwnedFd) {
    let mut chunk = [0; 64];
    while matches!(rustix::io::read(signals, &mut chunk), Ok(read) if read > 0) {}
}
