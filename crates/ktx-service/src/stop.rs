//! The end of daemons: asked for first, then forced, and believed only when
//! it was seen.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ktx_os::lock;
use ktx_os::process::{Identity, Process, Signal};
use ktx_protocol::endpoint::Endpoint;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dialer::{Dialer, shut_down};
use crate::error::ServiceError;
use crate::installation::Scope;
use crate::place::{Daemons, Place};
use crate::spawn::ended;
use crate::state::{Record, Seen, look};

/// How long a daemon that agreed to end may take. It gives its callers some
/// seconds to read their last answers.
const FAREWELL: Duration = Duration::from_secs(10);

/// How long a daemon that was signalled may take to end by itself.
const TERMINATION: Duration = Duration::from_secs(3);

/// How long the processes beside a daemon may take to end what it left.
const SWEEP: Duration = Duration::from_secs(5);

/// How long the system may take to end what was killed.
const DEATH: Duration = Duration::from_secs(5);

/// What became of a daemon that was to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopStatus {
    /// It ran, and is gone.
    Stopped,
    /// It was gone before.
    AlreadyStopped,
}

/// A daemon that does not run any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Whether it ran.
    pub status: StopStatus,
    /// The number that its process had.
    pub pid: u32,
    /// Where it listened.
    pub endpoint: Endpoint,
    /// The state that was removed.
    pub state_file: PathBuf,
    /// The version that it belonged to.
    pub version: String,
    /// The project that it belonged to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_dir: Option<PathBuf>,
}

impl StopStatus {
    /// Whether any of several daemons ran.
    pub fn of_all(stopped: &[Stopped]) -> Self {
        if stopped.iter().any(|one| one.status == Self::Stopped) {
            Self::Stopped
        } else {
            Self::AlreadyStopped
        }
    }
}

/// Where daemons are, and the means to ask them.
#[derive(Clone)]
pub struct Stop {
    /// Where they are.
    pub daemons: Daemons,
    /// Asks them.
    pub dialer: Arc<dyn Dialer>,
}

/// Ends the daemons of this version and scope, whatever environment they run
/// in. They are seen to be gone when this returns.
///
/// # Errors
///
/// One of the things that went wrong, after everything else was ended.
pub async fn stop(stop: &Stop, version: &str, scope: &Scope) -> Result<Vec<Stopped>, ServiceError> {
    let is_meant = |seen: &Seen| match seen {
        Seen::Alive(record) => record.is_of(version, scope),
        Seen::Dead { record, .. } => record
            .as_ref()
            .is_some_and(|record| record.is_of(version, scope)),
        // It does not say whose it is.
        Seen::Nothing | Seen::Newer => false,
    };
    stop.every(&is_meant).await
}

/// Ends every daemon under the runtime root: of each version, the user's and
/// those of projects.
///
/// # Errors
///
/// As [`stop`].
pub async fn stop_all(stop: &Stop) -> Result<Vec<Stopped>, ServiceError> {
    stop.every(&|_| true).await
}

impl Stop {
    async fn every(
        &self,
        is_meant: &(dyn Fn(&Seen) -> bool + Send + Sync),
    ) -> Result<Vec<Stopped>, ServiceError> {
        let mut ending = JoinSet::new();
        let mut failure = None;
        for place in self.daemons.places()? {
            match look(&place) {
                Ok(seen) if is_meant(&seen) => {
                    let stop = self.clone();
                    ending.spawn(async move { stop.one(&place).await });
                }
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        let mut stopped = Vec::new();
        while let Some(one) = ending.join_next().await {
            match one.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(one) => stopped.extend(one),
                Err(error) => failure = Some(error),
            }
        }
        stopped.sort_by(|one, other| one.state_file.cmp(&other.state_file));
        failure.map_or(Ok(stopped), Err)
    }

    /// Ends the daemon of `place`; `None` if nothing is known of one.
    async fn one(&self, place: &Place) -> Result<Option<Stopped>, ServiceError> {
        let never = CancellationToken::new();
        // Whoever starts this daemon at the moment is waited for.
        let _lock = lock::acquire(
            &place.lock_path,
            &place.directory,
            "stop a daemon",
            &never,
            |_| {},
        )
        .await?;
        let (status, record) = match look(place)? {
            Seen::Nothing => return Ok(None),
            Seen::Newer => {
                return Err(ServiceError::Newer {
                    path: place.state_path.clone(),
                });
            }
            Seen::Dead { record: None, .. } => {
                place.clear(None)?;
                return Ok(None);
            }
            Seen::Dead {
                record: Some(record),
                ..
            } => (StopStatus::AlreadyStopped, record),
            Seen::Alive(record) => {
                end(&record, self.dialer.as_ref()).await?;
                (StopStatus::Stopped, record)
            }
        };
        let state = record.state;
        place.clear(state.endpoint.socket_path())?;
        Ok(Some(Stopped {
            status,
            pid: state.process.pid,
            endpoint: state.endpoint,
            state_file: place.state_path.clone(),
            version: state.version,
            project_dir: state.project_dir,
        }))
    }
}

/// Ends the daemon of `record`, and sees that it and the processes of its
/// group are gone. Nobody else is signalled: each process is held by what
/// tells it from every other one.
pub(crate) async fn end(record: &Record, dialer: &dyn Dialer) -> Result<(), ServiceError> {
    let identity = &record.state.process;
    let unknown = |source| ServiceError::Process {
        pid: identity.pid,
        source,
    };
    let Some(process) = identity.open().map_err(unknown)? else {
        return Ok(());
    };
    let mut daemon = Daemon {
        identity,
        process: Arc::new(process),
        company: Vec::new(),
    };
    daemon.gather().map_err(unknown)?;
    let is_gone = match shut_down(dialer, record).await {
        Ok(()) => daemon.is_gone_within(FAREWELL).await.map_err(unknown)?,
        Err(reason) => {
            tracing::debug!(pid = identity.pid, reason, "the daemon does not shut down");
            false
        }
    };
    if !is_gone {
        daemon.force().await.map_err(unknown)?;
    }
    match daemon.remaining().await.map_err(unknown)? {
        None => Ok(()),
        Some(pid) => Err(ServiceError::Stop {
            pid: identity.pid,
            reason: format!("process {pid} is still there after it was killed"),
        }),
    }
}

/// A daemon that is being ended.
struct Daemon<'a> {
    identity: &'a Identity,
    process: Arc<Process>,
    /// The other processes of its group: what ends the workers when the daemon
    /// cannot do that any more.
    company: Vec<Arc<Process>>,
}

impl Daemon<'_> {
    /// Takes hold of the processes of the group, for as long as the daemon
    /// shows that it is its own.
    fn gather(&mut self) -> io::Result<()> {
        for member in self.identity.group()?.unwrap_or_default() {
            let is_held = |held: &Arc<Process>| *held.identity() == member;
            if member != *self.identity
                && !self.company.iter().any(is_held)
                && let Some(process) = member.open()?
            {
                self.company.push(Arc::new(process));
            }
        }
        Ok(())
    }

    async fn is_gone_within(&self, bound: Duration) -> io::Result<bool> {
        ended(&self.process, bound).await
    }

    /// Asks the daemon by signal, and kills it if it stays.
    async fn force(&mut self) -> io::Result<()> {
        self.gather()?;
        self.process.signal(Signal::Terminate)?;
        // One that was stopped hears nothing until it goes on.
        self.process.signal(Signal::Continue)?;
        for other in &self.company {
            other.signal(Signal::Continue)?;
        }
        if !self.is_gone_within(TERMINATION).await? {
            self.gather()?;
            self.process.signal(Signal::Kill)?;
        }
        Ok(())
    }

    /// Waits for the end of the whole group, and kills what stays; returns a
    /// process that is there all the same.
    async fn remaining(&self) -> io::Result<Option<u32>> {
        if !self.is_gone_within(DEATH).await? {
            return Ok(Some(self.identity.pid));
        }
        for other in &self.company {
            other.signal(Signal::Continue)?;
            if ended(other, SWEEP).await? {
                continue;
            }
            other.signal(Signal::Kill)?;
            if !ended(other, DEATH).await? {
                return Ok(Some(other.identity().pid));
            }
        }
        Ok(None)
    }
}
