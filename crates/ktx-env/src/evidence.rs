//! What was seen of an environment when it was verified, so that a later look
//! can tell whether it is still that environment without starting it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::records::Installed;

/// What a verified environment showed of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The interpreter that the environment is made with.
    pub interpreter: PathBuf,
    /// Its version: `3.11.7`.
    pub python_version: String,
    /// Installed versions by normalised name.
    pub packages: Installed,
    /// The files that the interpreter cannot run without.
    pub files: Vec<Stamp>,
}

/// A file as it was when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The file; links are followed.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last modified, in nanoseconds since 1970 (a decimal
    /// string: JSON numbers do not hold so many digits everywhere).
    pub modified: String,
    /// When its content or its permissions last changed, in seconds since
    /// 1970: the system keeps this time, and nobody can set it. Empty where it
    /// keeps none.
    #[serde(default)]
    pub changed: String,
}

impl Evidence {
    /// Whether the interpreter's files are the ones that were seen running.
    pub fn interpreter_is_unchanged(&self) -> bool {
        !self.files.is_empty()
            && self
                .files
                .iter()
                .all(|stamp| Stamp::of(&stamp.path).is_ok_and(|now| now == *stamp))
    }
}

impl Stamp {
    /// Stamps the file at `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs_err::metadata(path)?;
        #[cfg(unix)]
        let changed = {
            use std::os::unix::fs::MetadataExt;
            format!("{}.{:09}", metadata.ctime(), metadata.ctime_nsec())
        };
        #[cfg(windows)]
        let changed = String::new();
        let modified = metadata
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            path: path.to_owned(),
            bytes: metadata.len(),
            modified: modified.as_nanos().to_string(),
            changed,
        })
    }
}
