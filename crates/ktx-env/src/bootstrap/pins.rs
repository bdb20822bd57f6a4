//! Which uv is fetched, and what it must look like: the table that the release
//! tool generates, and the check of a file against it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ktx_os::files::open_itself;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::error::BootstrapError;

/// The table that this build carries.
const EMBEDDED: &str = include_str!("../../../../release/uv-pins.json");

/// The version of uv that is fetched, and its file for every platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pins {
    /// The version of uv.
    pub version: String,
    /// Platform id (`linux-x64-gnu`, `darwin-arm64`, …) to file.
    pub platforms: BTreeMap<String, Pin>,
}

/// One file in the package index, and the binary inside it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pin {
    /// The name of the wheel.
    pub file: String,
    /// The sha256 of the wheel, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The size of the wheel.
    pub bytes: u64,
    /// The one entry of the wheel that is kept.
    pub binary: Binary,
}

/// The binary in a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Binary {
    /// The name of the entry; its last segment is the name that the file gets.
    pub path: String,
    /// The sha256 of the unpacked binary, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The size of the unpacked binary.
    pub bytes: u64,
}

impl Pins {
    /// The pins that were current when this library was built.
    pub fn embedded() -> &'static Self {
        static PINS: LazyLock<Pins> = LazyLock::new(|| {
            serde_json::from_str(EMBEDDED).expect("the embedded pins were checked when generated")
        });
        &PINS
    }

    /// The file for a platform id such as `linux-x64-gnu`.
    pub fn pin_for(&self, platform: &str) -> Result<&Pin, BootstrapError> {
        self.platforms
            .get(platform)
            .ok_or_else(|| BootstrapError::NoPin {
                platform: platform.to_owned(),
                known: self.platforms.keys().cloned().collect(),
            })
    }
}

impl Pin {
    /// The name that the binary has on disk: `uv` or `uv.exe`.
    pub fn binary_name(&self) -> &str {
        let path = self.binary.path.as_str();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }
}

/// A kept binary that is, byte for byte, the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Why a kept binary is not to be run.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// Nothing has that name.
    #[error("Missing uv executable: `{}`", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A directory, a symbolic link, a pipe or a device has that name.
    #[error("Not a regular file: `{}`", path.display())]
    NotARegularFile {
        /// What was looked at.
        path: PathBuf,
    },
    /// The file is shorter or longer than the pinned one.
    #[error("`{}` has {actual} bytes instead of {expected}", path.display())]
    Size {
        /// What was looked at.
        path: PathBuf,
        /// The pinned size.
        expected: u64,
        /// The size on disk.
        actual: u64,
    },
    /// The file has the right size and other bytes.
    #[error("Checksum mismatch: `{}` has sha256 {actual} instead of {expected}", path.display())]
    Checksum {
        /// What was looked at.
        path: PathBuf,
        /// The pinned digest.
        expected: String,
        /// The digest of what is on disk.
        actual: String,
    },
    /// The right bytes, without permission to run them.
    #[error("Not executable: `{}`", path.display())]
    NotExecutable {
        /// What was looked at.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("Could not read `{}`", path.display())]
    Unreadable {
        /// What was looked at.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Compares a kept binary with its pin, by size and then by digest.
///
/// A symbolic link is refused even if it leads to the right bytes: where it
/// leads can change between this check and the start of the binary.
pub fn verify(path: &Path, pin: &Pin) -> Result<Verified, Unverified> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Unverified::Missing { path: path.into() },
        _ => Unverified::Unreadable {
            path: path.into(),
            source,
        },
    };
    let found = fs_err::symlink_metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Unverified::NotARegularFile { path: path.into() });
    }
    // Whatever takes its place from here on is refused too.
    let mut options = fs_err::OpenOptions::new();
    let mut file = open_itself(path, options.read(true)).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.len() != pin.binary.bytes {
        return Err(Unverified::Size {
            path: path.into(),
            expected: pin.binary.bytes,
            actual: metadata.len(),
        });
    }
    let ktx_asset::Digest {
        bytes,
        sha256: actual,
    } = ktx_asset::hash(&mut file, io::sink()).map_err(unreadable)?;
    if actual != pin.binary.sha256 {
        return Err(Unverified::Checksum {
            path: path.into(),
            expected: pin.binary.sha256.clone(),
            actual,
        });
    }
    if !is_executable(&metadata) {
        return Err(Unverified::NotExecutable { path: path.into() });
    }
    Ok(Verified {
        path: path.into(),
        bytes,
    })
}

/// The digest in the form that pins have.
pub(super) fn hex(hasher: Sha256) -> String {
    let mut digits = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    true
}
