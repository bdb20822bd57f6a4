//! Why a daemon could not be started, looked at or ended.

use std::io;
use std::path::{Path, PathBuf};

use ktx_os::code::Code;
use ktx_os::files::{self, Unsafe};
use ktx_os::lock::LockError;
use ktx_protocol::endpoint::Endpoint;

/// Why an operation on daemons failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A project has no directory.
    #[error("The project directory `{}` does not exist", path.display())]
    NoProject {
        /// What was given.
        path: PathBuf,
    },
    /// No path for a socket is short enough, or may be used.
    #[error("There is no directory for the daemon's socket: {reason}")]
    NoSocket {
        /// What was tried.
        reason: String,
    },
    /// The program could not be run.
    #[error("Cannot run `{}`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended, or said nothing for too long.
    #[error("The KTX Python daemon did not start: {reason}. Log: {}{}", log.display(), quote(said))]
    Start {
        /// What was seen.
        reason: String,
        /// The end of what it wrote to its log.
        said: String,
        /// The log.
        log: PathBuf,
    },
    /// It started and cannot be talked to.
    #[error("The KTX Python daemon listens on {endpoint} and does not answer: {reason}. Log: {}", log.display())]
    Unreachable {
        /// Where it listens.
        endpoint: Endpoint,
        /// What was tried.
        reason: String,
        /// The log.
        log: PathBuf,
    },
    /// It is still there after everything that can be done.
    #[error("The KTX Python daemon (process {pid}) could not be ended: {reason}")]
    Stop {
        /// The daemon.
        pid: u32,
        /// What was seen.
        reason: String,
    },
    /// Another user could change what is put there.
    #[error("Refusing to use `{}`: {reason}", path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why it is not trusted.
        reason: Unsafe,
    },
    /// The lock was not obtained.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The system refused.
    #[error("Cannot access `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not tell of processes.
    #[error("Cannot look at process {pid}")]
    Process {
        /// The process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The caller gave up.
    #[error("Cancelled: no daemon was started")]
    Cancelled,
}

/// What a daemon said, line by line below what is said of it.
fn quote(said: &str) -> String {
    said.lines().flat_map(|line| ["\n  ", line]).collect()
}

const CHOOSE_ROOT: &str = "Choose another runtime root: `export KTX_RUNTIME_ROOT=/path/to/runtime`";

impl ServiceError {
    /// An error of the file system at `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NoProject { .. } => Code::Usage,
            Self::NoSocket { .. } | Self::Spawn { .. } | Self::Start { .. } => Code::DaemonStart,
            Self::Unreachable { .. } => Code::DaemonUnreachable,
            Self::Stop { .. } => Code::DaemonStop,
            Self::Unsafe { .. } => Code::RootUnsafe,
            Self::Lock(error) => error.code(),
            Self::Io { source, .. } if files::is_full(source) => Code::DiskFull,
            Self::Io { .. } | Self::Process { .. } => Code::Io,
            Self::Cancelled => Code::Aborted,
        }
    }

    /// What mends it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoProject { .. } | Self::Cancelled => Vec::new(),
            Self::NoSocket { .. } => vec![
                "Name a directory of yours with a short path: `export XDG_RUNTIME_DIR=/path`"
                    .to_owned(),
            ],
            Self::Spawn { .. } => vec!["Run: ktx runtime install --yes".to_owned()],
            Self::Start { .. } | Self::Unreachable { .. } => {
                vec!["Run: ktx runtime doctor".to_owned()]
            }
            Self::Stop { pid, .. } | Self::Process { pid, .. } => {
                vec![format!("Look at the process with: ps -o pid,stat,args -p {pid}")]
            }
            Self::Unsafe { path, reason } => match reason {
                Unsafe::WorldWritable => {
                    vec![format!("Run: chmod o-w '{}'", path.display()), CHOOSE_ROOT.to_owned()]
                }
                Unsafe::ForeignOwner { .. }
                | Unsafe::ForeignLink { .. }
                | Unsafe::NotADirectory => vec![CHOOSE_ROOT.to_owned()],
            },
            Self::Lock(error) => match error {
                LockError::Timeout { holder, .. } => vec![match holder {
                    Some(holder) => format!(
                        "Wait for the other command, or end it with `kill {}`, and run: ktx runtime start",
                        holder.pid
                    ),
                    None => "Wait for the other command, and run: ktx runtime start".to_owned(),
                }],
                LockError::Unsupported { .. } => vec![
                    "Choose a runtime root on a local file system: `export KTX_RUNTIME_ROOT=/path/to/runtime`"
                        .to_owned(),
                ],
                LockError::Link { .. } | LockError::Io { .. } => vec![CHOOSE_ROOT.to_owned()],
                LockError::Cancelled { .. } => Vec::new(),
            },
            Self::Io { .. } => vec![CHOOSE_ROOT.to_owned()],
        }
    }

    /// The log of the daemon that it is about, if there is one.
    pub fn log_path(&self) -> Option<&Path> {
        match self {
            Self::Start { log, .. } | Self::Unreachable { log, .. } => Some(log),
            _ => None,
        }
    }
}
