//! Why the runtime could not be installed, looked at or pruned.

use std::io;
use std::path::{Path, PathBuf};

use ktx_asset::AssetError;
use ktx_env::{EnvError, explain};
use ktx_os::code::Code;
use ktx_os::files::{self, Unsafe};
use ktx_os::lock::LockError;

const CHOOSE_ROOT: &str = "Choose another runtime root: `export KTX_RUNTIME_ROOT=/path/to/runtime`";

/// Why an operation on the runtime failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A version is none.
    #[error("`{version}` is not a version, expected one like `1.2.3` or `1.2.3-rc.1`")]
    Version {
        /// What was given.
        version: String,
    },
    /// There is no home directory to put the runtime in.
    #[error("Cannot place the runtime: {variable} is not set")]
    HomeUnset {
        /// The variable that should name it.
        variable: &'static str,
    },
    /// The home directory is not there.
    #[error("Cannot place the runtime: the home directory `{}` does not exist", path.display())]
    HomeMissing {
        /// The home directory.
        path: PathBuf,
    },
    /// The layout was computed for a platform that is not the host's, or the
    /// host has no platform package.
    #[error("A runtime for another platform cannot be installed here")]
    OtherPlatform,
    /// Another user could change what is written.
    #[error("Refusing to write to `{}`: {}", path.display(), reason)]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// Why it is not trusted.
        reason: Unsafe,
    },
    /// The root cannot be written.
    #[error("Cannot write to the runtime root `{}`: {source}", path.display())]
    ReadOnly {
        /// The root, or the directory in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is less room than an installation needs.
    #[error("Not enough disk space for the KTX Python runtime in `{}`: {need} MiB needed, {have} MiB free", path.display())]
    DiskFull {
        /// Where it goes.
        path: PathBuf,
        /// What it needs, in MiB.
        need: u64,
        /// What there is, in MiB.
        have: u64,
        /// The log of the attempt, if there was one.
        log: Option<PathBuf>,
    },
    /// There are fewer files left than an installation creates.
    #[error("Not enough inodes for the KTX Python runtime in `{}`: {need} needed, {have} free", path.display())]
    OutOfInodes {
        /// Where it goes.
        path: PathBuf,
        /// What it needs.
        need: u64,
        /// What there is.
        have: u64,
    },
    /// The lock was not obtained.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The asset cannot be used.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// There is no runtime that could be used.
    #[error("{detail}")]
    Missing {
        /// What was seen.
        detail: String,
    },
    /// The runtime is in a format of a later ktx.
    #[error("{detail}")]
    Newer {
        /// What was seen.
        detail: String,
    },
    /// The environment could not be made.
    #[error("Python runtime install failed: {}. Install log: {}", explain(source), log.display())]
    Install {
        /// What happened.
        source: Box<EnvError>,
        /// The log of the attempt.
        log: PathBuf,
    },
    /// The system refused.
    #[error("Cannot access `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller gave up.
    #[error("Cancelled: the KTX Python runtime is as it was before")]
    Cancelled,
}

fn make_room() -> Vec<String> {
    vec![
        "Run: ktx runtime prune --yes".to_owned(),
        "Choose a runtime root with more room: `export KTX_RUNTIME_ROOT=/path/with/space`"
            .to_owned(),
    ]
}

impl RuntimeError {
    /// An error of the file system at `path` while something is written.
    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Self::ReadOnly { path, source }
                }
                _ => Self::Io { path, source },
            }
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Version { .. } | Self::OtherPlatform => Code::Usage,
            Self::HomeUnset { .. } | Self::HomeMissing { .. } => Code::HomeUnset,
            Self::Unsafe { .. } => Code::RootUnsafe,
            Self::ReadOnly { .. } => Code::RootReadOnly,
            Self::DiskFull { .. } | Self::OutOfInodes { .. } => Code::DiskFull,
            Self::Lock(error) => error.code(),
            Self::Asset(error) => error.code(),
            Self::Missing { .. } => Code::RuntimeMissing,
            Self::Newer { .. } => Code::RuntimeNewer,
            Self::Install { source, .. } => source.code(),
            Self::Io { source, .. } if files::is_full(source) => Code::DiskFull,
            Self::Io { .. } => Code::Io,
            Self::Cancelled => Code::Aborted,
        }
    }

    /// What mends it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Version { .. } | Self::OtherPlatform | Self::Cancelled => Vec::new(),
            Self::HomeUnset { .. } | Self::HomeMissing { .. } | Self::ReadOnly { .. } => vec![CHOOSE_ROOT.to_owned()],
            Self::Unsafe { path, reason } => match reason {
                Unsafe::WorldWritable => {
                    vec![format!("Run: chmod o-w '{}'", path.display()), CHOOSE_ROOT.to_owned()]
                }
                Unsafe::ForeignOwner { .. } | Unsafe::ForeignLink { .. } | Unsafe::NotADirectory => {
                    vec![CHOOSE_ROOT.to_owned()]
                }
            },
            Self::DiskFull { .. } | Self::OutOfInodes { .. } => make_room(),
            Self::Io { source, .. } if files::is_full(source) => make_room(),
            Self::Lock(error) => match error {
                LockError::Timeout { holder, .. } => vec![match holder {
                    Some(holder) => format!(
                        "Wait for the other command, or end it with `kill {}`, and run: ktx runtime install --yes",
                        holder.pid
                    ),
                    None => "Wait for the other command, and run: ktx runtime install --yes".to_owned(),
                }],
                LockError::Unsupported { .. } => {
                    vec![
                        "Choose a runtime root on a local file system: `export KTX_RUNTIME_ROOT=/path/to/runtime`"
                            .to_owned(),
                    ]
                }
                LockError::Link { .. } | LockError::Io { .. } => vec![CHOOSE_ROOT.to_owned()],
                LockError::Cancelled { .. } => Vec::new(),
            },
            Self::Asset(error) => error.hints(),
            Self::Newer { .. } => vec![
                "Update ktx to the version that wrote it, or replace the runtime with: ktx runtime install --force --yes"
                    .to_owned(),
            ],
            Self::Install { source, .. } => source.hints(),
            Self::Missing { .. } | Self::Io { .. } => {
                vec!["Run: ktx runtime install --yes".to_owned()]
            }
        }
    }

    /// The log of the attempt that failed, if there was one.
    pub fn log_path(&self) -> Option<&Path> {
        match self {
            Self::Install { log, .. } => Some(log),
            Self::DiskFull { log, .. } => log.as_deref(),
            _ => None,
        }
    }
}
