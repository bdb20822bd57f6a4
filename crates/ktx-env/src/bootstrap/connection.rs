//! One connection to a host: name lookup, TCP, the proxy between, and TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::ClientConfig;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_socks::TargetAddr;
use tokio_socks::tcp::{Socks4Stream, Socks5Stream};
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use super::error::Cause;

/// How long an address is waited for before the next one is tried beside it
/// (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The port of SOCKS proxies.
const SOCKS_PORT: u16 = 1080;

/// What bytes go over: TCP, a tunnel through it, or TLS over either.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no answer.
pub(super) enum Broken {
    /// The name has no address.
    Dns(io::Error),
    /// There is no connection.
    Connect(io::Error),
    /// There is no connection yet, after this time.
    Late(Duration),
    /// There is no secure connection.
    Tls(rustls::Error),
    /// The proxy asks for a user name and a password.
    ProxyAuth,
    /// The proxy did not connect.
    Proxy(Cause),
    /// The connection did not last until the answer.
    Http(hyper::Error),
    /// There is no request that could be sent.
    Request(Cause),
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

impl From<hyper::http::Error> for Broken {
    fn from(error: hyper::http::Error) -> Self {
        Self::Request(error.into())
    }
}

/// Opens a connection over which the address can be asked.
pub(super) async fn open(
    url: &Url,
    proxy: Option<&Url>,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, Broken> {
    let stream = match proxy {
        None => Box::new(tcp(url).await?),
        Some(proxy) if is_socks(proxy) => socks(url, proxy).await?,
        Some(proxy) => {
            let stream = secured(Box::new(tcp(proxy).await?), proxy, tls).await?;
            if url.scheme() == "http" {
                return Ok(stream);
            }
            tunnel(stream, url, proxy).await?
        }
    };
    secured(stream, url, tls).await
}

/// Whether a proxy speaks SOCKS rather than HTTP.
pub(super) fn is_socks(proxy: &Url) -> bool {
    proxy.scheme().starts_with("socks")
}

/// Sends a request and waits for the head of the answer. The connection lives as
/// long as the handle.
pub(super) async fn ask(
    stream: Box<dyn Stream>,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), Broken> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // How it ends is also known to whoever reads the answer.
        let _ = connection.with_upgrades().await;
    }));
    Ok((sender.send_request(request).await?, connection))
}

/// The user name and password of an address as basic authentication.
pub(super) fn authorization(url: &Url) -> Option<HeaderValue> {
    let (user, password) = credentials(url)?;
    let encoded = BASE64_STANDARD.encode([user.as_slice(), b":", &password].concat());
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn credentials(url: &Url) -> Option<(Vec<u8>, Vec<u8>)> {
    let decoded = |text| percent_decode_str(text).collect();
    let password = url.password();
    (!url.username().is_empty() || password.is_some()).then(|| {
        (
            decoded(url.username()),
            decoded(password.unwrap_or_default()),
        )
    })
}

async fn tcp(url: &Url) -> Result<TcpStream, Broken> {
    let stream = connect(lookup(url).await?).await.map_err(Broken::Connect)?;
    // A small request must not wait for what is on its way.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn lookup(url: &Url) -> Result<impl Iterator<Item = SocketAddr>, Broken> {
    lookup_host(host_and_port(url)).await.map_err(Broken::Dns)
}

/// Connects to the first address that answers: one that is not reachable, as
/// those of IPv6 often are, costs only its head start.
async fn connect(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        attempts.spawn(TcpStream::connect(address));
        match timeout(HEAD_START, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = error,
            _ => {}
        }
    }
    while let Some(attempt) = attempts.join_next().await {
        match attempt? {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Puts TLS over the stream if the address asks for it.
async fn secured(
    stream: Box<dyn Stream>,
    url: &Url,
    tls: &Arc<ClientConfig>,
) -> Result<Box<dyn Stream>, Broken> {
    if url.scheme() != "https" {
        return Ok(stream);
    }
    let name = match url.host() {
        Some(Host::Ipv4(address)) => ServerName::IpAddress(IpAddr::V4(address.into())),
        Some(Host::Ipv6(address)) => ServerName::IpAddress(IpAddr::V6(address.into())),
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.to_owned()).map_err(|error| Broken::Request(error.into()))?
        }
        None => return Err(Broken::Request("the address has no host".into())),
    };
    let connected = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await;
    match connected.map_err(io::Error::downcast) {
        Ok(stream) => Ok(Box::new(stream)),
        Err(Ok(error)) => Err(Broken::Tls(error)),
        Err(Err(error)) => Err(Broken::Connect(error)),
    }
}

/// Asks an HTTP proxy for a connection to the address's host.
async fn tunnel(
    stream: Box<dyn Stream>,
    url: &Url,
    proxy: &Url,
) -> Result<Box<dyn Stream>, Broken> {
    let (host, port) = (url.host_str().unwrap_or_default(), port(url));
    let authority = format!("{host}:{port}");
    let mut request = Request::connect(&authority).header(HOST, &authority);
    if let Some(value) = authorization(proxy) {
        request = request.header(PROXY_AUTHORIZATION, value);
    }
    let (answer, _connection) = ask(stream, request.body(Empty::new())?).await?;
    match answer.status() {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Broken::ProxyAuth),
        status if status.is_success() => {
            Ok(Box::new(TokioIo::new(hyper::upgrade::on(answer).await?)))
        }
        status => Err(Broken::Proxy(
            format!("it answered with status {status}").into(),
        )),
    }
}

/// Asks a SOCKS proxy for a connection to the address's host. As in curl, the
/// proxy looks up the name if the scheme is `socks4a` or `socks5h`.
async fn socks(url: &Url, proxy: &Url) -> Result<Box<dyn Stream>, Broken> {
    let stream = tcp(proxy).await?;
    let version_4 = proxy.scheme().starts_with("socks4");
    let remote = matches!(proxy.scheme(), "socks4a" | "socks5h");
    let target = if remote && let Some(Host::Domain(name)) = url.host() {
        TargetAddr::Domain(name.into(), port(url))
    } else {
        let address = lookup(url)
            .await?
            .find(|address| address.is_ipv4() || !version_4);
        TargetAddr::Ip(address.ok_or_else(|| Broken::Dns(io::ErrorKind::NotFound.into()))?)
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let credentials = credentials(proxy).map(|(user, password)| (text(user), text(password)));
    let connected = match (credentials, version_4) {
        (None, true) => Socks4Stream::connect_with_socket(stream, target)
            .await
            .map(Socks4Stream::into_inner),
        (Some((user, _)), true) => {
            Socks4Stream::connect_with_userid_and_socket(stream, target, &user)
                .await
                .map(Socks4Stream::into_inner)
        }
        (None, false) => Socks5Stream::connect_with_socket(stream, target)
            .await
            .map(Socks5Stream::into_inner),
        (Some((user, password)), false) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, &user, &password)
                .await
                .map(Socks5Stream::into_inner)
        }
    };
    match connected {
        Ok(stream) => Ok(Box::new(stream)),
        Err(tokio_socks::Error::Io(error)) => Err(Broken::Connect(error)),
        Err(error) => Err(Broken::Proxy(error.into())),
    }
}

fn host_and_port(url: &Url) -> (&str, u16) {
    let host = url.host_str().unwrap_or_default();
    // An IPv6 address stands in brackets.
    (host.trim_matches(['[', ']']), port(url))
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(SOCKS_PORT)
}
