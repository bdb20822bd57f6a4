//! What came of a call, as clients read it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What came of a call.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Whether the code ran to its end and its value could be returned.
    pub success: bool,
    /// The value in the form that was asked for; null if the call failed.
    pub value: Option<Box<RawValue>>,
    /// Everything written to standard output, by the code and its children.
    pub stdout: String,
    /// Everything written to standard error, likewise.
    pub stderr: String,
    /// Why the call failed.
    pub error: Option<Failure>,
    /// How long the code ran, in milliseconds.
    #[serde(rename = "durationMs")]
    pub duration_ms: f64,
}

/// Why a call failed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: Kind,
    /// One line for people.
    pub message: String,
    /// What Python prints for it, where Python could.
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure that the supervisor saw, of which Python knows nothing.
    pub fn seen(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            traceback: None,
        }
    }
}

/// The sorts of failure. The names are part of the contract.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
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
    /// The value has no JSON form.
    Unserializable,
    /// The code wrote more than a call may write.
    OutputLimit,
}

/// What the worker says of a call: a value or a failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The value.
    pub value: Option<Box<RawValue>>,
    /// The failure.
    pub error: Option<Failure>,
}
