//! Regular files are opened and read whole, and nothing in their place is waited
//! for.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;

#[cfg(unix)]
use super::{OWN_FILE, give_back};

/// Opens the regular file at `path` itself with `options`: a link, a pipe or a
/// device in its place is refused. A file that is made by that is its owner's
/// alone.
pub fn open_itself(path: &Path, options: &mut fs::OpenOptions) -> io::Result<fs::File> {
    #[cfg(unix)]
    {
        use fs_err::os::unix::fs::OpenOptionsExt;

        options.mode(OWN_FILE);
        set_flags(options, rustix::fs::OFlags::NOFOLLOW);
    }
    #[cfg(windows)]
    if path.is_symlink() {
        return Err(not_a_file(path));
    }
    let file = open_regular(path, options)?;
    #[cfg(unix)]
    give_back(file.file())?;
    Ok(file)
}

/// As [`open_itself`], and a link leads to the file.
fn open_followed(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    set_flags(&mut options, rustix::fs::OFlags::empty());
    open_regular(path, &options)
}

#[cfg(unix)]
fn set_flags(options: &mut fs::OpenOptions, flags: rustix::fs::OFlags) {
    use fs_err::os::unix::fs::OpenOptionsExt;

    // Without O_NONBLOCK, a pipe in the file's place would hang the open.
    let flags = flags | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
}

fn open_regular(path: &Path, options: &fs::OpenOptions) -> io::Result<fs::File> {
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(not_a_file(path))
    }
}

fn not_a_file(path: &Path) -> io::Error {
    let reason = format!("`{}` is not a regular file", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Why a file could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("`{}` does not exist", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The file is larger than any valid one.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size that is read, in bytes.
        limit: u64,
    },
    /// The system refused.
    #[error("Cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads `path` whole, at most `limit` bytes of it.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let unreadable = |source: io::Error| {
        if matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ) {
            ReadError::Absent {
                path: path.to_owned(),
            }
        } else {
            ReadError::Unreadable {
                path: path.to_owned(),
                source,
            }
        }
    };
    let mut bytes = Vec::new();
    open_followed(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // macOS has another call for pipes.
    #[cfg(target_os = "linux")]
    #[test]
    fn does_not_wait_for_a_pipe_in_place_of_a_file() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.json");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = read_bounded(&path, 4).unwrap_err();
        assert!(matches!(error, ReadError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn tells_absent_from_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert!(matches!(
            read_bounded(&path, 4),
            Err(ReadError::Absent { .. })
        ));
        fs::write(&path, b"12345").unwrap();
        assert!(matches!(
            read_bounded(&path, 4),
            Err(ReadError::TooLarge { .. })
        ));
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
    }
}
