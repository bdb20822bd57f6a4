//! A daemon is only looked at.

use std::path::PathBuf;

use serde::Serialize;

use crate::dialer::{Dialer, GLANCE, is_healthy};
use crate::error::ServiceError;
use crate::installation::{Installation, Scope};
use crate::lifecycle::Found;
use crate::place::{Daemons, Place};
use crate::state::{Record, Seen, look};

/// Whether a daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusKind {
    /// None does.
    Stopped,
    /// One does, and answers.
    Running,
    /// What is written down is not of a daemon that could be used.
    Stale,
}

/// What was seen of a daemon.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether it runs.
    pub kind: StatusKind,
    /// What was seen, in one line.
    pub detail: String,
    /// The daemon, if its state can be read.
    pub daemon: Option<Found>,
    /// Where it is, or would be, written down; unknown if there is neither a
    /// daemon nor an installation.
    pub state_path: Option<PathBuf>,
    /// Where its log is, or would be; unknown as above.
    pub log_path: Option<PathBuf>,
}

/// Whose daemon is looked at, and the means to ask it.
pub struct Look<'a> {
    /// Where daemons are.
    pub daemons: &'a Daemons,
    /// The version of ktx.
    pub version: &'a str,
    /// Who shares it.
    pub scope: &'a Scope,
    /// What it would be started from, if there is something.
    pub installation: Option<&'a Installation>,
    /// Asks it. Without one it is only seen whether its process is there.
    pub dialer: Option<&'a dyn Dialer>,
}

/// Looks at a daemon; changes nothing.
///
/// # Errors
///
/// If the system refuses to tell.
pub fn status(look: &Look<'_>) -> Result<Status, ServiceError> {
    let place = look
        .installation
        .map(|installation| look.daemons.place(&installation.key(look.scope)));
    if let Some(place) = &place
        && let Some(status) = look.at(place)?
    {
        return Ok(status);
    }
    Ok(match look.elsewhere()? {
        Some((place, record)) => Status {
            kind: StatusKind::Stale,
            detail: format!(
                "The daemon (process {}) runs in an environment that was replaced",
                record.state.pid
            ),
            daemon: Some(record.into()),
            state_path: Some(place.state_path),
            log_path: Some(place.log_path),
        },
        None => Status {
            kind: StatusKind::Stopped,
            detail: "No KTX Python daemon is running".to_owned(),
            daemon: None,
            state_path: place.as_ref().map(|place| place.state_path.clone()),
            log_path: place.map(|place| place.log_path),
        },
    })
}

impl Look<'_> {
    /// The daemon at `place`; `None` if nothing is written down there.
    fn at(&self, place: &Place) -> Result<Option<Status>, ServiceError> {
        let (kind, detail, record) = match look(place)? {
            Seen::Nothing => return Ok(None),
            Seen::Dead { detail, record } => (StatusKind::Stale, detail, record),
            Seen::Alive(record) => {
                let answer = match self.dialer {
                    Some(dialer) => is_healthy(dialer, &record, GLANCE),
                    None => Ok(()),
                };
                let state = &record.state;
                let pid = state.pid;
                let (kind, detail) = match answer {
                    Ok(()) => (
                        StatusKind::Running,
                        format!("Daemon running at {} (process {pid})", state.endpoint),
                    ),
                    Err(reason) => (
                        StatusKind::Stale,
                        format!("The daemon (process {pid}) does not answer: {reason}"),
                    ),
                };
                (kind, detail, Some(record))
            }
        };
        Ok(Some(Status {
            kind,
            detail,
            daemon: record.map(|record| (*record).into()),
            state_path: Some(place.state_path.clone()),
            log_path: Some(place.log_path.clone()),
        }))
    }

    /// A daemon of this version and scope that runs in another environment.
    fn elsewhere(&self) -> Result<Option<(Place, Record)>, ServiceError> {
        for place in self.daemons.places()? {
            if let Seen::Alive(record) = look(&place)?
                && record.is_of(self.version, self.scope)
            {
                return Ok(Some((place, *record)));
            }
        }
        Ok(None)
    }
}
