//! What can go wrong while uv is fetched, one variant for each cause that a
//! person would repair in a different way.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ktx_os::code::Code;
use url::Url;

/// The source of an error that comes from a library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Whom the bytes were asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The host, with its port if that is not the scheme's own.
    pub host: String,
    /// The proxy between, without user name and password.
    pub proxy: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.host)?;
        match &self.proxy {
            Some(proxy) => write!(f, " through the proxy `{proxy}`"),
            None => Ok(()),
        }
    }
}

/// How hard it was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    /// The number of attempts.
    pub attempts: u32,
    /// The time from the first attempt to the error.
    pub elapsed: Duration,
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.attempts == 1 { "" } else { "s" };
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "{} attempt{plural} in {seconds:.1} s", self.attempts)
    }
}

/// Why there is no uv.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// uv is not pinned for this platform.
    #[error("No uv is pinned for the platform `{platform}` (known: {})", known.join(", "))]
    NoPin {
        /// The platform id.
        platform: String,
        /// The platform ids that have a pin.
        known: Vec<String>,
    },
    /// An environment variable has a value that cannot be used.
    #[error("Could not use `{variable}`: {reason}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, without passwords.
        reason: String,
    },
    /// A name has no address.
    #[error("Could not resolve {peer} ({tries})")]
    Dns {
        /// Whom.
        peer: Peer,
        /// How hard it was tried.
        tries: Tries,
        /// The resolver's answer.
        source: Cause,
    },
    /// No connection, or none that lasted until an answer.
    #[error("Could not connect to {peer} ({tries})")]
    Connect {
        /// Whom.
        peer: Peer,
        /// How hard it was tried.
        tries: Tries,
        /// The system's answer.
        source: Cause,
    },
    /// The certificate is not trusted.
    #[error("The certificate of {peer} is not trusted: {reason}")]
    Certificate {
        /// Whom.
        peer: Peer,
        /// What the verifier says.
        reason: String,
    },
    /// TLS failed for another reason than the certificate.
    #[error("No secure connection to {peer}: {reason}")]
    Tls {
        /// Whom.
        peer: Peer,
        /// What the TLS library says.
        reason: String,
    },
    /// The proxy wants a user name and a password, or other ones.
    #[error("The proxy `{proxy}` asks for a user name and a password (status 407)")]
    ProxyAuth {
        /// The proxy, without user name and password.
        proxy: String,
    },
    /// The proxy refused to connect.
    #[error("The proxy `{proxy}` did not connect to `{host}`")]
    Proxy {
        /// The proxy, without user name and password.
        proxy: String,
        /// The host behind it.
        host: String,
        /// What it answered, as far as that is known.
        source: Cause,
    },
    /// Something did not come in time.
    #[error(
        "No {waited_for} from {peer} within {} s ({tries})",
        bound.as_secs_f64()
    )]
    Timeout {
        /// Whom.
        peer: Peer,
        /// `connection` or `answer`.
        waited_for: &'static str,
        /// The time that was waited.
        bound: Duration,
        /// How hard it was tried.
        tries: Tries,
    },
    /// The answer began and then nothing more came.
    #[error(
        "{peer} stopped sending after {received} of {} bytes: nothing came for {} s ({tries})",
        shown_size(*expected),
        bound.as_secs_f64()
    )]
    Stalled {
        /// Whom.
        peer: Peer,
        /// The bytes that came.
        received: u64,
        /// The bytes that were expected, if that is known.
        expected: Option<u64>,
        /// The time that was waited.
        bound: Duration,
        /// How hard it was tried.
        tries: Tries,
    },
    /// The answer ended too early.
    #[error(
        "{peer} closed the connection after {received} of {} bytes ({tries})",
        shown_size(*expected)
    )]
    Truncated {
        /// Whom.
        peer: Peer,
        /// The bytes that came.
        received: u64,
        /// The bytes that were expected, if that is known.
        expected: Option<u64>,
        /// How hard it was tried.
        tries: Tries,
    },
    /// Redirects without end.
    #[error("{peer} redirects more than {limit} times")]
    TooManyRedirects {
        /// The last one that redirected.
        peer: Peer,
        /// How many redirects are followed.
        limit: usize,
    },
    /// A redirect from https to something else.
    #[error("Refused to follow a redirect from `{from}` to `{to}`")]
    UnsafeRedirect {
        /// The address that redirected, without user name, password and query.
        from: String,
        /// Where to, likewise.
        to: String,
    },
    /// An answer that is not a success.
    #[error("`{url}` answered with status {status} ({tries})")]
    Status {
        /// The address, without user name, password and query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How hard it was tried.
        tries: Tries,
    },
    /// A page where the index should be: a login page, or another site.
    #[error("`{url}` is not a package index with uv in it")]
    NotAnIndex {
        /// The address, without user name, password and query.
        url: String,
    },
    /// A page where the wheel should be.
    #[error("`{url}` answered with a web page instead of `{file}`")]
    NotAWheel {
        /// The address, without user name, password and query.
        url: String,
        /// The name of the wheel.
        file: String,
    },
    /// The index does not have the pinned file.
    #[error("`{url}` does not list `{file}`")]
    FileNotListed {
        /// The name of the wheel.
        file: String,
        /// The project's page, without user name, password and query.
        url: String,
    },
    /// The index page is longer than any index page.
    #[error("`{url}` is longer than {limit} bytes")]
    TooLarge {
        /// The address, without user name, password and query.
        url: String,
        /// How much is read.
        limit: u64,
    },
    /// A file of another size than the pinned one.
    #[error("Size mismatch: `{file}` has {actual} bytes instead of {expected}")]
    Size {
        /// The name of the wheel.
        file: String,
        /// The pinned size.
        expected: u64,
        /// The size that was announced, or the bytes that came.
        actual: u64,
    },
    /// A file of the pinned size with other bytes.
    #[error("Checksum mismatch: `{file}` has sha256 {actual} instead of {expected}")]
    Checksum {
        /// The name of the wheel, or of the binary in it.
        file: String,
        /// The pinned digest.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The verified wheel does not hold the pinned binary.
    #[error("Could not unpack `{file}`: {reason}")]
    Archive {
        /// The name of the wheel.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is full, or the quota used up.
    #[error("No space left for uv in `{}`", path.display())]
    DiskFull {
        /// What was written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file system refused.
    #[error("Could not write `{}`", path.display())]
    Io {
        /// What was written.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The HTTP client could not be made or refused the request.
    #[error("Could not ask {peer}")]
    Client {
        /// Whom.
        peer: Peer,
        /// What the library says.
        source: Cause,
    },
}

impl BootstrapError {
    /// The stable code: `KTX_UV_NETWORK` when no answer came, `KTX_UV_RESPONSE`
    /// when one came that is of no use, `KTX_UV_CHECKSUM` when the bytes are
    /// others than the pinned ones.
    pub fn code(&self) -> Code {
        match self {
            Self::NoPin { .. } => Code::UvMissing,
            Self::Setting { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Certificate { .. }
            | Self::Tls { .. }
            | Self::ProxyAuth { .. }
            | Self::Proxy { .. }
            | Self::Timeout { .. }
            | Self::Stalled { .. }
            | Self::Truncated { .. }
            | Self::Client { .. } => Code::UvNetwork,
            Self::TooManyRedirects { .. }
            | Self::UnsafeRedirect { .. }
            | Self::Status { .. }
            | Self::NotAnIndex { .. }
            | Self::NotAWheel { .. }
            | Self::FileNotListed { .. }
            | Self::TooLarge { .. } => Code::UvResponse,
            Self::Size { .. } | Self::Checksum { .. } | Self::Archive { .. } => Code::UvChecksum,
            Self::DiskFull { .. } => Code::DiskFull,
            Self::Io { .. } => Code::Io,
        }
    }

    /// What to do about it: the likeliest repair first, the way without any
    /// network last. Each begins with a verb and contains a command.
    pub fn hints(&self) -> Vec<String> {
        let first = match self {
            Self::Setting { variable, .. } => Some(format!(
                "Correct the variable, or remove it with `unset {variable}`"
            )),
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Client { .. } => Some(
                "Name your proxy with `export HTTPS_PROXY=http://HOST:PORT` if the network \
                     has one"
                    .to_owned(),
            ),
            Self::Certificate { .. } => Some(
                "Name the certificate authority of your network with \
                 `export SSL_CERT_FILE=/path/to/ca.pem`"
                    .to_owned(),
            ),
            Self::Tls { .. } => Some(
                "Check the scheme and port in `echo $UV_DEFAULT_INDEX $HTTPS_PROXY`".to_owned(),
            ),
            Self::ProxyAuth { .. } => Some(
                "Give the proxy a user name and a password with \
                 `export HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT`"
                    .to_owned(),
            ),
            Self::Proxy { host, .. } => Some(format!(
                "Go past the proxy, if the network allows it, with `export NO_PROXY={host}`"
            )),
            Self::Status {
                status: 401 | 403, ..
            } => Some(
                "Give the index a user name and a password with \
                 `export UV_DEFAULT_INDEX=https://USER:PASSWORD@HOST/simple`"
                    .to_owned(),
            ),
            Self::NotAnIndex { .. } | Self::NotAWheel { .. } => Some(
                "Log in to the network in a browser, then run `ktx runtime install`".to_owned(),
            ),
            Self::Stalled { .. } | Self::Truncated { .. } => {
                Some("Try again with `ktx runtime install`".to_owned())
            }
            Self::DiskFull { path, .. } => Some(format!(
                "Free some space: `df -h {}`",
                quoted(path.parent().unwrap_or(path))
            )),
            Self::Io { path, .. } => Some(format!(
                "Check who may write there: `ls -ld {}`",
                quoted(path.parent().unwrap_or(path))
            )),
            Self::NoPin { .. }
            | Self::TooManyRedirects { .. }
            | Self::UnsafeRedirect { .. }
            | Self::Status { .. }
            | Self::FileNotListed { .. }
            | Self::TooLarge { .. }
            | Self::Size { .. }
            | Self::Checksum { .. }
            | Self::Archive { .. } => None,
        };
        let mut hints = Vec::from_iter(first);
        if matches!(self, Self::DiskFull { .. } | Self::Io { .. }) {
            return hints;
        }
        if !matches!(self, Self::NoPin { .. }) {
            hints.push(
                "Use another package index with `export UV_DEFAULT_INDEX=https://HOST/simple`"
                    .to_owned(),
            );
        }
        hints.push(
            "Install uv yourself (https://docs.astral.sh/uv), then name it with \
             `export KTX_UV=/path/to/uv`"
                .to_owned(),
        );
        hints
    }

    /// An error of the file system, with a full disk told apart.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io { path, source },
        }
    }

    /// The same error, with what is only known at the end.
    pub(super) fn after(mut self, spent: Tries) -> Self {
        if let Self::Dns { tries, .. }
        | Self::Connect { tries, .. }
        | Self::Timeout { tries, .. }
        | Self::Stalled { tries, .. }
        | Self::Truncated { tries, .. }
        | Self::Status { tries, .. } = &mut self
        {
            *tries = spent;
        }
        self
    }
}

/// The address without what may be secret: user name, password, and the query,
/// which carries signatures in redirects to storage.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_of(url), url.path())
}

/// The host, with its port if that is not the scheme's own.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn shown_size(expected: Option<u64>) -> String {
    expected.map_or_else(
        || "an unknown number of".to_owned(),
        |size| size.to_string(),
    )
}

/// The path as one word of a POSIX shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
