//! Files that appear whole or not at all, and what the file system says of
//! the place they go to.

use std::io::{self, Write};
use std::path::Path;

use fs_err as fs;
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

/// What only the owner may read and write.
#[cfg(unix)]
const OWN_FILE: u32 = 0o600;

/// What only the owner may look into and change.
#[cfg(unix)]
const OWN_DIRECTORY: u32 = 0o700;

mod reading;

pub use reading::{ReadError, open_itself, read_bounded};

/// How the names of unfinished files begin.
const TEMPORARY: &str = ".ktx-";

/// Replaces `path` with `contents` so that a reader, or a crash, sees the old
/// bytes or the new ones and nothing between. Durable when it returns: the
/// file and its directory are synchronised.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = write_temporary(directory, contents)?;
    temporary
        .as_file()
        .sync_all()
        .map_err(|source| with_path(&source, path))?;
    persist(temporary, path)?;
    sync_directory(directory)
}

/// As [`write_atomically`], for what is worthless after a crash of the system:
/// nothing is synchronised.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    persist(write_temporary(directory, contents)?, path)
}

fn write_temporary(directory: &Path, contents: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(directory)
        .map_err(|source| with_path(&source, directory))?;
    #[cfg(unix)]
    give_back(temporary.as_file()).map_err(|source| with_path(&source, directory))?;
    temporary
        .write_all(contents)
        .map_err(|source| with_path(&source, directory))?;
    Ok(temporary)
}

/// Lets the owner of a file that was made just now open it again, which a umask
/// can forbid.
#[cfg(unix)]
fn give_back(file: &std::fs::File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.len() == 0 && metadata.permissions().mode() & OWN_FILE == 0 {
        file.set_permissions(PermissionsExt::from_mode(OWN_FILE))?;
    }
    Ok(())
}

/// Removes what [`write_atomically`] leaves in `directory` when it is killed.
/// The caller sees to it that nobody writes there meanwhile.
pub fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_unfinished = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(TEMPORARY));
        if is_unfinished && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Renames a finished temporary file into place.
///
/// Windows refuses to replace a file that a virus scanner or an indexer holds
/// open for a moment, so there the rename is tried again for a second.
fn persist(mut temporary: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    let attempts = if cfg!(windows) { 20 } else { 1 };
    for attempt in 1.. {
        match temporary.persist(path) {
            Ok(_) => return Ok(()),
            Err(error)
                if attempt < attempts && error.error.kind() == io::ErrorKind::PermissionDenied =>
            {
                temporary = error.file;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(error) => return Err(with_path(&error.error, path)),
        }
    }
    unreachable!("the loop returns")
}

/// Makes a rename in `directory` durable; Windows does so by itself.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Makes everything written to the file system of `path` durable.
///
/// uv never synchronises what it writes, so a manifest that is published
/// before this can outlive, in a power cut, the files it vouches for.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(fs::File::open(path)?.file())
        .map_err(|source| with_path(&source.into(), path))?;
    #[cfg(all(unix, not(target_os = "linux")))]
    {
        fs::metadata(path)?;
        rustix::fs::sync();
    }
    #[cfg(windows)]
    fs::metadata(path)?;
    Ok(())
}

/// Creates `path` and its missing parents. Directories made here are open to
/// the caller alone, whatever the umask.
pub fn create_private_dir_all(path: &Path) -> io::Result<()> {
    match create_private_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if parent != path && parent != Path::new("") => {
                create_private_dir_all(parent)?;
                create_private_dir(path)
            }
            _ => Err(error),
        },
        made => made,
    }
    .map_err(|source| with_path(&source, path))
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    let made = std::fs::DirBuilder::new().mode(OWN_DIRECTORY).create(path);
    #[cfg(windows)]
    let made = fs::create_dir(path);
    match made {
        #[cfg(unix)]
        Ok(()) if fs::metadata(path)?.permissions().mode() & OWN_DIRECTORY != OWN_DIRECTORY => {
            fs::set_permissions(path, PermissionsExt::from_mode(OWN_DIRECTORY))
        }
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

/// Removes a directory and everything in it; one that is not there is removed
/// already. Symbolic links are removed, never followed.
///
/// Repeats for a short while when something still writes into the tree, as a
/// killed child's last system call can.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    let attempts = 20;
    for attempt in 1.. {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if attempt < attempts
                    && matches!(
                        error.kind(),
                        io::ErrorKind::DirectoryNotEmpty
                            | io::ErrorKind::PermissionDenied
                            | io::ErrorKind::ResourceBusy
                    ) =>
            {
                // A directory without write permission keeps its entries from
                // being removed; ours may be given it back.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    make_tree_writable(path);
                }
                std::thread::sleep(std::time::Duration::from_millis(25));
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop returns")
}

/// Gives the owner of every directory under `path` its permissions back.
/// What cannot be changed shows in the removal that follows.
fn make_tree_writable(path: &Path) {
    #[cfg(unix)]
    {
        let _ = fs::set_permissions(path, PermissionsExt::from_mode(OWN_DIRECTORY));
    }
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_tree_writable(&entry.path());
        }
    }
}

/// What a file system has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that the caller may still write.
    pub bytes: u64,
    /// Files that may still be created; `None` where there is no such limit.
    pub files: Option<u64>,
}

/// What is left on the file system of `path`.
#[cfg(unix)]
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let status = rustix::fs::statvfs(path).map_err(|source| with_path(&source.into(), path))?;
    Ok(FreeSpace {
        bytes: status.f_bavail.saturating_mul(status.f_frsize),
        files: (status.f_files > 0).then_some(status.f_favail),
    })
}

/// What is left on the file system of `path`.
#[cfg(windows)]
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    use std::os::windows::ffi::OsStrExt;
    let wide: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    let mut bytes = 0;
    // SAFETY: `wide` ends with a NUL and outlives the call; the out pointers
    // that are not wanted may be null.
    let succeeded = unsafe {
        windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW(
            wide.as_ptr(),
            &raw mut bytes,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if succeeded == 0 {
        return Err(with_path(&io::Error::last_os_error(), path));
    }
    Ok(FreeSpace { bytes, files: None })
}

/// Why a directory must not be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsafe {
    /// It belongs to another user, who could change what is put there.
    ForeignOwner {
        /// Its owner's user id.
        owner: u32,
    },
    /// Every user may write to it.
    WorldWritable,
    /// It is a symbolic link made by another user.
    ForeignLink {
        /// The link's owner's user id.
        owner: u32,
    },
    /// It is not a directory.
    NotADirectory,
}

impl std::fmt::Display for Unsafe {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ForeignOwner { owner } => {
                write!(formatter, "it belongs to another user (uid {owner})")
            }
            Self::WorldWritable => formatter.write_str("every user may write to it"),
            Self::ForeignLink { owner } => {
                write!(
                    formatter,
                    "it is a symbolic link of another user (uid {owner})"
                )
            }
            Self::NotADirectory => formatter.write_str("it is not a directory"),
        }
    }
}

/// Whether nobody else can change what is put in the directory `path`;
/// `Ok(None)` if so, or if there is nothing at `path`.
pub fn untrusted(path: &Path) -> io::Result<Option<Unsafe>> {
    let link = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        if link.is_symlink() && link.uid() != user && link.uid() != 0 {
            return Ok(Some(Unsafe::ForeignLink { owner: link.uid() }));
        }
        let target = match fs::metadata(path) {
            // A link of ours to nowhere: creating through it is no surprise.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if !target.is_dir() {
            return Ok(Some(Unsafe::NotADirectory));
        }
        if target.uid() != user {
            return Ok(Some(Unsafe::ForeignOwner {
                owner: target.uid(),
            }));
        }
        if target.mode() & 0o002 != 0 {
            return Ok(Some(Unsafe::WorldWritable));
        }
        Ok(None)
    }
    #[cfg(windows)]
    Ok((!link.is_dir() && !fs::metadata(path)?.is_dir()).then_some(Unsafe::NotADirectory))
}

/// Whether a file system is mounted on `path` or on a directory below it.
/// What is there belongs to somebody else.
pub fn contains_mount_point(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        let parent = mount_of(path.parent().unwrap_or(path))?;
        differs_below(path, parent)
    }
    #[cfg(windows)]
    {
        // A mounted folder is a reparse point, as a symbolic link is, and is
        // not descended into when a directory is removed.
        let _ = path;
        Ok(false)
    }
}

#[cfg(unix)]
fn differs_below(directory: &Path, mount: (u64, u64)) -> io::Result<bool> {
    if mount_of(directory)? != mount {
        return Ok(true);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && differs_below(&entry.path(), mount)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The device and, where the system tells, the mount that `path` is on: a
/// bind mount of the same device differs in the mount only.
#[cfg(unix)]
fn mount_of(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let device = fs::symlink_metadata(path)?.dev();
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
        // Linux before 5.8 leaves the field at zero, for every path alike.
        let status = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)
            .map_err(|source| with_path(&source.into(), path))?;
        Ok((device, status.stx_mnt_id))
    }
    #[cfg(not(target_os = "linux"))]
    Ok((device, 0))
}

/// Whether an error says that the device, the quota or the inodes are used up.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Names the path in an error of a call that does not; the kind stays.
pub fn with_path(source: &io::Error, path: &Path) -> io::Error {
    io::Error::new(source.kind(), format!("{source} (`{}`)", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.json");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn removes_a_tree_with_read_only_directories_and_never_follows_links() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), b"").unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("locked")).unwrap();
        fs::write(tree.join("locked/file"), b"").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        fs::set_permissions(tree.join("locked"), std::fs::Permissions::from_mode(0o500)).unwrap();
        remove_dir_all(&tree).unwrap();
        assert!(!tree.exists());
        assert!(kept.join("file").exists());
    }

    #[cfg(unix)]
    #[test]
    fn distrusts_a_world_writable_directory() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(untrusted(directory.path()).unwrap(), None);
        fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            untrusted(directory.path()).unwrap(),
            Some(Unsafe::WorldWritable)
        );
    }
}
