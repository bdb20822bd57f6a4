//! Sizes and SHA-256 digests, in the form in which pins and manifests state them.

use std::io::{self, Read};
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What identifies a file's bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Digested {
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Reads a stream to its end and says what it held.
pub(crate) fn of_reader(reader: impl Read) -> Result<Digested> {
    let digest = ktx_asset::hash(reader, io::sink())?;
    Ok(Digested {
        sha256: digest.sha256,
        bytes: digest.bytes,
    })
}

/// Says what a file holds.
pub(crate) fn of_file(path: &Path) -> Result<Digested> {
    of_reader(fs_err::File::open(path)?)
}
