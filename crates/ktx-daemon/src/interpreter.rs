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
    /// An environment without a lease file is nobody's to remove.
    pub fn lease(&self) -> Result<Option<fs_err::File>, Error> {
        let lease = self.root.join(LEASE);
        let file = match fs_err::File::open(&lease) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Lease { lease, source }),
        };
        match file.file().try_lock_shared() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(Error::BeingRemoved {
                root: self.root.clone(),
                lease,
            }),
            Err(TryLockError::Error(source)) => Err(Error::Lease { lease, source }),
        }
    }
}
