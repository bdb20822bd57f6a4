//! Takes the one pinned binary out of a wheel whose bytes are already verified.

use std::io::{self, Read, Seek, Write};
use std::path::Path;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::error::BootstrapError;
use super::pins::{Pin, hex};

/// How much is unpacked at a time.
const CHUNK: usize = 128 * 1024;

/// The start of a temporary file's name, so that what a killed process leaves
/// behind can be told from what is kept.
pub(super) const TEMPORARY_PREFIX: &str = ".uv-";

/// Makes a temporary file in the directory, which goes away with its value.
pub(super) fn temporary_in(directory: &Path) -> Result<NamedTempFile, BootstrapError> {
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(directory)
        .map_err(|source| BootstrapError::io(directory, source))
}

/// Unpacks the binary beside its final place: complete, hashed, executable and
/// on disk, but not yet under its name.
pub(crate) fn unpack(
    wheel: impl Read + Seek,
    pin: &Pin,
    directory: &Path,
) -> Result<NamedTempFile, BootstrapError> {
    let damaged = |reason: String| BootstrapError::Archive {
        file: pin.file.clone(),
        reason,
    };
    let mut buffer = vec![0; CHUNK];
    let archive = ZipArchive::from_seekable(wheel, &mut buffer)
        .map_err(|error| damaged(error.to_string()))?;
    let (position, method) = find(&archive, &mut buffer, &pin.binary.path)
        .map_err(|error| damaged(error.to_string()))?
        .ok_or_else(|| damaged(format!("`{}` is not in it", pin.binary.path)))?;
    let packed = archive
        .get_entry(position)
        .map_err(|error| damaged(format!("`{}`: {error}", pin.binary.path)))?
        .reader();
    let mut entry: Box<dyn Read> = match method {
        CompressionMethod::STORE => Box::new(packed),
        CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(packed)),
        method => {
            return Err(damaged(format!(
                "`{}` is packed with the unknown method {}",
                pin.binary.path,
                method.as_u16()
            )));
        }
    };

    let mut target = temporary_in(directory)?;
    let mut hasher = Sha256::new();
    let mut written = 0;
    loop {
        let count = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error.to_string())),
        };
        written += count as u64;
        // The header's size is a claim: only counting stops an entry that
        // unpacks without end.
        if written > pin.binary.bytes {
            break;
        }
        hasher.update(&buffer[..count]);
        target
            .write_all(&buffer[..count])
            .map_err(|source| BootstrapError::io(target.path(), source))?;
    }
    if written != pin.binary.bytes {
        return Err(damaged(format!(
            "`{}` unpacks to {} than the pinned {} bytes",
            pin.binary.path,
            if written > pin.binary.bytes {
                "more"
            } else {
                "less"
            },
            pin.binary.bytes
        )));
    }
    let actual = hex(hasher);
    if actual != pin.binary.sha256 {
        return Err(BootstrapError::Checksum {
            file: pin.binary.path.clone(),
            expected: pin.binary.sha256.clone(),
            actual,
        });
    }
    let io = |source| BootstrapError::io(target.path(), source);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let executable = PermissionsExt::from_mode(0o755);
        target.as_file().set_permissions(executable).map_err(io)?;
    }
    target.as_file().sync_all().map_err(io)?;
    Ok(target)
}

/// Where the archive has a file, and how it is packed.
fn find<R: ReaderAt>(
    archive: &ZipArchive<R>,
    buffer: &mut [u8],
    path: &str,
) -> Result<Option<(ZipArchiveEntryWayfinder, CompressionMethod)>, rawzip::Error> {
    let mut entries = archive.entries(buffer);
    while let Some(entry) = entries.next_entry()? {
        if entry.file_path().as_ref() == path.as_bytes() {
            return Ok(Some((entry.wayfinder(), entry.compression_method())));
        }
    }
    Ok(None)
}
