//! What is written down of a daemon for as long as it runs.

use std::io;
use std::path::{Path, PathBuf};

use ktx_os::files::{self, ReadError};
use ktx_os::json::{self, JsonError};
use ktx_os::process::{self, Identity};
use ktx_protocol::endpoint::Endpoint;
use ktx_protocol::startup::Token;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ServiceError;
use crate::installation::Scope;
use crate::place::Place;

/// The version of the format that is read and written.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// A daemon, without the secret that its callers need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Always 1.
    pub schema_version: u64,
    /// The number of its process.
    pub pid: u32,
    /// When that was started, as `ktx_os::process` counts.
    pub start_time: u64,
    /// The boot of the system that it was started in.
    pub boot_id: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The version of ktx.
    pub version: String,
    /// The wheel that its environment was installed from.
    pub wheel_sha256: String,
    /// What is installed in its environment.
    pub features: Vec<String>,
    /// When it was started, in UTC (ISO 8601).
    pub started_at: String,
    /// Its log.
    pub log_path: PathBuf,
    /// Its environment's directory.
    pub environment: PathBuf,
    /// The directory of the project that it belongs to; the user's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_dir: Option<PathBuf>,
    /// The version of the protocol that it speaks.
    pub protocol: u32,
}

impl State {
    /// Its process.
    pub fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            start_time: self.start_time,
            boot_id: self.boot_id.clone(),
        }
    }
}

/// The state as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) token: Token,
}

/// The key of the token in the file.
const TOKEN: &str = "token";

impl Record {
    /// Writes the record, for its owner's eyes only, whole or not at all.
    pub(crate) fn publish(&self, path: &Path) -> io::Result<()> {
        let mut object = serde_json::to_value(&self.state)?;
        object[TOKEN] = self.token.as_str().into();
        let mut text = serde_json::to_string_pretty(&object)?;
        text.push('\n');
        // After a crash of the system there is no daemon either.
        files::replace(path, text.as_bytes())
    }

    fn read(path: &Path) -> Result<Self, JsonError> {
        let mut object: Value = json::read(path, SCHEMA_VERSION)?;
        let invalid = |source| JsonError::Content {
            path: path.to_owned(),
            source,
        };
        let token = object.get_mut(TOKEN).map(Value::take).unwrap_or_default();
        let state: State = serde_json::from_value(object).map_err(invalid)?;
        // The token is told to whoever is there.
        if !state.endpoint.is_local() {
            let reason = format_args!("`{}` is not on this machine", state.endpoint);
            return Err(invalid(serde_json::Error::custom(reason)));
        }
        Ok(Self {
            token: serde_json::from_value(token).map_err(invalid)?,
            state,
        })
    }

    /// Whether it is of a daemon of this version and scope.
    pub(crate) fn is_of(&self, version: &str, scope: &Scope) -> bool {
        self.state.version == version && self.state.project_dir.as_deref() == scope.project_dir()
    }
}

/// What a look at a daemon's place found.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Nothing is written down.
    Nothing,
    /// What is written down is not of a daemon that runs: nothing may be
    /// signalled for it.
    Dead {
        detail: String,
        record: Option<Box<Record>>,
    },
    /// The daemon's process is there.
    Alive(Box<Record>),
}

/// Looks at what is written down at `place`, and for the process. A file of
/// another user, or of another boot, is believed as little as a broken one.
pub(crate) fn look(place: &Place) -> Result<Seen, ServiceError> {
    let path = &place.state_path;
    let dead = |detail: String, record: Option<Record>| Seen::Dead {
        detail,
        record: record.map(Box::new),
    };
    #[cfg(unix)]
    if let Ok(metadata) = fs_err::symlink_metadata(path) {
        use std::os::unix::fs::MetadataExt;

        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || !metadata.is_file() {
            let detail = format!("`{}` is not a file of this user", path.display());
            return Ok(dead(detail, None));
        }
    }
    let record = match Record::read(path) {
        Ok(record) => record,
        Err(JsonError::Read(ReadError::Absent { .. })) => return Ok(Seen::Nothing),
        Err(JsonError::Read(ReadError::Unreadable { path, source })) => {
            return Err(ServiceError::Io { path, source });
        }
        Err(error) => return Ok(dead(error.to_string(), None)),
    };
    let identity = record.state.identity();
    let pid = identity.pid;
    let unknown = |source| ServiceError::Process { pid, source };
    if process::boot_id().map_err(unknown)? != identity.boot_id {
        let detail = "The daemon ran before the system was started".to_owned();
        return Ok(dead(detail, Some(record)));
    }
    // A daemon leads its group, and nothing that starts with it does.
    if identity.is_leader().map_err(unknown)? {
        Ok(Seen::Alive(Box::new(record)))
    } else {
        let detail = format!("The daemon (process {pid}) has ended");
        Ok(dead(detail, Some(record)))
    }
}
