//! Tells failures apart that the HTTP client reports as one, and says which of
//! them are worth another attempt.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode, Url};

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
pub(super) fn refused(response: &Response, url: &Url, peer: Peer) -> Failure {
    let status = response.status();
    if let (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(proxy)) = (status, peer.proxy) {
        return Failure::from(BootstrapError::ProxyAuth { proxy });
    }
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => response
            .headers()
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

/// Finds in a chain of sources what happened before there was an answer.
pub(super) fn classify(error: reqwest::Error, peer: Peer, connect: Duration) -> Failure {
    let error = error.without_url();
    let tries = Tries::default();
    if error.is_timeout() {
        return Failure::from(BootstrapError::Timeout {
            peer,
            waited_for: "connection",
            bound: connect,
            tries,
        });
    }
    if let Some(tls) = find::<rustls::Error>(&error) {
        let reason = tls.to_string();
        return Failure::from(match tls {
            rustls::Error::InvalidCertificate(_) => BootstrapError::Certificate { peer, reason },
            _ => BootstrapError::Tls { peer, reason },
        });
    }
    if error.is_dns() {
        let source = deepest(&error);
        return Failure::from(BootstrapError::Dns {
            peer,
            tries,
            source,
        });
    }
    if let (Some(proxy), Some(answer)) = (&peer.proxy, tunnel_answer(&error)) {
        let proxy = proxy.clone();
        return Failure::from(if answer.contains("authorization") {
            BootstrapError::ProxyAuth { proxy }
        } else {
            BootstrapError::Proxy {
                proxy,
                host: peer.host,
                source: answer.into(),
            }
        });
    }
    if error.is_builder() {
        let source = deepest(&error);
        return Failure::from(BootstrapError::Client { peer, source });
    }
    // A server that is not there stays away for longer than the retries last; a
    // connection that breaks is worth another one.
    let retry = match find::<std::io::Error>(&error).map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::ConnectionAborted) => {
            Retry::AfterPause
        }
        _ if error.is_connect() => Retry::Never,
        _ => Retry::AfterPause,
    };
    Failure {
        error: BootstrapError::Connect {
            peer,
            tries,
            source: deepest(&error),
        },
        retry,
    }
}

/// What the proxy made of `CONNECT` or of the SOCKS greeting. The types of these
/// errors are private, so their text is all there is.
fn tunnel_answer(error: &reqwest::Error) -> Option<String> {
    chain(error)
        .map(ToString::to_string)
        .find_map(|text| text.strip_prefix("tunnel error: ").map(str::to_owned))
        .filter(|text| !text.starts_with("failed to create") && !text.starts_with("io error"))
}

fn find<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}

/// The error and its sources, with what an I/O error wraps: its `source` leaves
/// that out.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        }
    })
}

/// The error at the end of the chain says what happened; those above it say
/// which layer passed it on.
fn deepest(error: &reqwest::Error) -> Cause {
    let last = chain(error).last().map(ToString::to_string);
    last.unwrap_or_default().into()
}
