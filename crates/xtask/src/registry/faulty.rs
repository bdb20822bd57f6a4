//! A proxy in front of a real registry: what npm asks through it goes wrong in chosen ways.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::{Own, Registry};

const ACCEPTED_WITHIN: Duration = Duration::from_mins(1);

/// What goes wrong with a package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// Publishing is answered with this status; the registry hears nothing of it.
    Refused(u16),
    /// The connection is closed after the registry accepted.
    ClosedAfterwards,
    /// The registry accepted, and no answer comes.
    SilentAfterwards,
    /// Reading is answered with this status.
    Unreadable(u16),
}

/// The proxy; it ends with this value.
pub(crate) struct Faulty {
    address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    upstream: String,
    /// By package: the fault, and how many more times it happens.
    faults: Mutex<HashMap<String, (Fault, usize)>>,
    /// By package: how often the registry accepted it.
    accepted: Mutex<HashMap<String, usize>>,
    has_accepted: Condvar,
}

impl Faulty {
    /// Starts a proxy in front of a registry.
    pub(crate) fn before(registry: &Registry) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::new(State {
            upstream: host(registry.url()).to_owned(),
            faults: Mutex::default(),
            accepted: Mutex::default(),
            has_accepted: Condvar::new(),
        });
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    /// The registry as it is seen through the proxy, with the same user; npm's files are in `dir`.
    pub(crate) fn registry(&self, registry: &Registry, dir: &Path) -> Registry {
        let own = registry.own.as_ref().unwrap();
        let user_config = fs_err::read_to_string(&own.user_config_path).unwrap();
        let user_config_path = dir.join("npmrc");
        fs_err::write(
            &user_config_path,
            user_config.replace(host(registry.url()), &self.address.to_string()),
        )
        .unwrap();
        Registry::at(&format!("http://{}/", self.address), &registry.scope).with_own(Own {
            user_config_path,
            cache_dir: own.cache_dir.clone(),
        })
    }

    /// Lets something go wrong with a package the next `times`.
    pub(crate) fn set(&self, package: &str, fault: Fault, times: usize) {
        let mut faults = self.state.faults.lock().unwrap();
        faults.insert(package.to_owned(), (fault, times));
    }

    /// Lets nothing go wrong any more.
    pub(crate) fn clear(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// How often the registry accepted a package.
    pub(crate) fn accepted(&self, package: &str) -> usize {
        let accepted = self.state.accepted.lock().unwrap();
        accepted.get(package).copied().unwrap_or_default()
    }

    /// Waits until the registry has accepted a package.
    pub(crate) fn wait_until_accepted(&self, package: &str) {
        let accepted = self.state.accepted.lock().unwrap();
        let (accepted, waited) = self
            .state
            .has_accepted
            .wait_timeout_while(accepted, ACCEPTED_WITHIN, |accepted| {
                !accepted.contains_key(package)
            })
            .unwrap();
        drop(accepted);
        assert!(!waited.timed_out(), "`{package}` was not accepted");
    }
}

impl State {
    /// The fault that happens now, if one does.
    fn fault(&self, method: &Method, package: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (fault, times) = faults.get_mut(package)?;
        let is_for_reading = matches!(fault, Fault::Unreadable(_));
        if *times == 0 || is_for_reading != (method == Method::GET) {
            return None;
        }
        *times -= 1;
        Some(*fault)
    }

    fn note_accepted(&self, package: &str) {
        let mut accepted = self.accepted.lock().unwrap();
        *accepted.entry(package.to_owned()).or_default() += 1;
        self.has_accepted.notify_all();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // A closed connection is one of the faults.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let package = request.uri().path().trim_start_matches('/').to_owned();
    let package = package.replace("%2f", "/").replace("%2F", "/");
    let is_publication = request.method() == Method::PUT;
    let fault = state.fault(request.method(), &package);
    if let Some(Fault::Refused(status) | Fault::Unreadable(status)) = fault {
        // npm waits for its upload to be read.
        request.into_body().collect().await?;
        return Ok(Response::builder()
            .status(StatusCode::from_u16(status)?)
            .body(Full::from("{\"error\":\"injected\"}"))?);
    }
    let response = forward(request, &state.upstream).await?;
    if is_publication && response.status().is_success() {
        state.note_accepted(&package);
    }
    match fault {
        Some(Fault::ClosedAfterwards) => Err("closed".into()),
        Some(Fault::SilentAfterwards) => {
            std::future::pending::<Infallible>().await;
            unreachable!("nothing ends it")
        }
        _ => Ok(response),
    }
}

async fn forward(
    request: Request<Incoming>,
    upstream: &str,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(upstream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(hyper::header::CONNECTION);
    let body = Full::new(body.collect().await?.to_bytes());
    let (parts, body) = sender
        .send_request(Request::from_parts(parts, body))
        .await?
        .into_parts();
    let body = Full::new(body.collect().await?.to_bytes());
    let mut response = Response::from_parts(parts, body);
    // The whole body is at hand, so its length is stated.
    response
        .headers_mut()
        .remove(hyper::header::TRANSFER_ENCODING);
    Ok(response)
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}
