//! Readers of what others wrote, for the targets in `fuzz/`. Only there is
//! `cfg(fuzzing)` set, so nobody else has these.

use std::io::Cursor;
use std::path::Path;

use tempfile::NamedTempFile;
use url::Url;

use crate::bootstrap::{BootstrapError, Pin, archive, index};
use crate::records::{self, Installed};

/// The address that a page of a package index gives for `file`.
pub fn find_file(
    page: &[u8],
    content_type: &str,
    url: &Url,
    file: &str,
) -> Result<Url, BootstrapError> {
    index::find_file(page, content_type, url, file)
}

/// Unpacks the binary of `pin` from a wheel.
pub fn unpack(wheel: &[u8], pin: &Pin, directory: &Path) -> Result<NamedTempFile, BootstrapError> {
    archive::unpack(Cursor::new(wheel), pin, directory)
}

/// What the records of the environment at `directory` say is installed; else
/// what is wrong with them.
pub fn installed(directory: &Path) -> Result<Installed, String> {
    records::read(directory, None).map_err(|fault| fault.to_string())
}
