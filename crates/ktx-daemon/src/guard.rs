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

#[cfg(unix)]
mod unix;

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
    /// End with the orders: the supervisor goes on, and so does all that is
    /// not of this guard.
    Leave,
}

impl Order {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("end", process) => process.parse().ok().map(Self::End),
            ("sweep", tag) => tag.parse().ok().map(Self::Sweep),
            ("leave", "") => Some(Self::Leave),
            _ => None,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(process) => write!(formatter, "end {process}"),
            Self::Sweep(tag) => write!(formatter, "sweep {tag}"),
            Self::Leave => formatter.write_str("leave"),
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
        for order in [Order::End(8), Order::Sweep(9), Order::Leave] {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        assert_eq!(Notice::parse("exit x"), None);
        assert_eq!(Order::parse("end"), None);
    }
}
