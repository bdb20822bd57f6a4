//! The process between the supervisor and an interpreter. It starts the
//! interpreter, waits for its end, and ends all that it leaves behind; and it
//! does so too when the supervisor lets go of the pipe that is standard input
//! here, be it on purpose (a timeout) or because it was killed. User code
//! that signals its parent hits the guard and not the supervisor.
//!
//! A guard of a warm parent guards all workers that are forked from it, and
//! outlives it as long as there is one.
//!
//! It talks in lines. To the supervisor, on standard output: how each process
//! that it was the parent of ended ([`Notice`]). From the supervisor, on
//! standard input: which to end ([`Order`]).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use crate::channel;

/// What an interpreter is started to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Requests, which it reads itself.
    Worker,
    /// Nothing: workers are forked from it.
    Nursery,
}

impl Role {
    /// Given as text because `-m` would import machinery that takes a third
    /// of the start.
    const fn program(self) -> &'static str {
        match self {
            Self::Worker => "from ktx_daemon.worker import main; main()",
            Self::Nursery => "from ktx_daemon.nursery import main; main()",
        }
    }
}

/// What to guard.
#[derive(Clone, Debug, clap::Args)]
pub struct Charge {
    /// What the interpreter runs
    #[arg(long)]
    pub role: Role,
    /// Descriptor (on Windows: handle) of its standard input
    #[arg(long)]
    pub input: usize,
    /// Descriptor (on Windows: handle) of its standard output
    #[arg(long)]
    pub output: usize,
    /// Descriptor (on Windows: handle) that it reports to
    #[arg(long)]
    pub report: Option<usize>,
    /// Memory that it may take, in bytes
    #[arg(long)]
    pub max_memory: Option<u64>,
    /// Directory to remove if the supervisor is gone
    #[arg(long)]
    pub scratch: Option<PathBuf>,
    /// The interpreter
    pub python: PathBuf,
}

impl Charge {
    /// The arguments that say the same.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let role = match self.role {
            Role::Worker => "worker",
            Role::Nursery => "nursery",
        };
        let mut arguments: Vec<OsString> = vec!["--role".into(), role.into()];
        let numbers = [
            ("--input", Some(self.input as u64)),
            ("--output", Some(self.output as u64)),
            ("--report", self.report.map(|number| number as u64)),
            ("--max-memory", self.max_memory),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                arguments.extend([name.into(), number.to_string().into()]);
            }
        }
        if let Some(scratch) = &self.scratch {
            arguments.extend(["--scratch".into(), scratch.into()]);
        }
        arguments.push((&self.python).into());
        arguments
    }

    /// The interpreter, not started yet. Isolated from the user's settings,
    /// and unbuffered: what the code wrote before it was killed is kept, in
    /// the order of all writers.
    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(&self.python);
        command
            .args(["-I", "-u", "-X", "utf8", "-c", self.role.program()])
            .stdin(Stdio::from(channel::inherited(self.input)?))
            .stdout(Stdio::from(channel::inherited(self.output)?));
        if let Some(report) = self.report {
            command.arg(report.to_string());
        }
        Ok(command)
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Its guard ended first, and took it along.
    Unguarded {
        /// How the guard ended.
        how: String,
    },
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
            return Self::Signal(signal);
        }
        Self::Exit(status.code().unwrap_or_default())
    }
}

/// A line from a guard or from a warm parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The warm parent is ready.
    Up,
    /// The guard has started the process with this number.
    Started(i32),
    /// The interpreter could not be started.
    NotStarted(String),
    /// The warm parent has forked the worker with this number.
    Forked(i32),
    /// The warm parent could not fork.
    Failed(String),
    /// The process with this number ended, and everything in its group.
    Ended(i32, End),
    /// Nothing is left that carries this tag.
    Swept(u64),
}

impl Notice {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let ended = |end: fn(i32) -> End| {
            let (process, number) = rest.split_once(' ')?;
            Some(Self::Ended(
                process.parse().ok()?,
                end(number.parse().ok()?),
            ))
        };
        match word {
            "up" => Some(Self::Up),
            "started" => rest.parse().ok().map(Self::Started),
            "not-started" => Some(Self::NotStarted(rest.to_owned())),
            "forked" => rest.parse().ok().map(Self::Forked),
            "failed" => Some(Self::Failed(rest.to_owned())),
            "exit" => ended(End::Exit),
            "signal" => ended(End::Signal),
            "swept" => rest.parse().ok().map(Self::Swept),
            _ => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => formatter.write_str("up"),
            Self::Started(process) => write!(formatter, "started {process}"),
            Self::NotStarted(reason) => write!(formatter, "not-started {reason}"),
            Self::Forked(process) => write!(formatter, "forked {process}"),
            Self::Failed(reason) => write!(formatter, "failed {reason}"),
            Self::Ended(process, End::Signal(signal)) => {
                write!(formatter, "signal {process} {signal}")
            }
            Self::Ended(process, end) => {
                let status = if let End::Exit(status) = end {
                    *status
                } else {
                    -1
                };
                write!(formatter, "exit {process} {status}")
            }
            Self::Swept(tag) => write!(formatter, "swept {tag}"),
        }
    }
}

/// A line to a guard or to a warm parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End the group of the child with this number.
    End(i32),
    /// End every orphan that carries this tag.
    Sweep(u64),
}

impl Order {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("end", process) => process.parse().ok().map(Self::End),
            ("sweep", tag) => tag.parse().ok().map(Self::Sweep),
            _ => None,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(process) => write!(formatter, "end {process}"),
            Self::Sweep(tag) => write!(formatter, "sweep {tag}"),
        }
    }
}

/// Guards to the end and says how that came.
pub fn run(charge: &Charge) -> ExitCode {
    match guard(charge) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&Notice::NotStarted(error.to_string().replace('\n', " ")));
            ExitCode::FAILURE
        }
    }
}

/// One write, so that the line comes whole or not at all. A supervisor that is
/// gone hears nothing, and the end of the pipe from it says so.
fn say(notice: &Notice) {
    use io::Write;

    let _ = io::stdout().write_all(format!("{notice}\n").as_bytes());
}

fn remove_scratch(scratch: Option<&Path>) {
    if let Some(scratch) = scratch {
        let _ = fs_err::remove_dir_all(scratch);
    }
}

#[cfg(windows)]
fn guard(charge: &Charge) -> io::Result<()> {
    let memory = charge.max_memory.or_else(crate::limits::memory);
    crate::contain::contain(memory)?;
    let mut worker = charge.command()?.spawn()?;
    let scratch = charge.scratch.clone();
    std::thread::spawn(move || {
        // No orders come here; the end of the pipe is the sign to end. The
        // job ends everything else with this process.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        remove_scratch(scratch.as_deref());
        end_now();
    });
    let process = i32::try_from(worker.id()).map_err(io::Error::other)?;
    say(&Notice::Started(process));
    let end = worker.wait()?.into();
    say(&Notice::Ended(process, end));
    Ok(())
}

#[cfg(windows)]
#[expect(clippy::exit, reason = "the main thread waits for the worker")]
fn end_now() {
    std::process::exit(1);
}

#[cfg(unix)]
fn guard(charge: &Charge) -> io::Result<()> {
    unix::guard(charge)
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, setsid, waitid,
        waitpid,
    };
    use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

    use super::{Charge, End, Notice, Order, Role, remove_scratch, say};
    use crate::contain;

    pub(super) fn guard(charge: &Charge) -> io::Result<()> {
        contain::contain()?;
        let (ended, told) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, told)?;
        // Code that asks its ancestors to end asks in vain. A handler, which
        // the interpreter does not inherit, and not an ignored signal.
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let first = start(charge, charge.command()?)?;
        say(&Notice::Started(first.as_raw_pid()));
        Guard {
            charge,
            first,
            ended: ended.into(),
            orders: Vec::new(),
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
    }

    impl Guard<'_> {
        fn watch(mut self) {
            loop {
                let (has_orders, has_ended) = self.wait();
                if has_ended {
                    drain(&self.ended);
                    if self.reap() {
                        return;
                    }
                }
                if has_orders && !self.obey() {
                    let _ = kill_process_group(self.first, Signal::KILL);
                    contain::sweep(&|_| true);
                    remove_scratch(self.charge.scratch.as_deref());
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
            // In one step for the whole group, which a fork cannot slip
            // through. The child is dead but not reaped, so the group's number
            // is still its own.
            let _ = kill_process_group(process, Signal::KILL);
            let Ok(Some((_, status))) = waitpid(Some(process), WaitOptions::empty()) else {
                return false;
            };
            let end = match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => End::Exit(status),
                (None, signal) => End::Signal(signal.unwrap_or_default()),
            };
            let is_last = process == self.first && self.charge.role == Role::Worker;
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
                    None => {}
                }
            }
            true
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
}

#[cfg(test)]
mod tests {
    use super::{End, Notice, Order};

    #[test]
    fn lines_say_what_was_meant() {
        for notice in [
            Notice::Up,
            Notice::Started(7),
            Notice::NotStarted("no such file".to_owned()),
            Notice::Forked(8),
            Notice::Failed("too many processes".to_owned()),
            Notice::Ended(8, End::Exit(3)),
            Notice::Ended(8, End::Signal(11)),
            Notice::Swept(1 << 60),
        ] {
            assert_eq!(Notice::parse(&notice.to_string()), Some(notice));
        }
        for order in [Order::End(8), Order::Sweep(9)] {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        assert_eq!(Notice::parse("exit x"), None);
        assert_eq!(Order::parse("end"), None);
    }
}
