//! Where the targets put what ktx reads from files.

use std::path::PathBuf;
use std::sync::LazyLock;

/// What stands for [`DIRECTORY`] in what is tried, so that it means the same in
/// every process.
const STAND_IN: &[u8] = b"/ROOT";

/// A directory of this process. Nothing removes it, for a process in which a
/// target fails ends there and then: whoever starts it says where it may be
/// (`TMPDIR`).
pub static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    tempfile::Builder::new()
        .disable_cleanup(true)
        .tempdir()
        .expect("the system has room for a directory")
        .keep()
});

/// Writes a file in [`DIRECTORY`], and the directory that it is in; returns its
/// path.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = DIRECTORY.join(name);
    let directory = path.parent().expect("it is in a directory");
    // Anew: some file systems wait for the disk when a file is written over.
    let _ = fs_err::remove_file(&path);
    fs_err::create_dir_all(directory)
        .and_then(|()| fs_err::write(&path, in_place(bytes)))
        .expect("the system has room for a file");
    path
}

/// `bytes` with this process's directory where its stand-in is.
fn in_place(mut bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    while let Some(at) = bytes
        .windows(STAND_IN.len())
        .position(|window| window == STAND_IN)
    {
        text.extend_from_slice(&bytes[..at]);
        text.extend_from_slice(DIRECTORY.as_os_str().as_encoded_bytes());
        bytes = &bytes[at + STAND_IN.len()..];
    }
    text.extend_from_slice(bytes);
    text
}
