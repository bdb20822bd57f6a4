//! What every worker of this supervisor is started with, and the guards that
//! are alive. A descendant of this process that belongs to none of them is
//! nobody's, and is ended.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ktx_os::environment::Environment;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::channel::{Handle, hand_down};
#[cfg(unix)]
use crate::contain;
use crate::guard::{Charge, End, Notice, Order, Role};
use crate::interpreter::Interpreter;

/// What workers are started with.
#[derive(Clone, Debug)]
pub struct Household {
    /// This program, which is the guard too.
    program: PathBuf,
    /// The interpreter to run code in.
    pub interpreter: Interpreter,
    environment: Environment,
    /// The processes that have this one as their parent and are to live: the
    /// guards, and those that were there when this program replaced another.
    members: watch::Sender<HashSet<u32>>,
    /// How many of them are no guards.
    bystanders: usize,
}

/// What a guard's interpreter is connected to.
pub struct Connections<'a> {
    /// Its standard input.
    pub input: &'a Handle,
    /// Its standard output.
    pub output: Handle,
    /// Its standard error, and the guard's.
    pub error: Handle,
    /// What it reports to, if that is not its input.
    pub report: Option<&'a Handle>,
}

/// What a guard's interpreter may and has to do.
pub struct Duties<'a> {
    /// What it runs.
    pub role: Role,
    /// Memory that it may take, in bytes.
    pub max_memory: Option<u64>,
    /// Its working directory; that of this process if absent.
    pub directory: Option<&'a Path>,
    /// Directory to remove when this process is gone.
    pub scratch: Option<&'a Path>,
}

impl Household {
    /// Prepares this process to be the supervisor of workers that `program`
    /// guards.
    pub fn new(program: PathBuf, interpreter: Interpreter) -> io::Result<Self> {
        let members = bystanders()?;
        // Names and values that are not Unicode are not passed on either.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(Self {
            program,
            interpreter,
            environment: variables.collect::<Environment>().for_child(),
            bystanders: members.len(),
            members: watch::Sender::new(members),
        })
    }

    /// Starts a guard, which starts the interpreter.
    pub fn start_guard(
        &self,
        duties: &Duties<'_>,
        connections: Connections<'_>,
    ) -> io::Result<Guard> {
        let mut command = std::process::Command::new(&self.program);
        let charge = Charge {
            role: duties.role,
            input: hand_down(connections.input, &mut command)?,
            output: hand_down(&connections.output, &mut command)?,
            report: connections
                .report
                .map(|report| hand_down(report, &mut command))
                .transpose()?,
            max_memory: duties.max_memory,
            scratch: duties.scratch.map(Path::to_owned),
            python: self.interpreter.python.clone(),
        };
        command
            .arg("guard")
            .args(charge.to_arguments())
            .env_clear()
            .envs(self.environment.iter())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(connections.error);
        if let Some(directory) = duties.directory {
            command.current_dir(directory);
        }
        // Before the child can be stopped, so that no change is missed.
        #[cfg(unix)]
        let changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        let mut child = self.adopt(|| Command::from(command).spawn())?;
        let number = child.id().unwrap_or_default();
        let (Some(orders), Some(notices)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the guard has no pipes"));
        };
        Ok(Guard {
            household: self.clone(),
            number,
            child,
            orders: Some(orders),
            notices: BufReader::new(notices).lines(),
            #[cfg(unix)]
            changes,
        })
    }

    /// Starts a member. Nobody can look for strays between its start and its
    /// being known.
    fn adopt(&self, start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut started = None;
        self.members.send_modify(|members| {
            let child = start();
            members.extend(child.as_ref().ok().and_then(Child::id));
            started = Some(child);
        });
        started.expect("it is started while the members are modified")
    }

    /// Ends every descendant that no living guard answers for.
    #[cfg(unix)]
    async fn sweep_strays(&self) {
        let household = self.clone();
        let is_stray = move |child: rustix::process::Pid| {
            let number = u32::try_from(child.as_raw_pid());
            number.is_ok_and(|number| !household.members.borrow().contains(&number))
        };
        if contain::children().into_iter().any(&is_stray) {
            let sweep = move || contain::sweep(&is_stray);
            let _ = tokio::task::spawn_blocking(sweep).await;
        }
    }

    /// The end of a guard closes its job, which ends what was in it.
    #[cfg(windows)]
    #[expect(clippy::unused_async, reason = "the other platforms wait")]
    async fn sweep_strays(&self) {}

    fn forget(&self, guard: u32) {
        self.members.send_modify(|members| {
            members.remove(&guard);
        });
    }

    /// Waits until no guard is alive.
    pub async fn is_empty(&self) {
        let mut members = self.members.subscribe();
        // It cannot be closed: this holds a sender.
        let _ = members
            .wait_for(|members| members.len() == self.bystanders)
            .await;
    }
}

/// Contains what is started from now on, and returns what was there before.
#[cfg(unix)]
fn bystanders() -> io::Result<HashSet<u32>> {
    contain::contain()?;
    let children = contain::children().into_iter();
    Ok(children
        .filter_map(|child| u32::try_from(child.as_raw_pid()).ok())
        .collect())
}

#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail")]
fn bystanders() -> io::Result<HashSet<u32>> {
    Ok(HashSet::new())
}

/// A guard that is running.
#[derive(Debug)]
pub struct Guard {
    household: Household,
    number: u32,
    child: Child,
    /// Closing it is the sign to end everything.
    orders: Option<ChildStdin>,
    notices: Lines<BufReader<ChildStdout>>,
    /// Comes when a child of this process has ended or was stopped.
    #[cfg(unix)]
    changes: tokio::signal::unix::Signal,
}

impl Guard {
    /// The next thing that it says; `None` when it is gone. Can be dropped and
    /// called again; nothing is lost.
    pub async fn notice(&mut self) -> Option<Notice> {
        loop {
            let line = self.line().await?;
            if let Some(notice) = Notice::parse(&line) {
                return Some(notice);
            }
        }
    }

    /// The next line, until which a guard that was stopped is made to go on.
    #[cfg(unix)]
    async fn line(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                line = self.notices.next_line() => return line.ok().flatten(),
                _ = self.changes.recv() => self.rouse(),
            }
        }
    }

    #[cfg(windows)]
    async fn line(&mut self) -> Option<String> {
        self.notices.next_line().await.ok().flatten()
    }

    /// Code that stops its guard would stop all calls that it guards.
    #[cfg(unix)]
    fn rouse(&self) {
        use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let number = i32::try_from(self.number).ok().and_then(Pid::from_raw);
        if let Some(guard) = number
            && matches!(waitid(WaitId::Pid(guard), options), Ok(Some(_)))
        {
            let _ = kill_process(guard, Signal::CONT);
        }
    }

    /// Tells it what to do.
    pub async fn order(&mut self, order: Order) {
        if let Some(orders) = &mut self.orders {
            // One that is gone is seen by the end of its notices.
            let _ = orders.write_all(format!("{order}\n").as_bytes()).await;
        }
    }

    /// Has it end everything, and itself.
    pub fn dismiss(&mut self) {
        self.orders = None;
    }

    /// Ends it at once: it does not answer.
    pub fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    /// Waits for its end and ends what it left behind; returns how it ended,
    /// in words.
    pub async fn bury(mut self) -> String {
        self.orders = None;
        let end = self.child.wait().await.map(End::from);
        self.household.sweep_strays().await;
        match end {
            Ok(End::Signal(signal)) => format!("was ended by {}", signal_name(signal)),
            _ => "ended".to_owned(),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.household.forget(self.number);
    }
}

/// The name of a signal, as `SIGKILL`.
#[cfg(unix)]
pub fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// The name of a signal, of which this system has none.
#[cfg(windows)]
pub fn signal_name(signal: i32) -> String {
    format!("signal {signal}")
}
