//! The end of daemons: asked for first, then forced, and believed only when
//! it was seen.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ktx_os::lock;
use ktx_os::process::{Identity, Process, Signal};
use ktx_protocol::endpoint::Endpoint;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::dialer::{Dialer, shut_down};
use crate::error::ServiceError;
use crate::installation::Scope;
use crate::place::{Daemons, Place};
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
pub struct Stop {
    /// Where they are.
    pub daemons: Daemons,
    /// Asks them.
    pub dialer: Box<dyn Dialer>,
}

/// Ends the daemons of this version and scope, whatever environment they run
/// in. They are seen to be gone when this returns.
///
/// # Errors
///
/// One of the things that went wrong, after everything else was ended.
pub fn stop(stop: &Stop, version: &str, scope: &Scope) -> Result<Vec<Stopped>, ServiceError> {
    let is_meant = |seen: &Seen| match seen {
        Seen::Alive(record) => record.is_of(version, scope),
        Seen::Dead { record, .. } => record
            .as_ref()
            .is_some_and(|record| record.is_of(version, scope)),
        Seen::Nothing => false,
    };
    stop.every(&is_meant)
}

/// Ends every daemon under the runtime root: of each version, the user's and
/// those of projects.
///
/// # Errors
///
/// As [`stop`].
pub fn stop_all(stop: &Stop) -> Result<Vec<Stopped>, ServiceError> {
    stop.every(&|_| true)
}

impl Stop {
    fn every(&self, is_meant: &dyn Fn(&Seen) -> bool) -> Result<Vec<Stopped>, ServiceError> {
        let mut stopped = Vec::new();
        let mut failure = None;
        for place in self.daemons.places()? {
            let one = match look(&place) {
                Ok(seen) if is_meant(&seen) => self.one(&place),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            };
            match one {
                Ok(one) => stopped.extend(one),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(stopped), Err)
    }

    /// Ends the daemon of `place`; `None` if nothing is known of one.
    fn one(&self, place: &Place) -> Result<Option<Stopped>, ServiceError> {
        let never = CancellationToken::new();
        // Whoever starts this daemon at the moment is waited for.
        let _lock =
            lock::acquire_blocking(&place.lock_path, &place.directory, "stop a daemon", &never)?;
        let (status, record) = match look(place)? {
            Seen::Nothing => return Ok(None),
            Seen::Dead { record: None, .. } => {
                place.clear(None)?;
                return Ok(None);
            }
            Seen::Dead {
                record: Some(record),
                ..
            } => (StopStatus::AlreadyStopped, record),
            Seen::Alive(record) => {
                end(&record, Some(self.dialer.as_ref()))?;
                (StopStatus::Stopped, record)
            }
        };
        let state = record.state;
        place.clear(state.endpoint.socket_path())?;
        Ok(Some(Stopped {
            status,
            pid: state.pid,
            endpoint: state.endpoint,
            state_file: place.state_path.clone(),
            version: state.version,
            project_dir: state.project_dir,
        }))
    }
}

/// Ends the daemon of `record`, and sees that it and the processes of its
/// group are gone. Nobody else is signalled: each process is held by what
/// tells it from every other one. Without a `dialer` it is not asked first.
pub(crate) fn end(record: &Record, dialer: Option<&dyn Dialer>) -> Result<(), ServiceError> {
    let identity = &record.state.identity();
    let unknown = |source| ServiceError::Process {
        pid: identity.pid,
        source,
    };
    let Some(process) = identity.open().map_err(unknown)? else {
        return Ok(());
    };
    let mut daemon = Daemon {
        identity,
        process,
        company: Vec::new(),
    };
    daemon.gather().map_err(unknown)?;
    let is_gone = match dialer.map(|dialer| shut_down(dialer, record)) {
        Some(Ok(())) => daemon.process.wait(FAREWELL).map_err(unknown)?,
        Some(Err(reason)) => {
            tracing::debug!(pid = identity.pid, reason, "the daemon does not shut down");
            false
        }
        None => false,
    };
    if !is_gone {
        daemon.force().map_err(unknown)?;
    }
    match daemon.remaining().map_err(unknown)? {
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
    process: Process,
    /// The other processes of its group: what ends the workers when the daemon
    /// cannot do that any more.
    company: Vec<Process>,
}

impl Daemon<'_> {
    /// Takes hold of the processes of the group, for as long as the daemon
    /// shows that it is its own.
    fn gather(&mut self) -> io::Result<()> {
        for member in self.identity.group()?.unwrap_or_default() {
            let is_held = |held: &Process| *held.identity() == member;
            if member != *self.identity
                && !self.company.iter().any(is_held)
                && let Some(process) = member.open()?
            {
                self.company.push(process);
            }
        }
        Ok(())
    }

    /// Asks the daemon by signal, and kills it if it stays.
    fn force(&mut self) -> io::Result<()> {
        self.gather()?;
        self.process.signal(Signal::Terminate)?;
        // One that was stopped hears nothing until it goes on.
        self.process.signal(Signal::Continue)?;
        for other in &self.company {
            other.signal(Signal::Continue)?;
        }
        if !self.process.wait(TERMINATION)? {
            self.gather()?;
            self.process.signal(Signal::Kill)?;
        }
        Ok(())
    }

    /// Waits for the end of the whole group, and kills what stays; returns a
    /// process that is there all the same.
    fn remaining(&self) -> io::Result<Option<u32>> {
        if !self.process.wait(DEATH)? {
            return Ok(Some(self.identity.pid));
        }
        for other in &self.company {
            other.signal(Signal::Continue)?;
            if other.wait(SWEEP)? {
                continue;
            }
            other.signal(Signal::Kill)?;
            if !other.wait(DEATH)? {
                return Ok(Some(other.identity().pid));
            }
        }
        Ok(None)
    }
}
