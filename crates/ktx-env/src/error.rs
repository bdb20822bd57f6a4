//! Why an environment is not as it should be.

use std::io;
use std::path::PathBuf;

use ktx_os::code::Code;
use ktx_os::command::CommandError;
use ktx_os::files;

use crate::bootstrap::BootstrapError;
use crate::platform::HOST_PLATFORM;

/// Why an environment could not be looked at or made.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// There is no preset of that name.
    #[error("Unknown preset `{id}`{}", required_by.as_ref().map(|by| format!(", required by `{by}`")).unwrap_or_default())]
    UnknownPreset {
        /// The name.
        id: String,
        /// The preset that requires it, if none asked for it by name.
        required_by: Option<String>,
    },
    /// Presets require each other in a circle.
    #[error("Presets require each other in a circle: {}", path.join(" → "))]
    PresetCycle {
        /// The members, beginning and ending with the same one.
        path: Vec<String>,
    },
    /// A preset was applied and does not hold.
    #[error("`{id}` was applied and still does not hold: {detail}")]
    NotApplied {
        /// The preset.
        id: String,
        /// What its check saw.
        detail: String,
    },
    /// There is no uv, and none may be fetched.
    #[error("uv is required to install the KTX Python runtime and was not found")]
    NoUv,
    /// uv could not be fetched.
    #[error(transparent)]
    Bootstrap(Box<BootstrapError>),
    /// The uv that `KTX_UV` names does not work.
    #[error(
        "The uv that KTX_UV names does not run: `{program}` ({})",
        reason(failure)
    )]
    ChosenUv {
        /// Its path.
        program: String,
        /// What happened.
        failure: Box<CommandError>,
    },
    /// The kept uv has the right bytes and does not run.
    #[error("The kept uv does not run: `{}` ({})", path.display(), reason(failure))]
    KeptUv {
        /// Its path.
        path: PathBuf,
        /// What happened.
        failure: Box<CommandError>,
    },
    /// `requiresPython` is not a version specifier.
    #[error("`{range}` is not a range of Python versions")]
    PythonRange {
        /// What it is.
        range: String,
    },
    /// There is no interpreter, and uv could not install one.
    #[error(
        "No Python {range} was found, and uv could not install one ({})",
        reason(failure)
    )]
    NoPython {
        /// The versions that will do.
        range: String,
        /// What happened.
        failure: Box<CommandError>,
    },
    /// A command that makes the environment failed.
    #[error("Cannot make the {preset}: {}", reason(failure))]
    Command {
        /// The preset.
        preset: &'static str,
        /// What happened.
        failure: Box<CommandError>,
    },
    /// The package index answers, and not with what the lock names.
    #[error(
        "The package index at `{host}` does not have what is needed: {}",
        reason(failure)
    )]
    Index {
        /// The index, without user name and password.
        host: String,
        /// What happened.
        failure: Box<CommandError>,
    },
    /// The environment was made and does not work.
    #[error("The installed environment does not work: {detail}")]
    Probe {
        /// What was seen.
        detail: String,
    },
    /// The system refused.
    #[error("Cannot write `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller gave up.
    #[error("Cancelled")]
    Cancelled,
}

impl From<BootstrapError> for EnvError {
    fn from(error: BootstrapError) -> Self {
        Self::Bootstrap(Box::new(error))
    }
}

impl EnvError {
    pub(crate) fn command(preset: &'static str, source: CommandError) -> Self {
        match source {
            CommandError::Cancelled { .. } => Self::Cancelled,
            source => Self::Command {
                preset,
                failure: Box::new(source),
            },
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownPreset { .. } | Self::PresetCycle { .. } => Code::Usage,
            Self::NoUv => Code::UvMissing,
            Self::Bootstrap(error) => error.code(),
            Self::ChosenUv { .. } | Self::KeptUv { .. } => Code::UvBroken,
            Self::PythonRange { .. } => Code::AssetManifest,
            Self::NoPython { .. } => Code::PythonMissing,
            Self::Command { failure, .. } if says_full(failure) => Code::DiskFull,
            Self::Command { .. } | Self::Index { .. } | Self::NotApplied { .. } => {
                Code::InstallFailed
            }
            Self::Probe { .. } => Code::ProbeFailed,
            Self::Io { source, .. } if files::is_full(source) => Code::DiskFull,
            Self::Io { .. } => Code::Io,
            Self::Cancelled => Code::Aborted,
        }
    }

    /// What mends it.
    pub fn hints(&self) -> Vec<String> {
        let retry = || vec!["Run: ktx runtime install --yes".to_owned()];
        match self {
            Self::UnknownPreset { .. } | Self::PresetCycle { .. } | Self::Cancelled => Vec::new(),
            Self::NoUv => vec![
                "Install uv, make sure it is on PATH, and run: ktx runtime install --yes"
                    .to_owned(),
                "Let ktx fetch uv by unsetting KTX_UV_BOOTSTRAP: `unset KTX_UV_BOOTSTRAP`"
                    .to_owned(),
            ],
            Self::Bootstrap(error) => error.hints(),
            Self::ChosenUv { .. } => {
                vec!["Set KTX_UV to a uv that runs, or unset it: `unset KTX_UV`".to_owned()]
            }
            Self::KeptUv { .. } => vec![format!(
                "Choose a runtime root on a file system that allows programs to run on {HOST_PLATFORM}: `export KTX_RUNTIME_ROOT=/path/to/runtime`"
            )],
            Self::NoPython { range, .. } => vec![format!(
                "Install Python {range} from your system's packages or https://www.python.org/downloads/, and run: ktx runtime install --yes"
            )],
            Self::PythonRange { .. } => {
                vec![
                    "Reinstall the package that carries the runtime: `npm install --force`"
                        .to_owned(),
                ]
            }
            Self::Command { failure, .. } if says_full(failure) => {
                vec!["Make room, or choose another place: `export KTX_RUNTIME_ROOT=/path/with/space`".to_owned()]
            }
            Self::Command { failure, .. } if says_untrusted(failure) => vec![
                "Name the certificates of your network or index with `export SSL_CERT_FILE=/path/to/ca.pem`, and run: ktx runtime install --yes".to_owned(),
            ],
            Self::Command { failure, .. } if says_unreachable(failure) => vec![
                "Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`, or name your proxy with `export HTTPS_PROXY=http://HOST:PORT`, and run: ktx runtime install --yes".to_owned(),
            ],
            Self::Index { .. } => vec![
                "Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`, or log in to this network in a browser, and run: ktx runtime install --yes".to_owned(),
            ],
            Self::Command { .. }
            | Self::NotApplied { .. }
            | Self::Probe { .. }
            | Self::Io { .. } => retry(),
        }
    }
}

/// How uv begins what it says of a file that an index gave.
const DOWNLOAD: &str = "Failed to download";

/// Whether a command says any of `words`; only its words tell why it failed.
fn says(error: &CommandError, words: &[&str]) -> bool {
    error
        .output()
        .is_some_and(|output| words.iter().any(|word| output.stderr.contains(word)))
}

/// Whether a command failed because a certificate is not trusted.
fn says_untrusted(error: &CommandError) -> bool {
    says(error, &["invalid peer certificate"])
}

/// Whether a command failed because the package index cannot be reached.
fn says_unreachable(error: &CommandError) -> bool {
    says(error, &["Failed to fetch", DOWNLOAD]) && !says(error, &["Hash mismatch"])
}

/// Whether a command failed because of what the package index answered.
pub(crate) fn says_unserved(error: &CommandError) -> bool {
    says(error, &["No solution found", "Missing `Content-Type`"])
}

/// Whether a command failed for what lies on this machine, where there is room:
/// with uv, that is its cache.
pub(crate) fn says_damaged(error: &CommandError) -> bool {
    let lies_elsewhere = [says_untrusted, says_unreachable, says_unserved, says_full];
    error.output().is_some()
        && !says(error, &[DOWNLOAD])
        && !lies_elsewhere.iter().any(|says| says(error))
}

/// Whether a command failed because the disk is full.
fn says_full(error: &CommandError) -> bool {
    says(
        error,
        &[
            "No space left on device",
            "Disk quota exceeded",
            "os error 28)",
            "os error 122)",
            "os error 112)",
        ],
    )
}

/// What a command says of its failure. uv says `error: …`, then the causes,
/// the deepest last, then what it would do; others have their say at the end.
fn said(stderr: &str) -> Option<String> {
    let lines = || {
        let lines = stderr.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with("hint: "))
    };
    let Some(error) = lines().find_map(|line| line.strip_prefix("error: ")) else {
        return lines().next_back().map(str::to_owned);
    };
    let mut causes = lines().filter_map(|line| {
        line.strip_prefix("cause: ")
            .or_else(|| line.strip_prefix("Caused by: "))
    });
    // The first cause names what was asked for, the last what went wrong.
    let parts = [Some(error), causes.next(), causes.next_back()];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(": "))
}

/// An error's message with what its sources add; libraries' messages often
/// hold only the outermost fact.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_message = cause.to_string();
        if !message.contains(&cause_message) {
            message = format!("{message}: {cause_message}");
        }
        source = cause.source();
    }
    message
}

/// Why a command failed, without its name.
pub(crate) fn reason(error: &CommandError) -> String {
    match error {
        CommandError::Start { source, .. } => source.to_string(),
        CommandError::Failed { reason, output, .. } => {
            said(&output.stderr).unwrap_or_else(|| reason.clone())
        }
        CommandError::Timeout { seconds, .. } => format!("no answer within {seconds} s"),
        CommandError::Cancelled { .. } => "cancelled".to_owned(),
    }
}
