//! Why a call could not be run at all. What the code itself did wrong is an
//! outcome, not an error.

use std::io;
use std::path::PathBuf;

/// Nothing is known of the code: it was not run, or its end was not seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request says something else than the contract allows.
    #[error("Invalid request: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// Standard input could not be read.
    #[error("Cannot read the request from standard input")]
    Input {
        /// What the system said.
        source: io::Error,
    },
    /// No interpreter was found where the environment should have one.
    #[error("No Python interpreter in `{directory}`, beside ktx-daemon")]
    NoInterpreter {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// Another process is deleting the environment.
    #[error("Environment `{root}` is being removed: another process holds `{lease}` exclusively")]
    BeingRemoved {
        /// The environment.
        root: PathBuf,
        /// The lease file in it.
        lease: PathBuf,
    },
    /// The lease is gone, and with it the environment, or soon.
    #[error("Environment `{root}` is being removed: there is no `{lease}`")]
    Removed {
        /// The environment.
        root: PathBuf,
        /// The lease file that should be in it.
        lease: PathBuf,
    },
    /// The lease exists and cannot be locked.
    #[error("Cannot lock `{lease}`")]
    Lease {
        /// The lease file.
        lease: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pipe, a process or a directory could not be had.
    #[error("Cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The interpreter ended, or took too long, before the code ran.
    #[error("Python `{python}` did not start: {reason}")]
    Startup {
        /// The interpreter.
        python: PathBuf,
        /// How it ended, with what it wrote.
        reason: String,
    },
    /// Nothing can be listened on there.
    #[error("Cannot listen at `{endpoint}`")]
    Listen {
        /// Where.
        endpoint: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others could reach the daemon, and see or forge what is said.
    #[error("`{endpoint}` can be reached from other machines")]
    Exposed {
        /// Where it was to listen.
        endpoint: String,
    },
    /// A file that an option names cannot be used.
    #[error("Cannot use `{}`: {reason}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The worker's report is not what a worker writes.
    #[error("The worker's report is invalid")]
    Report,
}

impl Error {
    /// The exit code: 2 for a caller's mistake; 3 when no code was run because
    /// the environment is gone or going, so that it can be run in another one;
    /// otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Request { .. } | Self::Exposed { .. } | Self::Setting { .. } => 2,
            Self::NoInterpreter { .. } | Self::BeingRemoved { .. } | Self::Removed { .. } => 3,
            Self::Input { .. }
            | Self::Lease { .. }
            | Self::System { .. }
            | Self::Startup { .. }
            | Self::Listen { .. }
            | Self::Report => 1,
        }
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoInterpreter { .. }
            | Self::Startup { .. }
            | Self::BeingRemoved { .. }
            | Self::Removed { .. } => Some("Run: ktx runtime install --yes"),
            Self::Lease { .. } => {
                Some("Set KTX_RUNTIME_ROOT to a directory on a file system that has locks")
            }
            Self::Exposed { .. } => Some(
                "Listen at 127.0.0.1, or give --tls-cert, --tls-key and --token-file: \
                 ktx-daemon serve --help",
            ),
            Self::Request { .. }
            | Self::Input { .. }
            | Self::System { .. }
            | Self::Listen { .. }
            | Self::Setting { .. }
            | Self::Report => None,
        }
    }

    /// For `map_err`: what was tried when the system refused.
    pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
