//! The environment that this binary is installed in: its interpreter, and the
//! lease that keeps others from deleting it during a call.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file in an environment's root that its users lock shared and whoever
/// removes the environment locks exclusively.
const LEASE: &str = ".ktx-lease";

/// The interpreters to look for, the best first.
const NAMES: &[&str] = if cfg!(windows) {
    &["python.exe"]
} else {
    &["python", "python3"]
};

/// A Python interpreter and the environment it belongs to.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The interpreter as it lies in the environment. Links are kept as they
    /// are: what a virtual environment's link points to is outside of it.
    pub python: PathBuf,
    /// The root of the environment.
    pub root: PathBuf,
}

impl Interpreter {
    /// Finds the interpreter beside this executable. `invoked_as` is the name
    /// that it was started under, for an executable that is itself a link.
    pub fn beside(executable: &Path, invoked_as: Option<&Path>) -> Result<Self, Error> {
        let resolved = fs_err::canonicalize(executable).ok();
        let candidates = [resolved.as_deref(), Some(executable), invoked_as];
        let directories = candidates
            .into_iter()
            .flatten()
            .filter_map(Path::parent)
            .filter(|directory| directory.is_absolute());
        for directory in directories {
            let python = NAMES.iter().map(|name| directory.join(name));
            if let Some(python) = python.into_iter().find(|path| path.is_file()) {
                let root = directory.parent().unwrap_or(directory).to_path_buf();
                return Ok(Self { python, root });
            }
        }
        let directory = executable.parent().unwrap_or(executable).to_path_buf();
        Err(Error::NoInterpreter { directory })
    }

    /// Says that this environment is in use, for as long as the file is held.
    /// An environment without a lease file is nobody's to remove; or, where
    /// there has to be one (`required`), it is not whole any more or not yet.
    pub fn lease(&self, required: bool) -> Result<Option<fs_err::File>, Error> {
        let lease = self.root.join(LEASE);
        let file = match fs_err::File::open(&lease) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if required {
                    Err(self.removed(lease))
                } else {
                    Ok(None)
                };
            }
            Err(source) => return Err(Error::Lease { lease, source }),
        };
        match file.file().try_lock_shared() {
            // The lock of whoever removed it ended after the file was opened.
            Ok(()) if !is_at(&file, &lease) => Err(self.removed(lease)),
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(Error::BeingRemoved {
                root: self.root.clone(),
                lease,
            }),
            Err(TryLockError::Error(source)) => Err(Error::Lease { lease, source }),
        }
    }

    fn removed(&self, lease: PathBuf) -> Error {
        Error::Removed {
            root: self.root.clone(),
            lease,
        }
    }
}

/// Whether `path` still leads to `file`.
#[cfg(unix)]
fn is_at(file: &fs_err::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs_err::metadata(path)) {
        (Ok(held), Ok(found)) => identity(held) == identity(found),
        _ => false,
    }
}

/// Whether `path` still leads to a file; whether it is the same one, the
/// standard library does not tell on Windows.
#[cfg(windows)]
fn is_at(_file: &fs_err::File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::is_at;

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_at_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease");
        let file = fs_err::File::create(&path).unwrap();
        assert!(is_at(&file, &path));
        fs_err::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path));
        if cfg!(unix) {
            fs_err::write(&path, "").unwrap();
            assert!(!is_at(&file, &path));
        }
    }
}
