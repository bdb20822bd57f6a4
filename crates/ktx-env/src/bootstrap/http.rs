//! One download after another from an index: bounded waits, redirects, retries
//! of what passes, and each failure told apart.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use hyper::{Request, Response};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

use super::connection::{self, Broken};
use super::error::{BootstrapError, Peer, Tries, host_of, shown};
use super::failure::{Failure, Retry, broken, late, refused};
use super::settings::{Certificates, Environment, Proxies};
use super::tls;

/// The longest wait for a connection, name lookup and TLS included.
pub const CONNECT: Duration = Duration::from_secs(10);
/// The longest wait for the head of an answer, the connection included.
pub const ANSWER: Duration = Duration::from_secs(15);
/// The longest wait for the next bytes of a body.
pub const STALL: Duration = Duration::from_secs(15);
/// The longest time without progress in a download, over all its attempts.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The bytes that count as progress; less is as good as nothing.
pub const PROGRESS_BYTES: u64 = 16 * 1024;
/// The attempts for one download.
pub const ATTEMPTS: u32 = 3;
/// The pause before the second attempt; it doubles with each further one.
pub const PAUSE: Duration = Duration::from_millis(500);
/// The redirects that are followed in one attempt.
pub const REDIRECTS: usize = 5;
/// The size of an index page that is still read.
pub const INDEX_BYTES: u64 = 64 * 1024 * 1024;

/// How long and how far to go; the default is what the constants say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// See [`CONNECT`].
    pub connect: Duration,
    /// See [`ANSWER`].
    pub answer: Duration,
    /// See [`STALL`].
    pub stall: Duration,
    /// See [`SILENCE`].
    pub silence: Duration,
    /// See [`ATTEMPTS`].
    pub attempts: u32,
    /// See [`PAUSE`].
    pub pause: Duration,
    /// See [`REDIRECTS`].
    pub redirects: usize,
    /// See [`INDEX_BYTES`].
    pub index_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: CONNECT,
            answer: ANSWER,
            stall: STALL,
            silence: SILENCE,
            attempts: ATTEMPTS,
            pause: PAUSE,
            redirects: REDIRECTS,
            index_bytes: INDEX_BYTES,
        }
    }
}

/// What is known of an answer before its body.
#[derive(Debug)]
pub(super) struct Head {
    /// Where it came from, after redirects and without user name and password.
    pub(super) url: Url,
    /// The value of `Content-Type`, or nothing.
    pub(super) content_type: String,
    /// The announced size.
    pub(super) length: Option<u64>,
}

/// Where a download goes.
pub(super) trait Sink: Send {
    /// An answer begins: what an earlier attempt wrote is void.
    fn begin(&mut self, head: Head) -> Result<(), BootstrapError>;
    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BootstrapError>;
    /// The size that the whole must have, if the sink knows it.
    fn expected(&self) -> Option<u64>;
}

/// A client for one bootstrap.
pub(super) struct Transport {
    tls: Arc<ClientConfig>,
    proxies: Proxies,
    bounds: Bounds,
}

/// An answer whose body is still to come.
struct Answer {
    response: Response<Incoming>,
    /// Where it came from, after redirects.
    url: Url,
    peer: Peer,
    /// What keeps the body coming.
    _connection: AbortOnDropHandle<()>,
}

/// How far a download has come, over all its attempts.
struct Progress {
    /// When it last came on.
    at: Instant,
    /// The most bytes that an attempt had then.
    bytes: u64,
}

impl Transport {
    pub(super) fn new(env: &Environment, bounds: Bounds) -> Result<Self, BootstrapError> {
        let proxies = Proxies::from_env(env)?;
        let tls = tls::client_config(Certificates::from_env(env)?).map_err(|error| {
            BootstrapError::Setting {
                variable: ktx_os::variables::SSL_CERT_FILE,
                reason: error.to_string(),
            }
        })?;
        Ok(Self {
            tls: Arc::new(tls),
            proxies,
            bounds,
        })
    }

    /// Downloads an address into a sink, with retries.
    pub(super) async fn download(
        &self,
        url: &Url,
        accept: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), BootstrapError> {
        let started = Instant::now();
        let mut progress = Progress {
            at: started,
            bytes: 0,
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.attempt(url, accept, sink, &mut progress).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let pause = match failure.retry {
                Retry::Never => None,
                Retry::AfterPause => Some(self.bounds.pause * 2_u32.saturating_pow(attempt - 1)),
                Retry::After(pause) => Some(pause),
            };
            let in_time = |pause: &Duration| *pause < self.patience(&progress);
            match pause.filter(in_time) {
                Some(pause) if attempt < self.bounds.attempts => {
                    tracing::debug!(attempt, error = %failure.error, "trying again");
                    sleep(pause).await;
                }
                _ => {
                    return Err(failure.error.after(Tries {
                        attempts: attempt,
                        elapsed: started.elapsed(),
                    }));
                }
            }
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        accept: &str,
        sink: &mut dyn Sink,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let Answer {
            response,
            url: mut from,
            peer,
            _connection,
        } = self.answer(url, accept, progress).await?;
        strip_credentials(&mut from);
        let (head, mut body) = response.into_parts();
        let length = body.size_hint().exact();
        let content_type = head.headers.get(CONTENT_TYPE);
        sink.begin(Head {
            url: from,
            content_type: content_type
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            length,
        })?;

        let expected = sink.expected().or(length);
        let mut received = 0;
        loop {
            let (wait, bound) = self.wait(self.bounds.stall, progress);
            let Ok(frame) = timeout(wait, body.frame()).await else {
                return Err(Failure::from(BootstrapError::Stalled {
                    peer,
                    received,
                    expected,
                    bound,
                    tries: Tries::default(),
                }));
            };
            match frame {
                Some(Ok(frame)) => {
                    // Trailers are no part of the body.
                    let bytes = frame.into_data().unwrap_or_default();
                    received += bytes.len() as u64;
                    if received >= progress.bytes + PROGRESS_BYTES {
                        progress.at = Instant::now();
                        progress.bytes = received;
                    }
                    sink.write(&bytes)?;
                }
                None if expected.is_none_or(|expected| received >= expected) => return Ok(()),
                // An answer without a length ends when the connection does.
                None | Some(Err(_)) => {
                    return Err(Failure {
                        error: BootstrapError::Truncated {
                            peer,
                            received,
                            expected,
                            tries: Tries::default(),
                        },
                        retry: Retry::AfterPause,
                    });
                }
            }
        }
    }

    /// Follows redirects to an answer that is a success.
    async fn answer(
        &self,
        url: &Url,
        accept: &str,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let mut url = url.clone();
        for _ in 0..=self.bounds.redirects {
            let peer = self.proxies.peer(&url);
            let (wait, bound) = self.wait(self.bounds.answer, progress);
            let (response, connection) = match timeout(wait, self.ask(&url, accept)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return Err(broken(error, peer)),
                Err(_) => return Err(late("answer", bound, peer)),
            };
            if response.status().is_success() {
                return Ok(Answer {
                    response,
                    url,
                    peer,
                    _connection: connection,
                });
            }
            match redirect(&response, &url) {
                Some(next) => url = next?,
                None => return Err(refused(response.status(), response.headers(), &url, peer)),
            }
        }
        Err(Failure::from(BootstrapError::TooManyRedirects {
            peer: self.proxies.peer(&url),
            limit: self.bounds.redirects,
        }))
    }

    /// Asks over a connection of its own.
    async fn ask(
        &self,
        url: &Url,
        accept: &str,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Broken> {
        let proxy = self.proxies.proxy_for(url);
        let bound = self.bounds.connect;
        let stream = timeout(bound, connection::open(url, proxy, &self.tls))
            .await
            .map_err(|_| Broken::Late(bound))??;
        connection::ask(stream, request(url, proxy, accept)?).await
    }

    /// How long to wait now, and the bound that this follows from.
    fn wait(&self, own: Duration, progress: &Progress) -> (Duration, Duration) {
        let patience = self.patience(progress);
        if own <= patience {
            (own, own)
        } else {
            (patience, self.bounds.silence)
        }
    }

    fn patience(&self, progress: &Progress) -> Duration {
        self.bounds.silence.saturating_sub(progress.at.elapsed())
    }
}

/// What is sent to the host, or to the HTTP proxy that asks the host itself.
fn request(
    url: &Url,
    proxy: Option<&Url>,
    accept: &str,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let proxy = proxy.filter(|proxy| url.scheme() == "http" && !connection::is_socks(proxy));
    let mut bare = url.clone();
    strip_credentials(&mut bare);
    let target = match proxy {
        Some(_) => &bare[..Position::AfterQuery],
        None => &bare[Position::BeforePath..Position::AfterQuery],
    };
    let mut request = Request::get(target)
        .header(HOST, host_of(url))
        .header(ACCEPT, accept)
        .header(USER_AGENT, concat!("ktx/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    let credentials = [(AUTHORIZATION, Some(url)), (PROXY_AUTHORIZATION, proxy)];
    for (name, from) in credentials {
        if let Some(value) = from.and_then(connection::authorization) {
            request = request.header(name, value);
        }
    }
    request.body(Empty::new())
}

/// The address that a redirect leads to; the user name and password go along
/// only as far as the scheme, host and port stay the same.
fn redirect(response: &Response<Incoming>, from: &Url) -> Option<Result<Url, BootstrapError>> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut to = from.join(location).ok()?;
    let allowed = match from.scheme() {
        "https" => to.scheme() == "https",
        _ => matches!(to.scheme(), "http" | "https"),
    };
    if !allowed {
        return Some(Err(BootstrapError::UnsafeRedirect {
            from: shown(from),
            to: shown(&to),
        }));
    }
    share_credentials(from, &mut to);
    Some(Ok(to))
}

/// Gives an address the user name and password of another one with the same
/// origin, and takes away any that it brought along.
pub(super) fn share_credentials(from: &Url, to: &mut Url) {
    strip_credentials(to);
    if from.origin() == to.origin() {
        // Both have a host, so neither call can fail.
        let _ = to.set_username(from.username());
        let _ = to.set_password(from.password());
    }
}

fn strip_credentials(url: &mut Url) {
    let _ = url.set_username("");
    let _ = url.set_password(None);
}
