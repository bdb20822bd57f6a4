//! Tells failures apart that a person would repair in different ways, and says
//! which of them are worth another attempt.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};
use url::Url;

use super::connection::Broken;
use super::error::{BootstrapError, Cause, Peer, Tries, shown};

/// What ended an attempt.
pub(super) struct Failure {
    pub(super) error: BootstrapError,
    pub(super) retry: Retry,
}

/// Whether another attempt can end otherwise.
pub(super) enum Retry {
    Never,
    AfterPause,
    After(Duration),
}

impl From<BootstrapError> for Failure {
    fn from(error: BootstrapError) -> Self {
        Self {
            error,
            retry: Retry::Never,
        }
    }
}

/// What a status says that is neither a success nor a redirect.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, url: &Url, peer: Peer) -> Failure {
    if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(proxy)) = (status, peer.proxy) {
        return Failure::from(BootstrapError::ProxyAuth { proxy });
    }
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map_or(Retry::AfterPause, |seconds| {
                Retry::After(Duration::from_secs(seconds))
            }),
        status if status.is_server_error() => Retry::AfterPause,
        _ => Retry::Never,
    };
    Failure {
        error: BootstrapError::Status {
            url: shown(url),
            status: status.as_u16(),
            tries: Tries::default(),
        },
        retry,
    }
}

/// What did not come in time.
pub(super) fn late(waited_for: &'static str, bound: Duration, peer: Peer) -> Failure {
    Failure::from(BootstrapError::Timeout {
        peer,
        waited_for,
        bound,
        tries: Tries::default(),
    })
}

/// What happened before there was an answer.
pub(super) fn broken(broken: Broken, peer: Peer) -> Failure {
    match broken {
        Broken::Dns(source) => Failure::from(BootstrapError::Dns {
            peer,
            tries: Tries::default(),
            source: source.into(),
        }),
        // A server that is not there stays away for longer than the retries
        // last; a connection that breaks is worth another one.
        Broken::Connect(source) => {
            let retry = match source.kind() {
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Retry::AfterPause,
                _ => Retry::Never,
            };
            unconnected(peer, source.into(), retry)
        }
        Broken::Late(bound) => late("connection", bound, peer),
        Broken::Tls(error) => unsecured(peer, &error),
        // A server can refuse a client after the client has taken the connection
        // for secure.
        Broken::Http(error) => match tls_error(&error) {
            Some(error) => unsecured(peer, error),
            None => unconnected(peer, deepest(error), Retry::AfterPause),
        },
        Broken::ProxyAuth => Failure::from(BootstrapError::ProxyAuth {
            proxy: peer.proxy.unwrap_or_default(),
        }),
        Broken::Proxy(source) => Failure::from(BootstrapError::Proxy {
            proxy: peer.proxy.unwrap_or_default(),
            host: peer.host,
            source,
        }),
        Broken::Request(source) => Failure::from(BootstrapError::Client { peer, source }),
    }
}

fn unconnected(peer: Peer, source: Cause, retry: Retry) -> Failure {
    Failure {
        error: BootstrapError::Connect {
            peer,
            tries: Tries::default(),
            source,
        },
        retry,
    }
}

fn unsecured(peer: Peer, error: &rustls::Error) -> Failure {
    let reason = error.to_string();
    Failure::from(match error {
        rustls::Error::InvalidCertificate(_) => BootstrapError::Certificate { peer, reason },
        _ => BootstrapError::Tls { peer, reason },
    })
}

fn tls_error(error: &hyper::Error) -> Option<&rustls::Error> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref()
}

/// The error at the end of the chain says what happened; the one above it says
/// only that HTTP was interrupted.
fn deepest(error: hyper::Error) -> Cause {
    match error.source() {
        Some(source) => source.to_string().into(),
        None => error.into(),
    }
}
