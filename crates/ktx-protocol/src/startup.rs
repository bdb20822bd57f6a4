//! What a daemon and its starter say to each other before the daemon is known
//! to anybody else.
//!
//! The daemon writes one line of JSON, [`Ready`], to its standard output when
//! it listens. The starter calls it, publishes where it is, and then writes
//! [`PUBLISHED`] to its standard input. A daemon that reads the end of its
//! input before that is known to nobody, and ends.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// What the starter writes once others can find the daemon.
pub const PUBLISHED: &str = "published\n";

/// The exit status of a daemon whose environment is gone.
pub const ENVIRONMENT_GONE: u8 = 3;

/// What a daemon says when it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ready {
    /// Its process, which is not the one that was started.
    pub pid: u32,
    /// The start of that process, as `ktx_os::process` gives it.
    pub start_time: u64,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What every call must carry.
    pub token: Token,
}

/// A secret of 256 bits: 64 hexadecimal digits in lower case.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

/// A text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A token has 64 hexadecimal digits in lower case")]
pub struct NotAToken;

impl Token {
    /// The token with these bits.
    pub fn new(bits: [u8; 32]) -> Self {
        use fmt::Write;

        Self(bits.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes what is written");
            text
        }))
    }

    /// The secret itself, not to be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAToken)
        }
    }
}

impl TryFrom<String> for Token {
    type Error = NotAToken;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_reads_as_it_was_written() {
        let ready = Ready {
            pid: 42,
            start_time: 4711,
            endpoint: "unix:/run/ktx.sock".parse().unwrap(),
            token: Token::new([0xa5; 32]),
        };
        let line = serde_json::to_string(&ready).unwrap();
        assert_eq!(
            line,
            format!(
                r#"{{"pid":42,"startTime":4711,"endpoint":"unix:/run/ktx.sock","token":"{}"}}"#,
                "a5".repeat(32)
            )
        );
        assert_eq!(serde_json::from_str::<Ready>(&line).unwrap(), ready);
    }

    #[test]
    fn a_token_is_not_shown() {
        assert!(!format!("{:?}", Token::new([0xa5; 32])).contains("a5"));
        for text in ["", "A5", &"A5".repeat(32), &"a5".repeat(33)] {
            assert_eq!(text.parse::<Token>(), Err(NotAToken));
        }
    }
}
