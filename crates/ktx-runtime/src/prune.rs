//! Prune: runtimes of other versions go, unless somebody uses them.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use ktx_os::{files, json, lock};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::environments::claim;
use crate::error::RuntimeError;
use crate::layout::{DaemonPaths, daemons_dir, is_version, lock_path, manifest_path};

/// What became of the runtimes under a root, each list in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// The root.
    pub runtime_root: PathBuf,
    /// Runtimes of other versions that nobody uses.
    pub stale: Vec<PathBuf>,
    /// The current version's runtime, and those that are in use or hold a
    /// mounted file system.
    pub kept: Vec<PathBuf>,
    /// What was removed: what is stale, or nothing in a dry run.
    pub removed: Vec<PathBuf>,
}

/// Removes the runtimes under `runtime_root` that are not `cli_version`'s and
/// that nobody uses; with `dry_run`, only says which those are.
///
/// What is not a real directory named after a version is never touched.
/// Needs no free space. Blocks the thread.
pub fn prune(
    cli_version: &str,
    runtime_root: &Path,
    dry_run: bool,
) -> Result<Pruned, RuntimeError> {
    let mut pruned = Pruned {
        runtime_root: runtime_root.to_owned(),
        stale: Vec::new(),
        kept: Vec::new(),
        removed: Vec::new(),
    };
    match files::untrusted(runtime_root) {
        Ok(Some(reason)) => {
            return Err(RuntimeError::Unsafe {
                path: runtime_root.to_owned(),
                reason,
            });
        }
        Ok(None) if !runtime_root.is_dir() => return Ok(pruned),
        Ok(None) => {}
        Err(source) => {
            return Err(RuntimeError::Io {
                path: runtime_root.to_owned(),
                source,
            });
        }
    }
    let _lock = if dry_run {
        None
    } else {
        let never = CancellationToken::new();
        Some(lock::acquire_blocking(
            &lock_path(runtime_root)?,
            runtime_root,
            "prune",
            &never,
        )?)
    };
    // Held until the end, so that nobody begins to use what is being removed.
    let mut claims = Vec::new();
    for version_dir in versions(runtime_root)? {
        let failed = |source| RuntimeError::Io {
            path: version_dir.clone(),
            source,
        };
        let is_current = version_dir
            .file_name()
            .is_some_and(|name| name == cli_version);
        if is_current || files::contains_mount_point(&version_dir).map_err(failed)? {
            pruned.kept.push(version_dir);
            continue;
        }
        match claim(&version_dir).map_err(failed)? {
            Some(claim) => {
                claims.push(claim);
                pruned.stale.push(version_dir);
            }
            None => pruned.kept.push(version_dir),
        }
    }
    if !dry_run {
        for version_dir in &pruned.stale {
            remove(version_dir).map_err(RuntimeError::writing(version_dir))?;
            pruned.removed.push(version_dir.clone());
        }
        remove_daemons(runtime_root)?;
    }
    Ok(pruned)
}

/// The part of a daemon's state that says whose it is.
#[derive(Deserialize)]
struct State {
    version: String,
}

/// The version of the state's format that is read.
const STATE_SCHEMA: u64 = 1;

/// The longest label that is read, in bytes.
const LONGEST_LABEL: u64 = 1024;

/// Removes what daemons of versions that are gone left behind. None of them
/// runs: its environment would be in use, and its version kept.
fn remove_daemons(runtime_root: &Path) -> Result<(), RuntimeError> {
    let daemons_dir = daemons_dir(runtime_root);
    let failed = |source| RuntimeError::Io {
        path: daemons_dir.clone(),
        source,
    };
    let entries = match fs::read_dir(&daemons_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(key) = name.to_str() else { continue };
        let daemon = DaemonPaths::new(&daemons_dir, key);
        let label = files::read_bounded(&daemon.version_path, LONGEST_LABEL);
        let Some(version) = label.ok().and_then(|label| String::from_utf8(label).ok()) else {
            continue;
        };
        let is_gone = is_version(&version) && !runtime_root.join(&version).exists();
        // One of the two may be damaged, and the daemon alive.
        let is_other = json::read::<State>(&daemon.state_path, STATE_SCHEMA)
            .is_ok_and(|state| state.version != version);
        if !is_gone
            || is_other
            || !entry.file_type().map_err(failed)?.is_dir()
            || files::contains_mount_point(&daemon.directory).map_err(failed)?
        {
            continue;
        }
        // Whoever holds the lock begins to use the directory at this moment.
        if let Some(_lock) = lock::try_acquire(&daemon.lock_path, &daemons_dir, "prune")? {
            files::remove_dir_all(&daemon.directory)
                .map_err(RuntimeError::writing(&daemon.directory))?;
        }
    }
    Ok(())
}

/// The directories of runtimes, in alphabetical order.
fn versions(runtime_root: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(runtime_root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(is_version) {
                let path = entry.path();
                let place = found.partition_point(|other| *other < path);
                found.insert(place, path);
            }
        }
        Ok(found)
    };
    read().map_err(|source| RuntimeError::Io {
        path: runtime_root.to_owned(),
        source,
    })
}

/// The manifest goes first: what is left by a crash is not taken for a runtime.
fn remove(version_dir: &Path) -> io::Result<()> {
    match fs::remove_file(manifest_path(version_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    files::remove_dir_all(version_dir)
}
