//! The process between the supervisor and a worker. It starts the interpreter,
//! waits for its end, and ends all that it leaves behind; and it does so too
//! when the supervisor lets go of the pipe that is standard input here,
//! be it on purpose (a timeout) or because it was killed. User code that
//! signals its parent hits the guard and not the supervisor.

use std::fmt;
use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use crate::channel;

/// What the interpreter runs. Given as text because `-m` would import
/// machinery that takes a third of the start.
const PROGRAM: &str = "from ktx_daemon.worker import main; main()";

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The interpreter could not be started.
    NotStarted {
        /// Why.
        reason: String,
    },
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for End {
    /// The line that the guard adds to the report.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { reason } => write!(formatter, "not-started {reason}"),
            Self::Exit(status) => write!(formatter, "exit {status}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

impl End {
    /// Reads the line that the guard adds to the report.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "not-started" => Some(Self::NotStarted {
                reason: rest.to_owned(),
            }),
            "exit" => rest.parse().ok().map(Self::Exit),
            "signal" => rest.parse().ok().map(Self::Signal),
            _ => None,
        }
    }
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

/// Runs a worker of `python` to its end and reports how it ended.
pub fn run(report: usize, python: &Path, scratch: Option<&Path>) -> ExitCode {
    let Ok(mut report) = channel::inherited(report) else {
        return ExitCode::FAILURE;
    };
    let end = work(python, scratch).unwrap_or_else(|error| End::NotStarted {
        reason: error.to_string().replace('\n', " "),
    });
    match send(&mut report, &end) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn send(report: &mut PipeWriter, end: &End) -> io::Result<()> {
    // One write, so that the line comes whole or not at all.
    report.write_all(format!("{end}\n").as_bytes())
}

fn interpreter(python: &Path) -> Command {
    let mut command = Command::new(python);
    // Isolated from the user's settings, and unbuffered: what the code wrote
    // before it was killed is kept, in the order of all writers.
    command.args(["-I", "-u", "-X", "utf8", "-c", PROGRAM]);
    command
}

#[cfg(unix)]
fn work(python: &Path, scratch: Option<&Path>) -> io::Result<End> {
    use rustix::process::{Pid, Signal, kill_process_group};

    #[cfg(target_os = "linux")]
    crate::contain::contain()?;
    let mut worker = unix::start(interpreter(python))?;
    let group = Pid::from_child(&worker);
    let lifeline = unix::Lifeline::watch(group, scratch);
    unix::wait_unreaped(group)?;
    lifeline.release();
    // In one step for the whole group, which a fork cannot slip through. The
    // worker is dead but not reaped, so the group's number is still its own.
    let _ = kill_process_group(group, Signal::KILL);
    let end = worker.wait()?.into();
    #[cfg(target_os = "linux")]
    if crate::contain::has_children() {
        crate::contain::sweep(&[]);
    }
    lifeline.remove_scratch();
    Ok(end)
}

#[cfg(windows)]
fn work(python: &Path, _scratch: Option<&Path>) -> io::Result<End> {
    crate::contain::contain(crate::limits::memory())?;
    let mut worker = interpreter(python).spawn()?;
    // Whatever the worker leaves behind is in the job, which ends with this
    // process.
    Ok(worker.wait()?.into())
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::{Child, Command};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, setsid, waitid};
    use rustix::stdio::stdin;

    /// Starts the interpreter as the leader of its own session: it has no
    /// terminal, and a signal to its group does not reach the guard.
    pub(super) fn start(mut command: Command) -> io::Result<Child> {
        #[cfg(target_os = "linux")]
        let (limits, guard) = (crate::limits::Limits::now(), rustix::process::getpid());
        let prepare = move || {
            setsid()?;
            #[cfg(target_os = "linux")]
            {
                use rustix::process::{getppid, set_parent_process_death_signal};

                set_parent_process_death_signal(Some(Signal::KILL))?;
                if getppid() != Some(guard) {
                    return Err(io::Error::other("the guard is gone"));
                }
                limits.apply();
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only, which are safe after a
        // fork, and this process has no other thread yet.
        unsafe { command.pre_exec(prepare) };
        command.spawn()
    }

    /// Waits for the end of `process` and leaves its number taken.
    pub(super) fn wait_unreaped(process: Pid) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(process), options) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[derive(Default)]
    struct State {
        ended: bool,
        abandoned: bool,
    }

    /// The pipe from the supervisor, which closes when that lets go or dies.
    pub(super) struct Lifeline<'a> {
        state: Arc<Mutex<State>>,
        scratch: Option<&'a Path>,
    }

    impl<'a> Lifeline<'a> {
        /// Kills the group of `worker` as soon as the supervisor is gone.
        pub(super) fn watch(worker: Pid, scratch: Option<&'a Path>) -> Self {
            let state = Arc::new(Mutex::new(State::default()));
            let shared = Arc::clone(&state);
            thread::spawn(move || {
                wait_for_hangup();
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.abandoned = true;
                if !state.ended {
                    let _ = kill_process_group(worker, Signal::KILL);
                }
            });
            Self { state, scratch }
        }

        /// Signals the worker no more: its number may become another's.
        pub(super) fn release(&self) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = true;
        }

        /// Removes the scratch directory in place of a supervisor that is gone.
        pub(super) fn remove_scratch(&self) {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(scratch) = self.scratch
                && state.abandoned
            {
                let _ = fs_err::remove_dir_all(scratch);
            }
        }
    }

    fn wait_for_hangup() {
        let input = stdin();
        loop {
            // Asked for nothing, `poll` still reports that the writer is gone,
            // and leaves the request in the pipe to the worker.
            let mut polled = [PollFd::new(&input, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) if !polled[0].revents().is_empty() => return,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
