//! Executables and libraries, read as the loaders of their systems read them.

mod elf;
mod macho;
mod pe;

use anyhow::{Context, Result};
use object::read::NameOrOrdinal;
use object::{Architecture, BinaryFormat, Object};
use serde::Serialize;

use super::problems::Problems;
use super::{Rules, paths};
use crate::digest;

/// What Node calls when it loads an addon.
const ADDON_ENTRY: &[u8] = b"napi_register_module_v1";

/// What a binary is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A library that Node loads.
    Addon,
    /// A program of its own.
    Program,
}

/// What a binary was found to be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Binary {
    /// Format and processor.
    pub(crate) machine: String,
    /// The oldest C library or system that it runs with, such as `glibc 2.28`; none where it
    /// brings all it needs.
    pub(crate) libc_floor: Option<String>,
    /// What the system starts the program with.
    pub(crate) interpreter: Option<String>,
    /// The libraries that must be there, sorted.
    pub(crate) libraries: Vec<String>,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What a format's reader found, besides what all formats have.
#[derive(Default)]
struct Facts {
    floor: Option<Floor>,
    interpreter: Option<String>,
    libraries: Vec<String>,
    /// The platform's binary has symbols or debug information left.
    unstripped: Option<String>,
}

/// The oldest version of something that a binary runs with.
struct Floor {
    of: &'static str,
    version: Version,
}

/// A version of a C library or a system, which are compared number by number.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Version(Vec<u32>);

impl Version {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.ok().map(Self)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        formatter.write_str(&numbers.join("."))
    }
}

/// Checks a binary against its platform and says what it is.
pub(super) fn check(
    rules: Rules<'_>,
    kind: Kind,
    content: &[u8],
    problems: &mut Problems,
) -> Result<Binary> {
    let digested = digest::of_reader(content)?;
    let mut binary = Binary {
        machine: "unknown".to_owned(),
        libc_floor: None,
        interpreter: None,
        libraries: Vec::new(),
        bytes: digested.bytes,
        sha256: digested.sha256,
    };
    if let Some(path) = paths::of_build_machine(content)? {
        problems.add(
            "paths",
            format!("holds `{path}`, a path of the machine that built it"),
        );
    }
    let file = match object::File::parse(content) {
        Ok(file) => file,
        Err(error) => {
            problems.add("format", format!("is no binary that can be read ({error})"));
            return Ok(binary);
        }
    };
    binary.machine = machine(&file);
    let expected = expected_machine(rules)?;
    if binary.machine != expected {
        problems.add(
            "machine",
            format!("is {}; expected {expected}", binary.machine),
        );
        return Ok(binary);
    }
    let read = match &file {
        object::File::Elf64(file) => elf::check(file, rules, kind, problems),
        object::File::MachO64(file) => macho::check(file, rules, kind, content, problems),
        object::File::Pe64(file) => pe::check(file, kind, problems),
        _ => Ok(Facts::default()),
    };
    let facts = match read {
        Ok(facts) => facts,
        Err(error) => {
            problems.add("format", format!("cannot be read to its end ({error})"));
            return Ok(binary);
        }
    };
    if kind == Kind::Addon {
        problems.unless(
            exports_entry(&file),
            "exports",
            format!(
                "has no `{}`, so Node cannot load it",
                String::from_utf8_lossy(ADDON_ENTRY)
            ),
        );
    }
    if let Some(rest) = &facts.unstripped {
        problems.add("stripped", format!("still has {rest}"));
    }
    binary.libc_floor = facts
        .floor
        .map(|floor| format!("{} {}", floor.of, floor.version));
    binary.interpreter = facts.interpreter;
    binary.libraries = facts.libraries;
    Ok(binary)
}

fn machine(file: &object::File<'_>) -> String {
    let format = match file.format() {
        BinaryFormat::Elf => "ELF",
        BinaryFormat::MachO => "Mach-O",
        BinaryFormat::Pe => "PE",
        _ => "other",
    };
    let processor = match file.architecture() {
        Architecture::X86_64 => "x64".to_owned(),
        Architecture::Aarch64 => "arm64".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{format} {processor}")
}

fn expected_machine(rules: Rules<'_>) -> Result<String> {
    let format = match rules.platform.os.as_str() {
        "linux" => Some("ELF"),
        "darwin" => Some("Mach-O"),
        "win32" => Some("PE"),
        _ => None,
    };
    let format =
        format.with_context(|| format!("No binaries are known for `{}`", rules.platform.os))?;
    Ok(format!("{format} {}", rules.platform.cpu))
}

fn exports_entry(file: &object::File<'_>) -> bool {
    file.exports().is_ok_and(|mut exports| {
        exports.any(|export| {
            export.is_ok_and(|export| match export.name() {
                // Mach-O puts an underscore before the names of C.
                NameOrOrdinal::Name(name) => {
                    name == ADDON_ENTRY || name.strip_prefix(b"_") == Some(ADDON_ENTRY)
                }
                NameOrOrdinal::Ordinal(_) => false,
            })
        })
    })
}

/// The sorted names of what the system must have loaded.
fn libraries<'data>(file: &impl Object<'data>) -> object::Result<Vec<String>> {
    let mut names = Vec::new();
    for library in file.import_libraries()? {
        names.push(String::from_utf8_lossy(library?.name()).into_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// A floor that the policy states for the platform, which a release must keep.
fn check_floor(
    rules: Rules<'_>,
    floor: &Floor,
    key: &str,
    newest: Option<&str>,
    problems: &mut Problems,
) {
    let Some(newest) = newest.and_then(Version::parse) else {
        return;
    };
    problems.unless(
        floor.version <= newest,
        "libc floor",
        format!(
            "needs {} {}; `{key}` of `{}` in the policy is {newest}",
            floor.of, floor.version, rules.platform.id
        ),
    );
}
