//! The environments of a version directory: which are in use, and the removal
//! of the ones that are not.
//!
//! Whoever runs code in an environment holds a shared lock on its lease file
//! for as long. The system frees it when the holder dies, so no state can
//! claim a use that is over.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use ktx_os::files::{remove_dir_all, remove_unfinished};

use crate::layout::{is_attempt, is_environment, lease_path};

/// Makes `environment` one whose use can be seen.
pub(crate) fn create_lease(environment: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(lease_path(environment))
        .map(drop)
}

/// The exclusive right to every environment in `version_dir`, for as long as
/// it is held; `None` if somebody uses one of them.
pub(crate) fn claim(version_dir: &Path) -> io::Result<Option<Vec<Lease>>> {
    entries(version_dir, is_environment)?
        .iter()
        .map(|environment| take(environment))
        .collect()
}

/// Removes every environment but `live`, and what earlier installations left
/// behind, unless it is in use. The caller holds the lock of the root.
pub(crate) fn remove_stale(version_dir: &Path, live: &Path) -> io::Result<()> {
    remove_unfinished(version_dir)?;
    for attempt in entries(version_dir, is_attempt)? {
        remove_dir_all(&attempt)?;
    }
    for environment in entries(version_dir, is_environment)? {
        if environment == live {
            continue;
        }
        // The lease is held until the directory is gone, so that nobody
        // begins to use what is being removed.
        if let Some(_lease) = take(&environment)? {
            remove_dir_all(&environment)?;
        }
    }
    Ok(())
}

/// The exclusive right to an environment; `None` if somebody uses it. An
/// environment without a lease file was never finished, and nobody uses it.
fn take(environment: &Path) -> io::Result<Option<Lease>> {
    match fs::File::open(lease_path(environment)) {
        Ok(file) => match file.file().try_lock() {
            Ok(()) => Ok(Some(Lease { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Lease { _file: None })),
        Err(error) => Err(error),
    }
}

/// The exclusive right to an environment.
pub(crate) struct Lease {
    _file: Option<fs::File>,
}

/// The real directories in `directory` whose names are `wanted`.
fn entries(directory: &Path, wanted: fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_str().is_some_and(wanted) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
