//! Where a daemon is reached. Nothing else knows what sockets and ports look
//! like.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The room for the path of a socket in `sockaddr_un`, its final NUL included.
const SOCKET_PATH_ROOM: usize = if cfg!(target_os = "linux") { 108 } else { 104 };

/// How the text of a Unix endpoint begins.
const UNIX: &str = "unix:";

/// A socket or an address. As text: `unix:/path/to/socket`, `127.0.0.1:4711`
/// or `[::1]:4711`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
    /// A TCP address. In a request to listen, port 0 is any free one.
    Tcp(SocketAddr),
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The path of the socket is not absolute.
    #[error("The socket path of `{endpoint}` is not absolute")]
    Relative {
        /// What was given.
        endpoint: String,
    },
    /// The path of the socket holds a NUL.
    #[error("The socket path of `{}` contains a NUL", endpoint.escape_debug())]
    Nul {
        /// What was given.
        endpoint: String,
    },
    /// It is none of the forms.
    #[error(
        "`{endpoint}` is not an endpoint, expected one like `unix:/path/to/socket` or `127.0.0.1:4711`"
    )]
    Form {
        /// What was given.
        endpoint: String,
    },
}

impl Endpoint {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address.ip().is_loopback(),
        }
    }

    /// The path of the socket, if it is one.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

/// How the names of sockets end. Clients on gRPC's C core (Python, Ruby, C++)
/// give the escaped path of a socket as the `:authority`, which HTTP/2 servers
/// refuse as malformed: an escape may only stand before an `@`. So there is one,
/// and a host behind it. <https://github.com/grpc/grpc/issues/38142>
const SOCKET_SUFFIX: &str = "@localhost";

impl Endpoint {
    /// A new socket in `directory`; `None` if its path is too long for the
    /// system. `id` tells it from the sockets that were there before.
    pub fn new_socket(directory: &Path, id: u32) -> Option<Self> {
        let path = directory.join(format!("{id:08x}{SOCKET_SUFFIX}"));
        fits(&path).then_some(Self::Unix(path))
    }

    /// Any free port that only this machine reaches.
    pub fn any_port() -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, 0).into())
    }
}

/// Whether `path` has a name as [`Endpoint::new_socket`] gives it.
pub fn is_socket_name(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(SOCKET_SUFFIX))
        .is_some_and(|id| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether the system can have a socket at a path of this length.
pub fn fits(socket: &Path) -> bool {
    socket.as_os_str().as_encoded_bytes().len() < SOCKET_PATH_ROOM
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let endpoint = || text.to_owned();
        let Some(path) = text.strip_prefix(UNIX) else {
            return match text.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => Err(EndpointError::Form {
                    endpoint: endpoint(),
                }),
            };
        };
        if path.contains('\0') {
            return Err(EndpointError::Nul {
                endpoint: endpoint(),
            });
        }
        if !path.starts_with('/') {
            return Err(EndpointError::Relative {
                endpoint: endpoint(),
            });
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["unix:/run/ktx/a b.sock", "127.0.0.1:4711", "[::1]:0"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert!(endpoint.is_local());
        }
        assert!(!"10.0.0.1:80".parse::<Endpoint>().unwrap().is_local());
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "unix:",
            "unix:relative",
            "unix:/a\0b",
            "/run/a.sock",
            "localhost:80",
            "127.0.0.1",
            "http://127.0.0.1:80",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_socket_has_a_name_that_tells_what_it_is() {
        let endpoint = Endpoint::new_socket(Path::new("/run"), 0xbeef).unwrap();
        assert_eq!(endpoint.to_string(), "unix:/run/0000beef@localhost");
        assert!(is_socket_name(endpoint.socket_path().unwrap()));
        assert!(!is_socket_name(Path::new("/run/docker.sock")));
        let long = format!("/{}", "a".repeat(100));
        assert_eq!(Endpoint::new_socket(Path::new(&long), 1), None);
    }

    #[cfg(unix)]
    #[test]
    fn knows_the_longest_path_that_the_system_binds() {
        let longest = PathBuf::from(format!("/{}", "a".repeat(SOCKET_PATH_ROOM - 2)));
        assert!(fits(&longest));
        assert!(std::os::unix::net::SocketAddr::from_pathname(&longest).is_ok());
        let too_long = PathBuf::from(format!("/{}", "a".repeat(SOCKET_PATH_ROOM - 1)));
        assert!(!fits(&too_long));
        assert!(std::os::unix::net::SocketAddr::from_pathname(&too_long).is_err());
    }
}
