//! `manifest.json` of the asset, and the files that it names.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use ktx_os::files::open_itself;
use ktx_os::json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::hash;
use crate::error::AssetError;
use crate::feature::Feature;

/// The asset manifest's file name.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The version of the format that is read and written.
pub const SCHEMA_VERSION: u64 = 1;

/// What the asset holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssetManifest {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u64,
    /// The distribution's name on an index: `kaelio-ktx`.
    pub distribution_name: String,
    /// The name in file names (PEP 427): `kaelio_ktx`.
    pub normalized_name: String,
    /// The wheel's version.
    pub version: String,
    /// The wheel.
    pub wheel: FileRecord,
    /// The Python versions that the wheel runs on, as a PEP 440 specifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<String>,
    /// The hash-locked dependencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<FileRecord>,
    /// What must be importable in an installed environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// Keys that this version does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A file of the asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name in the asset directory.
    pub file: String,
    /// Its sha256 in lower-case hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Keys that this version does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What shows that an environment works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Modules that each feature must be able to import.
    pub imports: BTreeMap<Feature, Vec<String>>,
}

impl AssetManifest {
    /// Reads and checks the manifest in `directory`; the files that it names
    /// are not opened.
    pub fn read(directory: &Path) -> Result<Self, AssetError> {
        let path = directory.join(MANIFEST_FILE);
        let manifest: Self = json::read(&path, SCHEMA_VERSION).map_err(|error| match error {
            json::JsonError::Read(ktx_os::files::ReadError::Absent { path }) => {
                AssetError::NoManifest { path }
            }
            source => AssetError::Manifest {
                path: path.clone(),
                source: Box::new(source),
            },
        })?;
        manifest.check(&path)?;
        Ok(manifest)
    }

    fn check(&self, path: &Path) -> Result<(), AssetError> {
        let invalid = |key: &str, actual: &str, expected: &str| AssetError::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            actual: actual.to_owned(),
            expected: expected.to_owned(),
        };
        if self.distribution_name != "kaelio-ktx" {
            return Err(invalid(
                "distributionName",
                &self.distribution_name,
                "kaelio-ktx",
            ));
        }
        if self.normalized_name != "kaelio_ktx" {
            return Err(invalid(
                "normalizedName",
                &self.normalized_name,
                "kaelio_ktx",
            ));
        }
        if self.version.is_empty() {
            return Err(invalid("version", "", "a version"));
        }
        for (key, record) in [("wheel", Some(&self.wheel)), ("lock", self.lock.as_ref())] {
            let Some(record) = record else { continue };
            if !is_plain_name(&record.file) {
                return Err(AssetError::UnsafeName {
                    file: record.file.clone(),
                });
            }
            let digits = record
                .sha256
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if record.sha256.len() != 64 || !digits {
                return Err(invalid(
                    &format!("{key}.sha256"),
                    &record.sha256,
                    "64 lower-case hexadecimal digits",
                ));
            }
        }
        Ok(())
    }
}

/// Whether `name` names a file in the directory it is joined to, on every
/// platform: no separator, no drive, no parent, no control character.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', ':'])
        && !name.chars().any(char::is_control)
}

impl FileRecord {
    /// Reads the file in `directory` once, copies it to `copy` and compares
    /// size and sha256 with the record.
    pub(crate) fn verify(&self, directory: &Path, copy: impl Write) -> Result<(), AssetError> {
        let path = directory.join(&self.file);
        let file = open(&path)?;
        // One byte more than recorded shows that a file is longer; reading
        // on would only take time.
        let limited = io::Read::take(file, self.bytes.saturating_add(1));
        let actual = hash(limited, copy).map_err(|source| AssetError::Read {
            path: path.clone(),
            source,
        })?;
        if actual.bytes != self.bytes || actual.sha256 != self.sha256 {
            return Err(AssetError::Checksum {
                path,
                expected: self.sha256.clone(),
                expected_bytes: self.bytes,
                actual: actual.sha256,
                actual_bytes: actual.bytes,
            });
        }
        Ok(())
    }
}

/// Opens a regular file; a symbolic link could lead outside the asset.
fn open(path: &Path) -> Result<fs_err::File, AssetError> {
    let link = || AssetError::Link {
        path: path.to_owned(),
    };
    let mut options = fs_err::OpenOptions::new();
    open_itself(path, options.read(true)).map_err(|source| {
        if path.is_symlink() || source.kind() == io::ErrorKind::InvalidInput {
            link()
        } else if source.kind() == io::ErrorKind::NotFound {
            AssetError::Missing {
                path: path.to_owned(),
            }
        } else {
            AssetError::Read {
                path: path.to_owned(),
                source,
            }
        }
    })
}
