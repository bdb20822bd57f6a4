//! Sizes and SHA-256 digests of files.

use std::io::Read;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What identifies a file's bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Digested {
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Reads a stream to its end and says what it held.
pub(crate) fn of_reader(mut reader: impl Read) -> Result<Digested> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(Digested {
        sha256: hex(&hasher.finalize()),
        bytes,
    })
}

/// Says what a file holds.
pub(crate) fn of_file(path: &Path) -> Result<Digested> {
    of_reader(fs_err::File::open(path)?)
}

/// The digest of a few bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_bytes_as_hexadecimal() {
        assert_eq!(
            super::of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let digested = super::of_reader(&b"abc"[..]).unwrap();
        assert_eq!(
            (digested.bytes, digested.sha256),
            (3, super::of_bytes(b"abc"))
        );
    }
}
