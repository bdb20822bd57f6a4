//! Sizes and sha256 digests of files, from one reading of one opened file.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// Bytes hashed at a time: small enough for a core's second-level cache,
/// large enough that system calls do not count.
const BLOCK: usize = 256 * 1024;

/// Size and sha256 of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many bytes were read.
    pub bytes: u64,
    /// Their sha256 in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Hashes `source` to its end and copies what it hashes to `copy`.
pub fn hash(mut source: impl Read, mut copy: impl Write) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let read = match source.read(&mut block) {
            Ok(0) => break,
            Ok(read) => &block[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(read);
        copy.write_all(read)?;
        bytes += read.len() as u64;
    }
    let mut sha256 = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(Digest { bytes, sha256 })
}
