//! Package indexes and proxies on loopback, well or badly behaved: what each
//! answers is data.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Longer than any bound of a test.
const FOREVER: Duration = Duration::from_mins(1);

/// What a server does with one request.
#[derive(Clone)]
pub(super) enum Reply {
    /// A whole answer.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Announces the first number of bytes, sends these, and waits.
    Stall(usize, Vec<u8>),
    /// Announces the number of bytes, sends these, and closes.
    Truncate(usize, Vec<u8>),
    /// Sends these and closes, without having announced a length.
    Unannounced(Vec<u8>),
    /// Announces the number of bytes and sends one of them now and then.
    Trickle(usize),
    /// Takes the request and never answers.
    Silence,
    /// Resets the connection.
    Reset,
    /// Connects to the address and passes everything on.
    Tunnel(SocketAddr),
}

impl Reply {
    pub(super) fn html(body: impl Into<String>) -> Self {
        let kind = ("content-type", "text/html; charset=utf-8".to_owned());
        Self::Whole(200, vec![kind], body.into().into_bytes())
    }

    pub(super) fn json(body: impl Into<String>) -> Self {
        let kind = "application/vnd.pypi.simple.v1+json".to_owned();
        Self::Whole(200, vec![("content-type", kind)], body.into().into_bytes())
    }

    pub(super) fn bytes(body: &[u8]) -> Self {
        let kind = ("content-type", "application/octet-stream".to_owned());
        Self::Whole(200, vec![kind], body.to_vec())
    }

    pub(super) fn status(status: u16) -> Self {
        Self::Whole(status, Vec::new(), Vec::new())
    }

    pub(super) fn redirect(location: impl Into<String>) -> Self {
        Self::Whole(302, vec![("location", location.into())], Vec::new())
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// `/simple/uv/`; for a proxy a whole address, or `host:port`.
    pub(super) target: String,
    /// The head, in lower case.
    pub(super) head: String,
}

/// A server that lives as long as its value.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves HTTP; the rule gets the target and how often it was asked before.
    pub(super) async fn start(rule: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::bind("127.0.0.1:0", None, rule).await
    }

    /// Serves HTTP on an address, or HTTPS with a certificate.
    pub(super) async fn bind(
        address: &str,
        tls: Option<TlsAcceptor>,
        rule: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let rule = Arc::new(rule);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (rule, log, tls) = (Arc::clone(&rule), Arc::clone(&log), tls.clone());
                tokio::spawn(async move {
                    let decide = |request: Seen| {
                        let mut log = log.lock().unwrap();
                        let before = log.iter().filter(|s: &&Seen| s.target == request.target);
                        let reply = rule(&request.target, before.count());
                        log.push(request);
                        reply
                    };
                    match tls {
                        Some(tls) => {
                            if let Ok(mut stream) = tls.accept(stream).await {
                                serve(&mut stream, decide).await;
                            }
                        }
                        None => {
                            if serve(&mut stream, decide).await {
                                stream.set_zero_linger().unwrap();
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The address of the index that this server is.
    pub(super) fn index(&self) -> String {
        format!("http://{}/simple", self.address)
    }
}

/// Answers one request; true if the connection is to be reset.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    decide: impl FnOnce(Seen) -> Reply,
) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let head = head.to_lowercase();
    // A client that has gone away is no failure of the server.
    let _ = match decide(Seen { target, head }) {
        Reply::Whole(status, headers, body) => {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            send(stream, status, &headers.concat(), Some(body.len()), &body).await
        }
        Reply::Stall(length, body) => {
            let sent = send(stream, 200, "", Some(length), &body).await;
            tokio::time::sleep(FOREVER).await;
            sent
        }
        Reply::Truncate(length, body) => send(stream, 200, "", Some(length), &body).await,
        Reply::Unannounced(body) => send(stream, 200, "", None, &body).await,
        Reply::Trickle(length) => {
            let mut sent = send(stream, 200, "", Some(length), b"P").await;
            while sent.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                sent = stream.write_all(b"K").await;
            }
            sent
        }
        Reply::Silence => {
            tokio::time::sleep(FOREVER).await;
            Ok(())
        }
        Reply::Reset => return true,
        Reply::Tunnel(address) => {
            let mut server = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::io::copy_bidirectional(stream, &mut server)
                .await
                .map(|_| ())
        }
    };
    let _ = stream.shutdown().await;
    false
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    headers: &str,
    length: Option<usize>,
    body: &[u8],
) -> std::io::Result<()> {
    let length = length.map_or(String::new(), |length| {
        format!("content-length: {length}\r\n")
    });
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

/// A certificate authority of its own, as PEM, and a server that it vouches for.
pub(super) fn private_authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}
