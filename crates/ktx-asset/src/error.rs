//! What can be wrong with an asset.

use std::io;
use std::path::{Path, PathBuf};

use ktx_os::code::Code;
use ktx_os::files;
use ktx_os::json::JsonError;

use crate::lock::LockSyntaxError;

/// Why an asset cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// There is no manifest.
    #[error("Missing bundled Python runtime manifest: {}", path.display())]
    NoManifest {
        /// The manifest.
        path: PathBuf,
    },
    /// A file that the manifest names is not there.
    #[error("Missing bundled Python runtime file: {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The manifest is not a valid one.
    #[error("Invalid bundled Python runtime manifest: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<JsonError>,
    },
    /// A key of the manifest has a value that it cannot have.
    #[error("Invalid bundled Python runtime manifest: `{key}` is `{actual}`, expected {expected} (`{}`)", path.display())]
    Value {
        /// The manifest.
        path: PathBuf,
        /// The key, with dots between levels.
        key: String,
        /// What it is.
        actual: String,
        /// What it must be.
        expected: String,
    },
    /// The manifest names a file that may lie outside the asset.
    #[error("Unsafe runtime wheel filename in bundled manifest: {file}")]
    UnsafeName {
        /// The name.
        file: String,
    },
    /// What the manifest names is a link or no regular file.
    #[error("Unsafe bundled Python runtime file: {} is not a regular file", path.display())]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// A file has other bytes than the manifest says.
    #[error("Bundled Python runtime wheel checksum mismatch: {}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The sha256 in the manifest.
        expected: String,
        /// The size in the manifest.
        expected_bytes: u64,
        /// The sha256 of what was read.
        actual: String,
        /// How much was read; at most one byte more than expected.
        actual_bytes: u64,
    },
    /// The lock is not a valid one.
    #[error("Invalid bundled dependency lock: {} ({source})", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// What is wrong with it.
        source: LockSyntaxError,
    },
    /// A file could not be read.
    #[error("Cannot read the bundled Python runtime file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A private copy could not be written.
    #[error("Cannot write {}: {source}", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl AssetError {
    pub(crate) fn copy(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        |source| Self::Copy {
            path: path.to_owned(),
            source,
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NoManifest { .. } | Self::Missing { .. } => Code::AssetMissing,
            Self::Manifest { .. } | Self::Value { .. } | Self::Lock { .. } => Code::AssetManifest,
            Self::UnsafeName { .. } | Self::Link { .. } => Code::AssetUnsafe,
            Self::Checksum { .. } => Code::AssetChecksum,
            Self::Copy { source, .. } if files::is_full(source) => Code::DiskFull,
            Self::Read { .. } | Self::Copy { .. } => Code::Io,
        }
    }

    /// What mends it.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoManifest { .. }
            | Self::Missing { .. }
            | Self::Manifest { .. }
            | Self::Value { .. }
            | Self::UnsafeName { .. }
            | Self::Link { .. }
            | Self::Checksum { .. }
            | Self::Lock { .. }
            | Self::Read { .. } => {
                vec!["Reinstall the package that carries it: `npm install --force`".to_owned()]
            }
            Self::Copy { .. } => {
                vec![
                    "Make room, or choose another place: `KTX_RUNTIME_ROOT=/path/with/space`"
                        .to_owned(),
                ]
            }
        }
    }
}
