//! What a daemon is asked, by whoever can speak its protocol.

use std::time::Duration;

use crate::state::Record;

/// How long a daemon that runs may take to answer before it is replaced.
pub(crate) const HEALTH: Duration = Duration::from_secs(2);

/// How long a daemon that has just begun to listen may take to answer.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// How long somebody who only looks waits for an answer.
pub(crate) const GLANCE: Duration = Duration::from_millis(1500);

/// How long a daemon may take to answer that it is about to end.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Makes authenticated calls, each of which blocks for at most `bound`. An
/// error says why there is not the answer that there should be.
pub trait Dialer: Send + Sync {
    /// `grpc.health.v1.Health/Check` of everything; the answer is that it
    /// serves.
    fn health(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String>;

    /// `protocol.DomainPluginService/Shutdown`.
    fn shutdown(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String>;
}

/// Whether the daemon answers that it serves, within `bound`.
pub(crate) fn is_healthy(
    dialer: &dyn Dialer,
    record: &Record,
    bound: Duration,
) -> Result<(), String> {
    let endpoint = record.state.endpoint.to_string();
    dialer.health(&endpoint, record.token.as_str(), bound)
}

/// Asks the daemon to end.
pub(crate) fn shut_down(dialer: &dyn Dialer, record: &Record) -> Result<(), String> {
    let endpoint = record.state.endpoint.to_string();
    dialer.shutdown(&endpoint, record.token.as_str(), SHUTDOWN)
}
