//! One call, as clients ask for it, and as the worker reads it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::channel::Frame;
use crate::error::Error;

/// The most that a request may take, in bytes.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Python source text; not blank.
    pub code: String,
    /// What the code sees as `upstream`, and its form; without it that name
    /// does not exist.
    pub upstream: Option<(Form, Vec<u8>)>,
    /// How long the code may run; unbounded if absent.
    pub timeout: Option<Duration>,
    /// Working directory; an empty temporary one, removed afterwards, if absent.
    pub cwd: Option<PathBuf>,
    /// `sys.argv[1:]`.
    pub args: Vec<String>,
    /// Environment variables that are set besides.
    pub env: BTreeMap<String, String>,
    /// `sys.argv[0]`, `__file__`, and the name in tracebacks.
    pub filename: String,
    /// The form of the value.
    pub form: Form,
    /// What the code may write to standard output and error together, in
    /// bytes; the supervisor's limit if absent.
    pub max_output: Option<u64>,
    /// What each process of the call may take of the memory, in bytes; the
    /// supervisor's limit if absent.
    pub max_memory: Option<u64>,
}

/// The form in which a value travels.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As JSON; a value that has no JSON form fails the call.
    #[default]
    Json,
    /// As `MessagePack`, likewise.
    #[serde(skip)]
    Msgpack,
    /// As the JSON string that `repr` gives; null if there is no value.
    Repr,
}

impl Form {
    /// The word for it that workers know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Repr => "repr",
        }
    }
}

/// How a worker goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It ends.
    Once,
    /// It keeps its globals and waits for the next one.
    Session,
}

/// A request as `ktx-daemon execute` reads it. Keys that are not listed are
/// refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    code: String,
    #[serde(default, deserialize_with = "present")]
    upstream: Option<Box<RawValue>>,
    timeout_ms: Option<u64>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    filename: String,
    #[serde(default)]
    result: Form,
}

/// Tells `null` from absent, which `Option` alone does not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Request {
    /// Reads one request in JSON, to the end of `input`.
    pub fn read(input: impl Read) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        input
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::Input { source })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let document: Document =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        let upstream = document.upstream.map(|text| (Form::Json, text));
        let request = Self {
            code: document.code,
            upstream: upstream.map(|(form, text)| (form, text.get().into())),
            timeout: document.timeout_ms.map(Duration::from_millis),
            cwd: document.cwd,
            args: document.args,
            filename: document.filename,
            form: document.result,
            ..Self::default()
        };
        request.validate()?;
        Ok(request)
    }

    /// Refuses what no worker could run.
    pub fn validate(&self) -> Result<(), Error> {
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
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(invalid("`args` holds a NUL character".to_owned()));
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(invalid(format!("`env` cannot hold `{name}`")));
            }
        }
        if let Some((Form::Json, text)) = &self.upstream {
            serde_json::from_slice::<IgnoredAny>(text)
                .map_err(|error| invalid(format!("`upstream` is not JSON: {error}")))?;
        }
        Ok(())
    }

    /// The frame that the worker reads. `scratch` is the working directory if
    /// the request has none.
    pub fn to_frame(&self, mode: Mode, scratch: Option<&std::path::Path>) -> Vec<u8> {
        let mode = match mode {
            Mode::Once => "once",
            Mode::Session => "session",
        };
        let directory = self.cwd.as_deref().or(scratch);
        let directory = directory.map_or_else(Vec::new, |path| {
            path.as_os_str().as_encoded_bytes().to_owned()
        });
        let (upstream_form, upstream) = match &self.upstream {
            Some((form, bytes)) => (form.as_str(), bytes.as_slice()),
            None => ("", &[][..]),
        };
        let mut args = Vec::new();
        for arg in &self.args {
            args.extend_from_slice(arg.as_bytes());
            args.push(0);
        }
        let mut env = Vec::new();
        for (name, value) in &self.env {
            env.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
        Frame::encode(&[
            mode.as_bytes(),
            self.form.as_str().as_bytes(),
            self.filename.as_bytes(),
            &directory,
            upstream_form.as_bytes(),
            upstream,
            self.code.as_bytes(),
            &args,
            &env,
        ])
    }
}

fn invalid(reason: String) -> Error {
    Error::Request { reason }
}

#[cfg(test)]
mod tests {
    use super::{Form, Mode, Request};

    fn refused(text: &str) -> String {
        Request::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_the_contract_does_not_name() {
        assert!(refused(r#"{"code":"1","timeout":1}"#).contains("unknown field `timeout`"));
        assert!(refused(r#"{"code":" \n"}"#).contains("`code` is empty"));
        assert!(refused(r#"{"code":"1","timeout_ms":-1}"#).contains("expected u64"));
        assert!(refused(r#"{"code":"1","cwd":"/nonexistent"}"#).contains("not a directory"));
        assert!(refused(r#"{"code":"1","args":["\u0000"]}"#).contains("NUL"));
        assert!(refused("").contains("EOF"));
        assert!(refused(r#"{"code":"1"} {}"#).contains("trailing"));
    }

    #[test]
    fn tells_a_null_upstream_from_none() {
        let read = |text: &str| Request::read(text.as_bytes()).unwrap().upstream;
        assert_eq!(
            read(r#"{"code":"1","upstream":null}"#),
            Some((Form::Json, b"null".to_vec()))
        );
        assert!(read(r#"{"code":"1"}"#).is_none());
    }

    #[test]
    fn ends_each_argument_so_that_an_empty_one_is_told_from_none() {
        let request = Request::read(r#"{"code":"é","args":["a b",""]}"#.as_bytes()).unwrap();
        let frame = request.to_frame(Mode::Once, None);
        assert!(frame.ends_with(b"\0\0\0\x05a b\0\0\0\0\0\0"));
    }
}
