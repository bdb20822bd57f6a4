//! A daemon is found, or started.

use std::path::PathBuf;
use std::time::SystemTime;

use ktx_os::environment::Environment;
use ktx_os::lock::{self, LockError};
use ktx_protocol::PROTOCOL_VERSION;
use ktx_protocol::startup::Token;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::dialer::{Dialer, FIRST_ANSWER, HEALTH, is_healthy};
use crate::error::ServiceError;
use crate::installation::{Installation, Scope};
use crate::place::{Daemons, Place};
use crate::spawn::{Launch, Newborn, Settings};
use crate::state::{Record, SCHEMA_VERSION, Seen, State, look};
use crate::stop::end;

/// How often a runtime may be replaced while its daemon is started.
const REPLACEMENTS: u32 = 3;

/// Whose daemon is wanted, and the means to start one.
pub struct Start {
    /// Where daemons are.
    pub daemons: Daemons,
    /// Who shares it.
    pub scope: Scope,
    /// Ends one that runs, and starts another.
    pub force: bool,
    /// How it runs, if it is started now.
    pub settings: Settings,
    /// The caller's environment variables.
    pub environment: Environment,
    /// Asks it.
    pub dialer: Box<dyn Dialer>,
    /// Ends the work early.
    pub cancellation: CancellationToken,
}

/// How a daemon came to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartStatus {
    /// It was started now.
    Started,
    /// It ran before.
    Reused,
}

/// A daemon that runs.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub state: State,
    /// What its callers have to carry.
    pub token: Token,
}

/// A daemon that answers.
#[derive(Clone, Debug)]
pub struct Started {
    /// How it came to run.
    pub status: StartStatus,
    /// The daemon.
    pub daemon: Found,
    /// Where that is written down.
    pub state_path: PathBuf,
}

impl From<Record> for Found {
    fn from(record: Record) -> Self {
        Self {
            state: record.state,
            token: record.token,
        }
    }
}

/// Finds the daemon of the installation that `find` tells of, or starts it.
/// When that is replaced meanwhile, `find` is asked again.
///
/// # Errors
///
/// Of `find`, and if no daemon could be started; then none is left behind.
pub fn start<E: From<ServiceError>>(
    start: &Start,
    find: impl Fn() -> Result<Installation, E>,
) -> Result<Started, E> {
    if let Some(path) = start.scope.project_dir().filter(|path| !path.is_dir()) {
        let path = path.to_owned();
        return Err(ServiceError::NoProject { path }.into());
    }
    let mut installation = find()?;
    let mut replacements = 0;
    loop {
        let error = match start.ensure(&installation) {
            Ok(started) => return Ok(started),
            Err(error @ (ServiceError::Spawn { .. } | ServiceError::Start { .. })) => error,
            Err(error) => return Err(error.into()),
        };
        let found = find()?;
        replacements += 1;
        if found == installation || replacements > REPLACEMENTS {
            return Err(error.into());
        }
        installation = found;
    }
}

impl Start {
    fn ensure(&self, installation: &Installation) -> Result<Started, ServiceError> {
        let key = installation.key(&self.scope);
        let place = self.daemons.place(&key);
        if !self.force
            && let Seen::Alive(record) = look(&place)?
            && self.answers(&record)
        {
            return Ok(started(StartStatus::Reused, *record, &place));
        }
        self.daemons.prepare(&place)?;
        let _lock = self.lock(&place, &installation.version)?;
        // Somebody else may have started it while this one waited.
        let mut socket = None;
        match look(&place)? {
            Seen::Alive(record) => {
                let answers = self.answers(&record);
                if answers && !self.force {
                    return Ok(started(StartStatus::Reused, *record, &place));
                }
                end(&record, answers.then_some(self.dialer.as_ref()))?;
                socket = record.state.endpoint.socket_path().map(PathBuf::from);
            }
            Seen::Dead { detail, record } => {
                tracing::debug!(detail, "replacing what is written down");
                let endpoint = record.map(|record| record.state.endpoint);
                socket = endpoint.and_then(|it| it.socket_path().map(PathBuf::from));
            }
            Seen::Nothing => {}
        }
        place.clear(socket.as_deref())?;
        place.label(&installation.version)?;
        let record = self.launch(installation, &key, &place)?;
        Ok(started(StartStatus::Started, record, &place))
    }

    fn answers(&self, record: &Record) -> bool {
        is_healthy(self.dialer.as_ref(), record, HEALTH)
            .inspect_err(|reason| tracing::debug!(reason, "the daemon does not answer"))
            .is_ok()
    }

    fn lock(&self, place: &Place, version: &str) -> Result<lock::Lock, ServiceError> {
        lock::acquire_blocking(
            &place.lock_path,
            &place.directory,
            &format!("start the daemon of {version}"),
            &self.cancellation,
        )
        .map_err(|error| match error {
            LockError::Cancelled { .. } => ServiceError::Cancelled,
            error => error.into(),
        })
    }

    /// Starts a daemon and lets others know of it. The caller holds the lock.
    fn launch(
        &self,
        installation: &Installation,
        key: &str,
        place: &Place,
    ) -> Result<Record, ServiceError> {
        let endpoint = place.endpoint(key, &self.environment)?;
        let launch = Launch {
            executable: &installation.executable,
            endpoint: &endpoint,
            log_path: &place.log_path,
            directory: &place.directory,
            settings: &self.settings,
            environment: &self.environment,
        };
        let daemon = launch.run(&self.cancellation)?;
        let record = self.record(installation, place, &daemon);
        if let Err(reason) = is_healthy(self.dialer.as_ref(), &record, FIRST_ANSWER) {
            return Err(daemon.abandon(reason));
        }
        record
            .publish(&place.state_path)
            .map_err(ServiceError::io(&place.state_path))?;
        if let Err(error) = daemon.release() {
            place.clear(endpoint.socket_path())?;
            return Err(error);
        }
        Ok(record)
    }

    fn record(&self, installation: &Installation, place: &Place, daemon: &Newborn) -> Record {
        let identity = daemon.identity();
        let started_at = humantime::format_rfc3339_millis(SystemTime::now());
        Record {
            state: State {
                schema_version: SCHEMA_VERSION,
                pid: identity.pid,
                start_time: identity.start_time,
                boot_id: identity.boot_id.clone(),
                endpoint: daemon.ready.endpoint.clone(),
                version: installation.version.clone(),
                wheel_sha256: installation.wheel_sha256.clone(),
                features: installation.features.clone(),
                started_at: started_at.to_string(),
                log_path: place.log_path.clone(),
                environment: installation.environment.clone(),
                project_dir: self.scope.project_dir().map(Into::into),
                protocol: PROTOCOL_VERSION,
            },
            token: daemon.ready.token.clone(),
        }
    }
}

fn started(status: StartStatus, record: Record, place: &Place) -> Started {
    Started {
        status,
        daemon: record.into(),
        state_path: place.state_path.clone(),
    }
}
