//! The archive of a wheel, read entry by entry as it is listed: other readers drop all but one of
//! the entries of one name.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};

use crate::artifact::Problems;
use crate::artifact::archive::{File, Files, MOST_BYTES};

/// The bits of a mode that say what kind of file it is, and those of a regular one.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
/// 1980-01-01 00:00, the oldest that a zip archive can state.
const ARCHIVE_TIME: (u16, u8, u8, u8, u8, u8) = (1980, 1, 1, 0, 0, 0);

/// Reads every file of the archive; what is wrong with its form is a problem.
pub(super) fn read(content: &[u8], problems: &mut Problems) -> Result<Files> {
    let archive = ZipArchive::from_slice(content)?;
    problems.unless(
        archive.end_offset() == content.len() as u64 && archive.comment().as_bytes().is_empty(),
        "archive",
        "has something after its end",
    );
    let mut files = Files::default();
    let mut rest = MOST_BYTES;
    for record in archive.entries() {
        let record = record?;
        let name = String::from_utf8_lossy(record.file_path().as_ref()).into_owned();
        check_form(&record, &name, problems);
        let mode = record.mode();
        let content = unpack(&archive, &record, rest).with_context(|| format!("`{name}`"))?;
        rest -= content.len() as u64;
        let file = File {
            mode: mode.value() & 0o7777,
            content,
        };
        files.add(&name, file, problems);
    }
    Ok(files)
}

fn check_form(record: &ZipFileHeaderRecord<'_>, name: &str, problems: &mut Problems) {
    let mode = record.mode();
    problems.unless(
        mode.value() & KIND == REGULAR,
        "files",
        format!("`{name}` is no file ({:o})", mode.value()),
    );
    let time = record.last_modified();
    let found = (
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    );
    problems.unless(
        found == ARCHIVE_TIME,
        "time",
        format!("`{name}` states when it was built, so the same sources give other bytes"),
    );
}

fn unpack(
    archive: &ZipSliceArchive<&[u8]>,
    record: &ZipFileHeaderRecord<'_>,
    most: u64,
) -> Result<Vec<u8>> {
    let entry = archive.get_entry(record.wayfinder())?;
    ensure!(
        entry.local_header().file_path().as_ref() == record.file_path().as_ref(),
        "has another name in front of its content"
    );
    let mut content = Vec::new();
    let packed = entry.data();
    let read = match record.compression_method() {
        CompressionMethod::STORE => entry
            .verifying_reader(packed)
            .take(most + 1)
            .read_to_end(&mut content),
        CompressionMethod::DEFLATE => entry
            .verifying_reader(DeflateDecoder::new(packed))
            .take(most + 1)
            .read_to_end(&mut content),
        method => anyhow::bail!("is packed with the method {}", method.as_u16()),
    };
    read?;
    ensure!(
        content.len() as u64 <= most,
        "unpacks to more than {most} bytes"
    );
    Ok(content)
}
