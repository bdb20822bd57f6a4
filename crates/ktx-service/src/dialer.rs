//! What a daemon is asked, by whoever can speak its protocol.

use std::time::Duration;

use async_trait::async_trait;

use crate::state::Record;

/// How long a daemon that runs may take to answer before it is replaced.
pub(crate) const HEALTH: Duration = Duration::from_secs(2);

/// How long somebody who only looks waits for an answer.
pub(crate) const GLANCE: Duration = Duration::from_millis(1500);

/// How long a daemon may take to answer that it is about to end.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Makes authenticated calls. Each is bounded by the caller.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// `grpc.health.v1.Health/Check` of everything; an error says why the
    /// answer is not that it serves.
    async fn health(&self, endpoint: &str, token: &str) -> Result<(), String>;

    /// `protocol.DomainPluginService/Shutdown`.
    async fn shutdown(&self, endpoint: &str, token: &str) -> Result<(), String>;
}

/// Whether the daemon answers that it serves, within `bound`.
pub(crate) async fn is_healthy(
    dialer: &dyn Dialer,
    record: &Record,
    bound: Duration,
) -> Result<(), String> {
    let endpoint = record.state.endpoint.to_string();
    let call = dialer.health(&endpoint, record.token.as_str());
    within(bound, call).await
}

/// Asks the daemon to end.
pub(crate) async fn shut_down(dialer: &dyn Dialer, record: &Record) -> Result<(), String> {
    let endpoint = record.state.endpoint.to_string();
    let call = dialer.shutdown(&endpoint, record.token.as_str());
    within(SHUTDOWN, call).await
}

async fn within(
    bound: Duration,
    call: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    match tokio::time::timeout(bound, call).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} ms", bound.as_millis())),
    }
}
