//! Where a daemon's files are, and where it may listen.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use ktx_os::environment::Environment;
use ktx_os::files;
use ktx_protocol::endpoint::{Endpoint, is_socket_name};

use crate::error::ServiceError;
use crate::installation::is_key;

/// The daemons of a runtime root.
#[derive(Clone, Debug)]
pub struct Daemons {
    /// The directory that all of them are in.
    pub directory: PathBuf,
    /// The files of the daemon with a key in that directory.
    pub place: fn(&Path, &str) -> Place,
}

/// The files of one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory that is the daemon's own.
    pub directory: PathBuf,
    /// Where it is, for as long as it runs.
    pub state_path: PathBuf,
    /// Its log.
    pub log_path: PathBuf,
    /// The version that it belongs to, as text.
    pub version_path: PathBuf,
    /// Held by whoever starts or ends it.
    pub lock_path: PathBuf,
}

impl Daemons {
    pub(crate) fn place(&self, key: &str) -> Place {
        (self.place)(&self.directory, key)
    }

    /// The places of all daemons that were ever started.
    pub(crate) fn places(&self) -> Result<Vec<Place>, ServiceError> {
        self.check_trusted()?;
        let read = || -> io::Result<Vec<String>> {
            let mut keys = Vec::new();
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if let Ok(name) = entry.file_name().into_string()
                    && is_key(&name)
                    && entry.file_type()?.is_dir()
                {
                    keys.push(name);
                }
            }
            Ok(keys)
        };
        match read() {
            Ok(keys) => Ok(keys.iter().map(|key| self.place(key)).collect()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(ServiceError::io(&self.directory)(error)),
        }
    }

    /// Makes a place for a daemon of `version`, for this user alone.
    pub(crate) fn prepare(&self, place: &Place) -> Result<(), ServiceError> {
        self.check_trusted()?;
        make_private(&place.directory)
    }

    fn check_trusted(&self) -> Result<(), ServiceError> {
        check_trusted(&self.directory)
    }
}

impl Place {
    /// Writes down to which version the place belongs.
    pub(crate) fn label(&self, version: &str) -> Result<(), ServiceError> {
        if fs::read(&self.version_path).is_ok_and(|found| found == version.as_bytes()) {
            return Ok(());
        }
        files::replace(&self.version_path, version.as_bytes())
            .map_err(ServiceError::io(&self.version_path))
    }

    /// Where a daemon of this place can listen.
    pub(crate) fn endpoint(
        &self,
        key: &str,
        environment: &Environment,
    ) -> Result<Endpoint, ServiceError> {
        if cfg!(windows) {
            return Ok(Endpoint::any_port());
        }
        let id = RandomState::new().hash_one(key).to_be_bytes();
        let id = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        if let Some(endpoint) = Endpoint::new_socket(&self.directory, id) {
            return Ok(endpoint);
        }
        let mut reasons = vec![format!("`{}` is too long", self.directory.display())];
        for directory in short_directories(key, environment) {
            let Some(endpoint) = Endpoint::new_socket(&directory, id) else {
                reasons.push(format!("`{}` is too long", directory.display()));
                continue;
            };
            match make_private(&directory).and_then(|()| remove_sockets(&directory)) {
                Ok(()) => return Ok(endpoint),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(ServiceError::NoSocket {
            reason: reasons.join("; "),
        })
    }

    /// Removes what a daemon that is gone left behind, its log excepted. The
    /// caller holds the lock.
    pub(crate) fn clear(&self, socket: Option<&Path>) -> Result<(), ServiceError> {
        remove(&self.state_path)?;
        // A daemon that was killed while it was started left no word of where
        // it listened.
        remove_sockets(&self.directory)?;
        if let Some(path) = socket.filter(|path| is_socket_name(path))
            && let Some(directory) = path.parent().filter(|parent| self.is_short(parent))
        {
            remove(path)?;
            // Somebody else's files keep it from being removed.
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    /// Whether this daemon listens in `directory` where its own is too long.
    /// What is written down may be damaged, and lead to somebody's files.
    fn is_short(&self, directory: &Path) -> bool {
        let key = self.directory.file_name().and_then(|name| name.to_str());
        key.is_some_and(|key| directory.file_name() == Some(short_name(key).as_ref()))
    }
}

/// Directories for sockets with paths that are short, likeliest first. Each is
/// this daemon's own.
#[cfg(unix)]
fn short_directories(key: &str, environment: &Environment) -> Vec<PathBuf> {
    use ktx_os::variables::{TMPDIR, XDG_RUNTIME_DIR};

    [XDG_RUNTIME_DIR, TMPDIR]
        .into_iter()
        .filter_map(|name| environment.var(name))
        .filter(|path| path.starts_with('/'))
        .chain(["/tmp"])
        .map(|base| Path::new(base).join(short_name(key)))
        .filter(|directory| directory.parent().is_some_and(Path::is_dir))
        .collect()
}

#[cfg(windows)]
fn short_directories(_: &str, _: &Environment) -> Vec<PathBuf> {
    Vec::new()
}

/// The name of such a directory.
fn short_name(key: &str) -> String {
    #[cfg(unix)]
    let user = rustix::process::geteuid().as_raw();
    #[cfg(windows)]
    let user = "";
    format!("ktx-{user}-{key}")
}

/// Makes `directory`, or sees to it that it is this user's alone.
fn make_private(directory: &Path) -> Result<(), ServiceError> {
    files::create_private_dir_all(directory).map_err(ServiceError::io(directory))?;
    check_trusted(directory)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let mode = fs::metadata(directory)
            .map_err(ServiceError::io(directory))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
                .map_err(ServiceError::io(directory))?;
        }
    }
    Ok(())
}

fn check_trusted(directory: &Path) -> Result<(), ServiceError> {
    match files::untrusted(directory) {
        Ok(Some(reason)) => Err(ServiceError::Unsafe {
            path: directory.to_owned(),
            reason,
        }),
        Ok(None) => Ok(()),
        // There is a file where the runtime root should be, and no daemon.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
        Err(error) => Err(ServiceError::io(directory)(error)),
    }
}

/// Removes the sockets in a daemon's own directory.
fn remove_sockets(directory: &Path) -> Result<(), ServiceError> {
    for entry in fs::read_dir(directory).map_err(ServiceError::io(directory))? {
        let path = entry.map_err(ServiceError::io(directory))?.path();
        if is_socket_name(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), ServiceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ServiceError::io(path)(error)),
        _ => Ok(()),
    }
}
