//! What came of a call.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::call::Chunk;
use crate::channel::Frame;

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The value in the form that was asked for, or why there is none.
    pub result: Result<Vec<u8>, Failure>,
    /// Everything written to standard output, by the code and its children.
    pub stdout: Vec<u8>,
    /// Everything written to standard error, likewise.
    pub stderr: Vec<u8>,
    /// What a reader that gets output as it comes had no room for at the end.
    pub unread: Vec<Chunk>,
    /// How long the code ran, in milliseconds.
    pub duration_ms: f64,
    /// Whether output was cut at the limit.
    pub output_truncated: bool,
}

/// Why a call failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: Kind,
    /// One line for people.
    pub message: String,
    /// What Python prints for it, where Python could.
    pub traceback: Option<String>,
    /// The status that the code exited with.
    #[serde(skip)]
    pub exit_status: Option<i32>,
    /// The signal that ended the interpreter.
    #[serde(skip)]
    pub signal: Option<i32>,
}

impl Failure {
    /// A failure that the supervisor saw, of which Python knows nothing.
    pub fn seen(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            traceback: None,
            exit_status: None,
            signal: None,
        }
    }

    /// What people read: the traceback if there is one.
    pub fn text(&self) -> &str {
        self.traceback.as_deref().unwrap_or(&self.message)
    }
}

/// The sorts of failure. The names are part of the contract.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The code raised and did not catch.
    Exception,
    /// The code does not compile.
    Syntax,
    /// The code ran longer than the request allows.
    Timeout,
    /// The interpreter ended with a status of its own.
    Exit,
    /// A signal ended the interpreter.
    Signal,
    /// The code asked for more memory than a worker may have.
    Memory,
    /// The value has no form that was asked for.
    Unserializable,
    /// The code wrote more than a call may write.
    OutputLimit,
}

impl Kind {
    /// The name that clients know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::Syntax => "syntax",
            Self::Timeout => "timeout",
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Memory => "memory",
            Self::Unserializable => "unserializable",
            Self::OutputLimit => "output-limit",
        }
    }

    /// The sort of failure that a worker names.
    fn of_worker(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"exception" => Self::Exception,
            b"syntax" => Self::Syntax,
            b"exit" => Self::Exit,
            b"memory" => Self::Memory,
            b"unserializable" => Self::Unserializable,
            _ => return None,
        })
    }
}

/// What a worker reports: the value or the failure. `None` if that is not what
/// workers write.
pub fn from_report(report: Frame) -> Option<Result<Vec<u8>, Failure>> {
    if report.field(0) == b"value" {
        return Some(Ok(report.into_field(1)));
    }
    let text = |index| Some(report.text(index)).filter(|text| !text.is_empty());
    Some(Err(Failure {
        kind: Kind::of_worker(report.field(0))?,
        message: report.text(1),
        traceback: text(2),
        exit_status: text(3).and_then(|status| status.parse().ok()),
        signal: None,
    }))
}

/// Bytes as text; those that are not UTF-8 become U+FFFD.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// As callers of `ktx-daemon execute` read it; the value is JSON.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeStruct};

        let value: Option<&RawValue> = match &self.result {
            Ok(value) => Some(serde_json::from_slice(value).map_err(S::Error::custom)?),
            Err(_) => None,
        };
        let mut outcome = serializer.serialize_struct("Outcome", 6)?;
        outcome.serialize_field("success", &self.result.is_ok())?;
        outcome.serialize_field("value", &value)?;
        outcome.serialize_field("stdout", &text(&self.stdout))?;
        outcome.serialize_field("stderr", &text(&self.stderr))?;
        outcome.serialize_field("error", &self.result.as_ref().err())?;
        outcome.serialize_field("durationMs", &self.duration_ms)?;
        outcome.end()
    }
}
