//! The services that a daemon serves, and who may call them.

mod auth;
mod plugin;
mod provider;
mod v1;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ktx_protocol::DESCRIPTORS;
use ktx_protocol::ktx::v1::python_server::PythonServer;
use ktx_protocol::protocol::domain_plugin_service_server::DomainPluginServiceServer;
use ktx_protocol::protocol::python_service_server::PythonServiceServer;
use ktx_protocol::startup::Token;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tower::util::MapResponseLayer;

use crate::error::Error;
use crate::listen::Listener;
use crate::request::MAX_BYTES;
use crate::supervisor::{Refusal, Supervisor};

/// What a message may take besides code and data, in bytes.
const ENVELOPE: u64 = 64 * 1024;

/// How often a client is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Calls that one connection may have under way.
const MAX_STREAMS: u32 = 1024;

/// How much may be on its way before it is read, in bytes: enough for large
/// values, and what a client that does not read can make this process hold.
const WINDOW: u32 = 1024 * 1024;

/// A failure of the server itself.
pub type TransportError = tonic::transport::Error;

/// Serves callers that carry `token` until `supervisor` leaves.
pub async fn serve(
    listener: Listener,
    supervisor: Arc<Supervisor>,
    token: &Token,
    identity: Option<Identity>,
) -> Result<(), TransportError> {
    let leaving = supervisor.leaving.clone();
    let services = services(supervisor).await;
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    let server = match identity {
        Some(identity) => server.tls_config(ServerTlsConfig::new().identity(identity))?,
        None => server,
    };
    let has_refused = Arc::new(AtomicBool::new(false));
    let note = move |response: Response<Body>| {
        let status = response.headers().get(Status::GRPC_STATUS);
        // The code for a message that is larger than what is read.
        if status.is_some_and(|status| status == "11") && !has_refused.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("refused a message that is too large; later ones are not logged");
        }
        response
    };
    let router = server
        .layer(InterceptorLayer::new(auth::Authentication::new(token)))
        .layer(MapResponseLayer::new(note))
        .add_routes(services);
    let ended = leaving.cancelled_owned();
    match listener {
        #[cfg(unix)]
        Listener::Unix(listener) => {
            let incoming = crate::listen::own_clients(listener);
            router.serve_with_incoming_shutdown(incoming, ended).await
        }
        Listener::Tcp(listener) => {
            let incoming = tonic::transport::server::TcpIncoming::from(listener)
                .with_nodelay(Some(true))
                .with_keepalive(Some(KEEPALIVE));
            router.serve_with_incoming_shutdown(incoming, ended).await
        }
    }
}

async fn services(supervisor: Arc<Supervisor>) -> Routes {
    let limit = usize::try_from(MAX_BYTES + ENVELOPE).unwrap_or(usize::MAX);
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in ["", "ktx.v1.Python", "protocol.PythonService"] {
        health
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    let mut routes = Routes::new(
        PythonServer::new(v1::V1(Arc::clone(&supervisor)))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX),
    )
    .add_service(
        PythonServiceServer::new(provider::Provider(Arc::clone(&supervisor)))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX),
    )
    .add_service(DomainPluginServiceServer::new(plugin::Plugin(supervisor)))
    .add_service(health_service);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    match reflection {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::warn!(%error, "there is no reflection"),
    }
    routes
}

/// A token that is cancelled when whoever wants the outcome is gone.
fn on_drop() -> (CancellationToken, DropGuard) {
    let cancellation = CancellationToken::new();
    (cancellation.clone(), cancellation.drop_guard())
}

fn cancelled() -> Status {
    Status::cancelled("The call was cancelled, and everything that it started has ended")
}

fn too_late() -> Status {
    Status::deadline_exceeded("The call took too long, and everything that it started has ended")
}

/// Why a call was not run, as clients of gRPC learn it.
fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Failed(Error::Request { .. }) => Code::InvalidArgument,
        Refusal::Failed(
            Error::NoInterpreter { .. }
            | Error::BeingRemoved { .. }
            | Error::Removed { .. }
            | Error::Startup { .. },
        )
        | Refusal::Leaving => Code::Unavailable,
        Refusal::Failed(
            Error::Input { .. }
            | Error::Lease { .. }
            | Error::System { .. }
            | Error::Listen { .. }
            | Error::Exposed { .. }
            | Error::Setting { .. }
            | Error::Report,
        ) => Code::Internal,
        Refusal::Duplicate(_) => Code::AlreadyExists,
        Refusal::Busy | Refusal::TooManySessions(_) => Code::ResourceExhausted,
        Refusal::SessionLost(_) => Code::FailedPrecondition,
    };
    let mut message = refusal.to_string();
    if let Refusal::Failed(error) = refusal {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
    }
    Status::new(code, message)
}
