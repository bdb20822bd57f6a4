//! The runtime manifest: written last, so that its presence and validity mean
//! that the runtime is ready.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ktx_asset::{AssetManifest, Feature};
use ktx_env::Evidence;
use ktx_os::files::{ReadError, remove_dir_all, write_atomically};
use ktx_os::json::{self, JsonError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::RuntimeError;
use crate::layout::Layout;

/// The version of the format that is read and written.
const SCHEMA_VERSION: u64 = 1;

/// What is installed, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeManifest {
    /// Always 1.
    pub schema_version: u64,
    /// The version of ktx that installed it.
    pub cli_version: String,
    /// When, in UTC (ISO 8601).
    pub installed_at: String,
    /// The asset that it was installed from.
    pub asset: AssetManifest,
    /// What is installed, in order.
    pub features: Vec<Feature>,
    /// The live environment's executables.
    pub python: PythonPaths,
    /// The log of the installation.
    pub install_log: PathBuf,
    /// What was seen when the environment was verified; absent if the asset
    /// says nothing that could be looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Keys that this version does not know, kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The executables of an environment, as absolute paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PythonPaths {
    /// The interpreter.
    pub executable: PathBuf,
    /// `ktx-daemon`.
    pub daemon_executable: PathBuf,
}

impl PythonPaths {
    /// Whichever of them is not what it should be in an environment of
    /// `layout`, so that nothing else is ever run for it.
    fn stranger(&self, layout: &Layout) -> Option<&Path> {
        let live = layout.with_environment_of(&self.executable);
        [
            (&self.executable, &live.python_path),
            (&self.daemon_executable, &live.daemon_path),
        ]
        .into_iter()
        .find(|(recorded, expected)| !is_same(recorded, expected))
        .map(|(recorded, _)| recorded.as_path())
    }
}

/// Whether two paths are one file's, whatever links lead to its directory. The
/// file itself may be a link, and its directory gone.
fn is_same(path: &Path, other: &Path) -> bool {
    let directory = |path: &Path| path.parent().and_then(|it| fs_err::canonicalize(it).ok());
    path == other
        || (path.file_name() == other.file_name()
            && directory(path).is_some_and(|it| directory(other) == Some(it)))
}

/// What a look at a runtime manifest found.
#[derive(Debug)]
pub(crate) enum Receipt {
    /// There is none.
    Absent,
    /// One in a newer format.
    Newer { detail: String },
    /// It cannot be read or is not valid.
    Invalid { detail: String },
    /// A valid one.
    Valid(Box<RuntimeManifest>),
}

impl RuntimeManifest {
    /// A manifest of the format that is written.
    pub(crate) fn new(
        cli_version: &str,
        asset: &AssetManifest,
        features: Vec<Feature>,
        python: PythonPaths,
        install_log: &Path,
        evidence: Option<Evidence>,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            cli_version: cli_version.to_owned(),
            installed_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            asset: asset.clone(),
            features,
            python,
            install_log: install_log.to_owned(),
            evidence,
            other: Map::new(),
        }
    }

    /// Writes the manifest, whole or not at all.
    pub(crate) fn publish(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        // No file can replace a directory, and none of ours belongs here.
        if fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
            remove_dir_all(path)?;
        }
        write_atomically(path, text.as_bytes())
    }

    /// Whether the manifest on the disk is the one of the environment of
    /// `layout`.
    pub(crate) fn is_published(layout: &Layout) -> bool {
        matches!(read(layout), Receipt::Valid(found) if found.python.executable == layout.python_path)
    }

    /// Says that this is the manifest of another version than `cli_version`.
    pub(crate) fn mismatch(&self, cli_version: &str) -> String {
        format!(
            "Runtime is for CLI {}, current CLI is {cli_version}",
            self.cli_version
        )
    }

    /// Whether every one of `features` is installed.
    pub(crate) fn has(&self, features: &[Feature]) -> bool {
        features
            .iter()
            .all(|feature| self.features.contains(feature))
    }
}

/// What the manifest of `layout` records, believed and not looked at: the
/// layout with the paths of the live environment, and the manifest.
///
/// # Errors
///
/// [`RuntimeError::Missing`] if there is no usable manifest of this version.
pub fn recorded(layout: &Layout) -> Result<(Layout, RuntimeManifest), RuntimeError> {
    match read(layout) {
        Receipt::Valid(manifest) if manifest.cli_version == layout.cli_version => {
            let layout = layout.with_environment_of(&manifest.python.executable);
            Ok((layout, *manifest))
        }
        Receipt::Valid(manifest) => Err(RuntimeError::Missing {
            detail: manifest.mismatch(&layout.cli_version),
        }),
        Receipt::Absent => Err(RuntimeError::Missing {
            detail: absence(&layout.manifest_path),
        }),
        Receipt::Invalid { detail } => Err(RuntimeError::Missing { detail }),
        Receipt::Newer { detail } => Err(RuntimeError::Newer { detail }),
    }
}

/// Says that there is no manifest at `path`.
pub(crate) fn absence(path: &Path) -> String {
    format!("No runtime manifest at {}", path.display())
}

/// Reads the manifest of `layout`.
pub(crate) fn read(layout: &Layout) -> Receipt {
    let path = &layout.manifest_path;
    match json::read::<RuntimeManifest>(path, SCHEMA_VERSION) {
        Ok(manifest) if manifest.features.is_empty() => Receipt::Invalid {
            detail: format!(
                "Runtime manifest is invalid: `{}` lists no features",
                path.display()
            ),
        },
        Ok(manifest) => match manifest.python.stranger(layout) {
            Some(stranger) => Receipt::Invalid {
                detail: format!(
                    "Runtime manifest is invalid: `{}` names `{}`, which is not of this runtime",
                    path.display(),
                    stranger.display()
                ),
            },
            None => Receipt::Valid(Box::new(manifest)),
        },
        Err(JsonError::Read(ReadError::Absent { .. })) => Receipt::Absent,
        Err(JsonError::Schema { actual, .. }) if actual.as_u64() > Some(SCHEMA_VERSION) => {
            Receipt::Newer {
                detail: format!(
                    "Runtime manifest was written by a newer ktx (schema {actual}): {}",
                    path.display()
                ),
            }
        }
        Err(JsonError::Read(error @ ReadError::Unreadable { .. })) => Receipt::Invalid {
            detail: match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        },
        Err(error) => Receipt::Invalid {
            detail: format!("Runtime manifest is invalid: {error}"),
        },
    }
}
