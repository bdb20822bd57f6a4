//! What npm answers: a value, or an error with a code.

use std::fmt;

use serde_json::Value;
use xshell::Cmd;

/// Codes after which the same request may well succeed.
const MAY_PASS: &[&str] = &[
    "E408",
    "E409",
    "E425",
    "E429",
    "E500",
    "E502",
    "E503",
    "E504",
    "EAI_AGAIN",
    "ECONNABORTED",
    "ECONNRESET",
    "EIDLETIMEOUT",
    "ECONNECTIONTIMEOUT",
    "ENETUNREACH",
    "EPIPE",
    "ERESPONSETIMEOUT",
    "ERR_SOCKET_TIMEOUT",
    "ETIMEDOUT",
    "ETRANSFERTIMEOUT",
    "FETCH_ERROR",
];

/// Why npm could not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) struct NpmError {
    /// The first words of the command.
    command: String,
    /// npm's own code, such as `E404`; some of its errors have none.
    code: Option<String>,
    summary: String,
}

impl NpmError {
    /// npm could not be started.
    pub(super) fn not_run(error: impl fmt::Display) -> Self {
        Self {
            command: "npm".to_owned(),
            code: None,
            summary: error.to_string(),
        }
    }

    /// The registry answered that it has no such thing.
    pub(crate) fn is_absent(&self) -> bool {
        self.has_code(&["E404"])
    }

    /// Nobody is logged in, or not with enough rights.
    pub(crate) fn is_refused(&self) -> bool {
        self.has_code(&["E401", "E403", "ENEEDAUTH", "EOTP"])
    }

    /// Who publishes has to prove it a second time.
    pub(crate) fn wants_one_time_password(&self) -> bool {
        self.has_code(&["EOTP"])
    }

    /// Trying again is reasonable.
    pub(crate) fn may_pass(&self) -> bool {
        self.has_code(MAY_PASS)
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.code
            .as_deref()
            .is_some_and(|code| codes.contains(&code))
    }
}

impl fmt::Display for NpmError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` failed: ", self.command)?;
        match &self.code {
            Some(code) => write!(formatter, "{} ({code})", self.summary),
            None => write!(formatter, "{}", self.summary),
        }
    }
}

impl std::error::Error for NpmError {}

/// Runs npm with `--json` and gives what it printed.
pub(super) fn read(command: Cmd<'_>) -> Result<String, NpmError> {
    let shown = shown(&command.to_string());
    let output = command
        .quiet()
        .ignore_status()
        .output()
        .map_err(NpmError::not_run)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(error_in(shown, &stdout, &stderr))
}

/// What npm printed, as a value; nothing is null.
pub(super) fn parse(text: &str) -> Result<Value, NpmError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text)
        .map_err(|error| NpmError::not_run(format!("npm answered with no JSON: {error}")))
}

fn error_in(command: String, stdout: &str, stderr: &str) -> NpmError {
    // Older ones print the object to stderr.
    let object = [stdout, stderr]
        .iter()
        .find_map(|text| serde_json::from_str::<Value>(text).ok())
        .map(|answer| answer["error"].clone())
        .filter(Value::is_object);
    let text = |key: &str| -> Option<String> {
        let value = object.as_ref()?[key].as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let lines = || {
        stderr.lines().filter_map(|line| {
            line.strip_prefix("npm error ")
                .or_else(|| line.strip_prefix("npm ERR! "))
        })
    };
    NpmError {
        command,
        code: text("code").or_else(|| {
            lines()
                .find_map(|line| line.strip_prefix("code "))
                .map(str::to_owned)
        }),
        summary: text("summary")
            .or_else(|| {
                lines()
                    .find(|line| !line.starts_with("code "))
                    .map(str::to_owned)
            })
            .unwrap_or_else(|| stderr.trim().to_owned()),
    }
}

/// The command without the settings that every one has.
fn shown(command: &str) -> String {
    command
        .split_whitespace()
        .filter(|word| !word.starts_with("--registry=") && !word.contains(":registry="))
        .filter(|word| *word != "--json")
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::{error_in, shown};

    const OBJECT: &str = r#"{ "error": { "code": "E404", "summary": "No match found for version 2.0.0", "detail": "" } }"#;

    #[test]
    fn reads_the_code_wherever_npm_puts_it() {
        for (stdout, stderr) in [
            (OBJECT, "npm error code E404\n"),
            ("", OBJECT),
            (
                "",
                "npm warn x\nnpm error code E404\nnpm error 404 Not Found\n",
            ),
            ("", "npm ERR! code E404\nnpm ERR! 404 Not Found\n"),
        ] {
            let error = error_in("npm view".to_owned(), stdout, stderr);
            assert!(error.is_absent() && !error.may_pass(), "{error:?}");
        }
    }

    #[test]
    fn an_error_without_a_code_is_neither_absence_nor_passing() {
        let error = error_in("npm publish".to_owned(), "", "npm error Cannot\n");
        assert!(!error.is_absent() && !error.may_pass() && !error.is_refused());
        assert_eq!(error.to_string(), "`npm publish` failed: Cannot");
    }

    #[test]
    fn shows_the_command_without_what_is_always_there() {
        let command = "npm --registry=http://u:p@x/ --@scope:registry=http://x/ ping --json";
        assert_eq!(shown(command), "npm ping");
    }
}
