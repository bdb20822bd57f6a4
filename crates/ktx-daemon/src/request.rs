//! One call, as a client writes it, and as the worker reads it.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::error::Error;

/// The most that a request may take, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What to run. Keys that are not listed are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Python source text; not blank.
    pub code: String,
    /// What the code sees as `upstream`; without it that name does not exist.
    #[serde(default, deserialize_with = "present")]
    pub upstream: Option<Box<RawValue>>,
    /// How long the code may run, in milliseconds; unbounded if absent.
    pub timeout_ms: Option<u64>,
    /// Working directory; an empty temporary one, removed afterwards, if absent.
    pub cwd: Option<PathBuf>,
    /// `sys.argv[1:]`.
    #[serde(default)]
    pub args: Vec<String>,
    /// `sys.argv[0]`, `__file__`, and the name in tracebacks.
    #[serde(default)]
    pub filename: String,
    /// The form of the value.
    #[serde(default)]
    pub result: ResultForm,
}

/// The form in which a call's value is returned.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ResultForm {
    /// As JSON; a value that has no JSON form fails the call.
    #[default]
    Json,
    /// As the string that `repr` gives; null if there is no value.
    Repr,
}

/// Tells `null` from absent, which `Option` alone does not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Request {
    /// Reads one request, to the end of `input`.
    pub fn read(input: impl Read) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        input
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Input { source })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let request: Self =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        request.validate()?;
        Ok(request)
    }

    /// How long the code may run.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// The bytes that the worker reads: the number of fields, then each field
    /// as its length, a line feed, and its bytes. `channel` is the descriptor
    /// (on Windows: the handle) that the worker reports to.
    pub fn to_worker(&self, channel: usize) -> Vec<u8> {
        let channel = channel.to_string();
        let form = match self.result {
            ResultForm::Json => "json",
            ResultForm::Repr => "repr",
        };
        let upstream = self.upstream.as_deref().map_or("", RawValue::get);
        let fields = [&channel, form, &self.filename, upstream, &self.code];
        let fields = fields
            .into_iter()
            .chain(self.args.iter().map(String::as_str));
        let mut bytes = format!("{}\n", 5 + self.args.len()).into_bytes();
        for field in fields {
            bytes.extend_from_slice(format!("{}\n", field.len()).as_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }

    fn validate(&self) -> Result<(), Error> {
        if self.code.trim().is_empty() {
            return Err(invalid("`code` is empty".to_owned()));
        }
        if let Some(cwd) = &self.cwd
            && !cwd.is_dir()
        {
            return Err(invalid(format!(
                "`cwd` is not a directory: `{}`",
                cwd.display()
            )));
        }
        Ok(())
    }
}

fn invalid(reason: String) -> Error {
    Error::Request { reason }
}

#[cfg(test)]
mod tests {
    use super::Request;

    fn refused(text: &str) -> String {
        Request::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_the_contract_does_not_name() {
        assert!(refused(r#"{"code":"1","timeout":1}"#).contains("unknown field `timeout`"));
        assert!(refused(r#"{"code":" \n"}"#).contains("`code` is empty"));
        assert!(refused(r#"{"code":"1","timeout_ms":-1}"#).contains("expected u64"));
        assert!(refused(r#"{"code":"1","cwd":"/nonexistent"}"#).contains("not a directory"));
        assert!(refused("").contains("EOF"));
        assert!(refused(r#"{"code":"1"} {}"#).contains("trailing"));
    }

    #[test]
    fn tells_a_null_upstream_from_none() {
        let read = |text: &str| Request::read(text.as_bytes()).unwrap().upstream;
        assert_eq!(
            read(r#"{"code":"1","upstream":null}"#).unwrap().get(),
            "null"
        );
        assert!(read(r#"{"code":"1"}"#).is_none());
    }

    #[test]
    fn writes_fields_with_their_lengths() {
        let request = Request::read(r#"{"code":"é","args":["a b"]}"#.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(request.to_worker(7)).unwrap(),
            "6\n1\n74\njson0\n0\n2\né3\na b"
        );
    }
}
