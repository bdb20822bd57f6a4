//! A machine on which nothing is installed yet: its commands are bounded, end together, and leave
//! nothing behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use ktx_os::command::{Command, CommandError, Executor, Output, System};
use ktx_os::environment::Environment;
use tokio_util::sync::CancellationToken;

use super::processes::{self, Found};
use crate::project::User;

/// How long a command may take; the longest one downloads uv and the runtime's packages.
const COMMAND: Duration = Duration::from_mins(5);
/// How long a process of a command that succeeded may take to leave.
const LEAVING: Duration = Duration::from_secs(5);

/// The machine. It must be handed to [`Machine::clear`], which looks for what was left behind.
pub(super) struct Machine {
    user: User,
    environment: Environment,
    cancellation: CancellationToken,
    uses_npm_configuration: bool,
}

impl Machine {
    pub(super) fn new() -> Result<Self> {
        let user = User::new("ktx-smoke-")?;
        let temporary_dir = user.root_dir().join("tmp");
        fs_err::create_dir(&temporary_dir)?;
        let mut environment: Environment = user
            .environment()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        for name in ["TMPDIR", "TMP", "TEMP"] {
            environment.set(name, temporary_dir.to_string_lossy());
        }
        Ok(Self {
            user,
            environment,
            cancellation: CancellationToken::new(),
            uses_npm_configuration: false,
        })
    }

    /// Lets whatever reads npm's configuration read this file; only those know what is in it.
    pub(super) fn use_npm_configuration(&mut self, path: &str) {
        self.set("npm_config_userconfig", path);
        self.uses_npm_configuration = true;
    }

    /// Whether the registry is reached with somebody's npm configuration.
    pub(super) fn uses_npm_configuration(&self) -> bool {
        self.uses_npm_configuration
    }

    /// Sets a variable for every command from now on.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
    }

    /// The value of a variable.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.environment.var(name)
    }

    pub(super) fn home_dir(&self) -> PathBuf {
        self.user.home_dir()
    }

    /// Makes a directory with a `package.json`.
    pub(super) fn make_project(&self, name: &str) -> Result<PathBuf> {
        self.user.make_project(name)
    }

    /// A path that nothing has made yet.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.user.root_dir().join(name)
    }

    /// A command with what it may see.
    pub(super) fn command(&self, program: &str, directory: &Path) -> Command {
        Command {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: self.environment.clone(),
            directory: Some(directory.to_owned()),
            timeout: COMMAND,
        }
    }

    /// Runs a command that must succeed; the error holds all that it wrote.
    pub(super) async fn run(&self, command: &Command) -> Result<Output> {
        self.try_run(command)
            .await
            .map_err(|error| explained(command, error))
    }

    /// Runs a command that may fail.
    pub(super) async fn try_run(&self, command: &Command) -> Result<Output, CommandError> {
        System.run(command, &self.cancellation, &|_| {}).await
    }

    /// Waits, unless the commands are ended meanwhile.
    pub(super) async fn pause(&self, duration: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.cancellation.cancelled() => Err(anyhow!(CommandError::Cancelled {
                program: "the wait".to_owned(),
            })),
        }
    }

    /// Ends every command that runs, and every one that would be started.
    pub(super) fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// Ends what still runs here and deletes everything; a process that was left is an error.
    ///
    /// After a failure nothing is given time to leave by itself.
    pub(super) async fn clear(self, after_failure: bool) -> Result<()> {
        let root_dir = self.user.root_dir().to_owned();
        let grace = if after_failure {
            Duration::ZERO
        } else {
            LEAVING
        };
        let left = left_after(&root_dir, grace, |_| Ok(())).await?;
        let unending = left_after(&root_dir, LEAVING, Found::kill).await?;
        ensure!(
            unending.is_empty(),
            "Processes cannot be ended:\n{}",
            lines(&unending)
        );
        self.user.delete()?;
        ensure!(
            left.is_empty() || after_failure,
            "Processes were left behind, and are ended now:\n{}",
            lines(&left)
        );
        Ok(())
    }
}

/// The processes that are still there after a while in which something is done with each.
async fn left_after(
    root_dir: &Path,
    within: Duration,
    treat: impl Fn(&Found) -> Result<()>,
) -> Result<Vec<Found>> {
    let deadline = Instant::now() + within;
    loop {
        let left = processes::of(root_dir)?;
        left.iter().try_for_each(&treat)?;
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn lines(found: &[Found]) -> String {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Does two things at the same time; the first failure ends both and is what is returned.
pub(super) async fn both<A, B>(
    machine: &Machine,
    first: impl Future<Output = Result<A>>,
    second: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let (first, second) = tokio::join!(ending_all(machine, first), ending_all(machine, second));
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => Err(if is_cancellation(&first) {
            second
        } else {
            first
        }),
    }
}

async fn ending_all<T>(machine: &Machine, work: impl Future<Output = Result<T>>) -> Result<T> {
    let result = work.await;
    if result.is_err() {
        machine.cancel();
    }
    result
}

/// Whether a failure only says that everything was ended.
fn is_cancellation(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<CommandError>(),
            Some(CommandError::Cancelled { .. })
        )
    })
}

/// Waits until somebody wants the program to end, and says how.
pub(super) async fn interruption() -> Result<&'static str> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result.map(|()| "SIGINT").map_err(Into::into),
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = hang_up.recv() => Ok("SIGHUP"),
        }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await?;
        Ok("Ctrl-C")
    }
}

/// A failure with the whole command and all that it wrote.
pub(super) fn explained(command: &Command, error: CommandError) -> anyhow::Error {
    let (reason, output) = match error {
        CommandError::Failed { reason, output, .. } => (format!("failed: {reason}"), output),
        CommandError::Timeout {
            seconds, output, ..
        } => (format!("was ended after {seconds} s"), output),
        other => return anyhow!(other),
    };
    anyhow!("`{command}` {reason}{}", written(&output))
}

/// Fails unless a command printed what it should; the whole output is in the error.
pub(super) fn expect(
    command: &Command,
    output: &Output,
    is_right: bool,
    expected: &str,
) -> Result<()> {
    if !is_right {
        bail!("`{command}` did not print {expected}{}", written(output));
    }
    Ok(())
}

fn written(output: &Output) -> String {
    let texts = [output.stdout.trim_end(), output.stderr.trim_end()];
    texts
        .into_iter()
        .filter(|text| !text.is_empty())
        .flat_map(|text| ["\n", text])
        .collect()
}
