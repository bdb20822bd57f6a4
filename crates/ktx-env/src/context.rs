//! What presets work with: the description of the environment, the means to
//! run commands, and the facts that earlier presets established.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use ktx_asset::LockedPackage;
use ktx_os::command::{Command, CommandError, Executor, Output};
use ktx_os::environment::Environment;
use tokio_util::sync::CancellationToken;

use crate::error::EnvError;
use crate::evidence::Evidence;
use crate::log::Log;
use crate::progress::{Event, State};

/// An environment as it should be, and the places to make it with.
#[derive(Clone, Debug)]
pub struct Specification {
    /// The environment's directory.
    pub directory: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// Executables that its packages must provide, each with the name that
    /// messages use. Each must answer `--version`.
    pub executables: Vec<(String, PathBuf)>,
    /// A private directory for the files that an installation needs;
    /// commands run in it.
    pub workspace: PathBuf,
    /// uv's cache.
    pub cache: PathBuf,
    /// Where uv is kept, if ktx has to fetch it.
    pub kept_uv: PathBuf,
    /// Where Python is put, if uv has to install it.
    pub kept_python: PathBuf,
    /// The Python versions that will do, as a PEP 440 specifier; `None`
    /// leaves the choice to uv.
    pub requires_python: Option<String>,
    /// The evidence of an environment that works: its interpreter is taken
    /// again if it will do, and no other is looked for.
    pub precedent: Option<Evidence>,
    /// What is installed, and how.
    pub packages: Packages,
    /// Modules that must be importable; with none, and packages that are not
    /// locked, the success of the commands is believed.
    pub imports: Vec<String>,
    /// What was seen when the environment was verified, if it was.
    pub evidence: Option<Evidence>,
}

/// What is installed into an environment.
#[derive(Clone, Debug)]
pub enum Packages {
    /// One requirement, whose dependencies uv resolves.
    Resolved {
        /// A wheel's path, with its extras in brackets.
        requirement: String,
    },
    /// Exactly what a lock allows, by hash.
    Locked {
        /// A requirements file in which every line has a hash.
        requirements: String,
        /// The package among them that is a wheel in the workspace.
        wheel: String,
        /// Every version that may be installed.
        allowed: BTreeSet<LockedPackage>,
    },
}

impl Specification {
    /// Whether the success of commands is all the evidence there is: nothing
    /// in the description says what to look for.
    pub fn is_believed(&self) -> bool {
        self.requires_python.is_none()
            && self.imports.is_empty()
            && self.evidence.is_none()
            && matches!(self.packages, Packages::Resolved { .. })
    }
}

/// A uv that answered with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uv {
    /// How it is called: a path, or `uv` for the one on the `PATH`.
    pub program: String,
    /// What it said of itself: `uv 0.13.8`.
    pub version: String,
}

/// What presets have established so far.
#[derive(Debug, Default)]
pub struct Facts {
    /// The uv to use.
    pub uv: Option<Uv>,
    /// The base interpreter to use.
    pub interpreter: Option<PathBuf>,
    /// Commands whose success is believed, by preset.
    pub believed: BTreeSet<&'static str>,
    /// What the finished environment showed of itself.
    pub evidence: Option<Evidence>,
}

/// What presets work with.
pub struct Context<'a> {
    /// The environment as it should be.
    pub specification: &'a Specification,
    /// The caller's environment variables.
    pub environment: &'a Environment,
    /// Runs commands.
    pub executor: &'a dyn Executor,
    /// Ends the work early.
    pub cancellation: &'a CancellationToken,
    /// Told of every event.
    pub listener: &'a (dyn Fn(Event) + Send + Sync),
    /// Where commands are logged.
    pub log: Option<&'a Log>,
    facts: Mutex<Facts>,
}

impl<'a> Context<'a> {
    /// A context in which nothing is established yet.
    pub fn new(
        specification: &'a Specification,
        environment: &'a Environment,
        executor: &'a dyn Executor,
        cancellation: &'a CancellationToken,
    ) -> Self {
        Self {
            specification,
            environment,
            executor,
            cancellation,
            listener: &|_| {},
            log: None,
            facts: Mutex::default(),
        }
    }

    /// Reads or changes the facts.
    pub fn facts<T>(&self, access: impl FnOnce(&mut Facts) -> T) -> T {
        let mut facts = self
            .facts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        access(&mut facts)
    }

    /// The uv that its preset established.
    pub(crate) fn uv(&self) -> Result<Uv, EnvError> {
        self.facts(|facts| facts.uv.clone()).ok_or(EnvError::NoUv)
    }

    pub(crate) fn progress(&self, event: Event) {
        (self.listener)(event);
    }

    /// Runs a command of `preset`: logged, cancellable, and with what it says
    /// on standard error as progress.
    pub(crate) async fn run(
        &self,
        preset: &'static str,
        command: &Command,
    ) -> Result<Output, CommandError> {
        if self.cancellation.is_cancelled() {
            let program = command.program.clone();
            return Err(CommandError::Cancelled { program });
        }
        if let Some(log) = self.log {
            log.command(command);
        }
        let outcome = self
            .executor
            .run(command, self.cancellation, &|line| {
                self.progress(Event::new(preset, State::Progress).detail(line));
            })
            .await;
        if let Some(log) = self.log {
            log.outcome(&outcome);
        }
        outcome
    }

    /// A command in the workspace with the allow-listed part of the caller's
    /// environment and `variables`.
    pub(crate) fn command(
        &self,
        program: &str,
        arguments: Vec<String>,
        variables: Vec<(&str, String)>,
        timeout: Duration,
    ) -> Command {
        let mut environment = self.environment.for_child();
        for (name, value) in variables {
            environment.set(name, value);
        }
        Command {
            program: program.to_owned(),
            arguments,
            environment,
            directory: self
                .specification
                .workspace
                .is_dir()
                .then(|| self.specification.workspace.clone()),
            timeout,
        }
    }
}
