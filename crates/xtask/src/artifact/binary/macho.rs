//! macOS: the load commands, and the signature without which Apple silicon runs nothing.

use object::macho;
use object::read::macho::{
    CodeDirectory, CodeSignature, LoadCommandVariant, MachHeader, MachOFile64,
};
use object::{BigEndian, Endianness, Object, ObjectSection};
use sha2::{Digest, Sha256};

use super::{Facts, Floor, Kind, Version, check_floor, libraries};
use crate::artifact::{Problems, Rules};

/// Where macOS keeps its own libraries.
const SYSTEM: [&str; 2] = ["/usr/lib/", "/System/Library/"];

pub(super) fn check<'data>(
    file: &MachOFile64<'data, Endianness>,
    rules: Rules<'_>,
    kind: Kind,
    content: &'data [u8],
    problems: &mut Problems,
) -> object::Result<Facts> {
    let endian = file.endian();
    let mut facts = Facts {
        libraries: libraries(file)?,
        unstripped: unstripped(file),
        ..Facts::default()
    };
    let mut minimum = None;
    let mut is_signed = false;
    for command in file.macho_load_commands()? {
        let command = command?;
        match command.variant()? {
            LoadCommandVariant::BuildVersion(version, _) => {
                problems.unless(
                    version.platform.get(endian) == macho::PLATFORM_MACOS,
                    "machine",
                    "is for another system of Apple's",
                );
                minimum = Some(version.minos.get(endian).0);
            }
            LoadCommandVariant::VersionMin(version) => {
                problems.unless(
                    command.cmd() == macho::LC_VERSION_MIN_MACOSX,
                    "machine",
                    "is for another system of Apple's",
                );
                minimum = Some(version.version.get(endian).0);
            }
            LoadCommandVariant::LoadDylinker(linker) => {
                let path = command.string(endian, linker.name)?;
                facts.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            }
            LoadCommandVariant::Rpath(rpath) => {
                let path =
                    String::from_utf8_lossy(command.string(endian, rpath.path)?).into_owned();
                problems.add("rpath", format!("looks for libraries in `{path}`"));
            }
            LoadCommandVariant::LinkeditData(data) if command.cmd() == macho::LC_CODE_SIGNATURE => {
                is_signed = true;
                let signature = data.code_signature(endian, content)?;
                check_signature(&signature, content, problems)?;
            }
            _ => {}
        }
    }
    problems.unless(
        is_signed || rules.platform.cpu != "arm64",
        "signature",
        "is missing; Apple silicon runs no code without one",
    );
    check_kind(file, kind, facts.interpreter.as_deref(), problems);
    for library in &facts.libraries {
        problems.unless(
            SYSTEM.iter().any(|dir| library.starts_with(dir)),
            "libraries",
            format!("needs `{library}`, which is not macOS's own"),
        );
    }
    match minimum {
        Some(minimum) => {
            // Sixteen bits, eight and eight; the last is of no interest.
            let floor = Floor {
                of: "macOS",
                version: Version(vec![minimum >> 16, (minimum >> 8) & 0xff]),
            };
            check_floor(
                rules,
                &floor,
                "macos",
                rules.platform.macos.as_deref(),
                problems,
            );
            facts.floor = Some(floor);
        }
        None => problems.add("libc floor", "does not state the macOS it needs"),
    }
    Ok(facts)
}

fn check_kind(
    file: &MachOFile64<'_, Endianness>,
    kind: Kind,
    interpreter: Option<&str>,
    problems: &mut Problems,
) {
    let found = file.macho_header().filetype(file.endian());
    match kind {
        Kind::Addon => problems.unless(
            found == macho::MH_DYLIB || found == macho::MH_BUNDLE,
            "kind",
            "is no library",
        ),
        Kind::Program => {
            problems.unless(found == macho::MH_EXECUTE, "kind", "is no program");
            problems.unless(
                interpreter == Some("/usr/lib/dyld"),
                "interpreter",
                "is not `/usr/lib/dyld`",
            );
        }
    }
}

/// Compares the hash of every page with the one that was signed: what is changed after it was
/// signed, such as by removing symbols, is killed when it starts.
fn check_signature(
    signature: &CodeSignature<'_>,
    content: &[u8],
    problems: &mut Problems,
) -> object::Result<()> {
    let mut has_directory = false;
    for blob in signature.blobs() {
        let Some(directory) = blob?.code_directory()? else {
            continue;
        };
        if directory.header().hash_type != macho::CS_HASHTYPE_SHA256 {
            continue;
        }
        has_directory = true;
        problems.unless(
            pages_match(&directory, content).unwrap_or(false),
            "signature",
            "is that of other bytes",
        );
    }
    problems.unless(has_directory, "signature", "holds no SHA-256 digests");
    Ok(())
}

fn pages_match(directory: &CodeDirectory<'_>, content: &[u8]) -> Option<bool> {
    let header = directory.header();
    let limit = header.code_limit.get(BigEndian) as usize;
    let page = 1_usize.checked_shl(u32::from(header.page_size))?;
    let count = header.n_code_slots.get(BigEndian) as usize;
    let pages: Vec<&[u8]> = content.get(..limit)?.chunks(page).collect();
    if pages.len() != count {
        return Some(false);
    }
    for (index, page) in pages.into_iter().enumerate() {
        let index = u32::try_from(index).ok()?;
        if directory.code_hash(index).ok()? != &Sha256::digest(page)[..] {
            return Some(false);
        }
    }
    Some(true)
}

fn unstripped(file: &MachOFile64<'_, Endianness>) -> Option<String> {
    let section = file
        .sections()
        .find(|section| matches!(section.segment_name(), Ok(Some("__DWARF"))))?;
    Some(format!(
        "the section `{}`",
        section.name().unwrap_or_default()
    ))
}
