//! Linux: what the dynamic loader is told, and the versions of glibc that are asked for.

use object::elf;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

use super::{Facts, Floor, Kind, Version, check_floor, libraries};
use crate::artifact::{Problems, Rules};

/// What glibc consists of, and the unwinder that comes with every one.
const GLIBC: [&str; 8] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];
/// The glibc that first loads files with relative relocations packed, which it states by a name.
const PACKED_RELOCATIONS: (&str, &str) = ("GLIBC_ABI_DT_RELR", "2.36");

pub(super) fn check(
    file: &ElfFile64<'_, Endianness>,
    rules: Rules<'_>,
    kind: Kind,
    problems: &mut Problems,
) -> object::Result<Facts> {
    let is_glibc = rules.platform.libc.as_deref() == Some("glibc");
    let libraries = libraries(file)?;
    let interpreter = check_segments(file, problems)?;
    check_dynamic(file, problems)?;
    check_interpreter(rules, kind, interpreter.as_deref(), &libraries, problems);
    for library in &libraries {
        let is_known = if is_glibc {
            GLIBC.contains(&library.as_str())
        } else {
            is_of_musl(library)
        };
        problems.unless(
            is_known,
            "libraries",
            format!(
                "needs `{library}`, which {} does not have",
                rules.platform.id
            ),
        );
    }
    let floor = glibc_floor(file, problems)?;
    match &floor {
        Some(floor) if is_glibc => {
            check_floor(
                rules,
                floor,
                "glibc",
                rules.platform.glibc.as_deref(),
                problems,
            );
        }
        Some(floor) => problems.add(
            "libc floor",
            format!("needs glibc {}; the platform has musl", floor.version),
        ),
        None => problems.unless(
            !libraries.iter().any(|library| library == "libc.so.6"),
            "libc floor",
            "does not state which glibc it needs",
        ),
    }
    Ok(Facts {
        floor,
        interpreter,
        libraries,
        unstripped: unstripped(file),
    })
}

fn is_of_musl(library: &str) -> bool {
    library == "libc.so"
        || library
            .strip_prefix("libc.musl-")
            .is_some_and(|rest| rest.ends_with(".so.1"))
}

/// Looks at what is loaded, and gives what loads it.
fn check_segments(
    file: &ElfFile64<'_, Endianness>,
    problems: &mut Problems,
) -> object::Result<Option<String>> {
    let (endian, data) = (file.endian(), file.data());
    let mut interpreter = None;
    let mut stack = None;
    for segment in file.elf_program_headers() {
        let flags = segment.p_flags(endian).0;
        match segment.p_type(endian) {
            elf::PT_GNU_STACK => stack = Some(flags),
            elf::PT_LOAD => problems.unless(
                flags & elf::PF_W.0 == 0 || flags & elf::PF_X.0 == 0,
                "segments",
                "has memory that is both writable and executable",
            ),
            _ => {}
        }
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    // Without the header the system takes the oldest rule, by which a stack is executable.
    problems.unless(
        stack.is_some_and(|flags| flags & elf::PF_X.0 == 0),
        "stack",
        "is executable",
    );
    Ok(interpreter)
}

fn check_dynamic(file: &ElfFile64<'_, Endianness>, problems: &mut Problems) -> object::Result<()> {
    let table = file.elf_dynamic_table()?;
    for entry in &table {
        match entry.tag {
            elf::DT_RPATH | elf::DT_RUNPATH => {
                let path = String::from_utf8_lossy(table.string(entry)?).into_owned();
                problems.add("rpath", format!("looks for libraries in `{path}`"));
            }
            elf::DT_TEXTREL => problems.add("segments", "changes its own code while it is loaded"),
            _ => {}
        }
    }
    Ok(())
}

fn check_interpreter(
    rules: Rules<'_>,
    kind: Kind,
    interpreter: Option<&str>,
    libraries: &[String],
    problems: &mut Problems,
) {
    let processor = match rules.platform.cpu.as_str() {
        "x64" => "x86_64",
        _ => "aarch64",
    };
    let expected = match (rules.platform.libc.as_deref(), processor) {
        (Some("musl"), _) => format!("/lib/ld-musl-{processor}.so.1"),
        (_, "x86_64") => "/lib64/ld-linux-x86-64.so.2".to_owned(),
        _ => format!("/lib/ld-linux-{processor}.so.1"),
    };
    match (kind, interpreter) {
        (Kind::Program, Some(found)) => problems.unless(
            found == expected,
            "interpreter",
            format!("is `{found}`; expected `{expected}`"),
        ),
        (Kind::Program, None) => problems.unless(
            libraries.is_empty(),
            "interpreter",
            format!("has none, though it needs libraries; expected `{expected}`"),
        ),
        (Kind::Addon, Some(found)) => {
            problems.add("interpreter", format!("is `{found}`; a library has none"));
        }
        (Kind::Addon, None) => {}
    }
}

/// The newest version of glibc that the file asks for, wherever it is asked for.
fn glibc_floor(
    file: &ElfFile64<'_, Endianness>,
    problems: &mut Problems,
) -> object::Result<Option<Floor>> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_section_table();
    let Some((needs, strings)) = sections.gnu_verneed(endian, data)? else {
        return Ok(None);
    };
    let strings = sections.strings(endian, data, strings)?;
    let mut newest = None;
    for need in needs {
        for version in need?.1 {
            let name = String::from_utf8_lossy(version?.name(endian, strings)?).into_owned();
            let Some(number) = name.strip_prefix("GLIBC_") else {
                continue;
            };
            let number = if name == PACKED_RELOCATIONS.0 {
                PACKED_RELOCATIONS.1
            } else {
                number
            };
            match Version::parse(number) {
                Some(version) => newest = newest.max(Some(version)),
                None => problems.add("libc floor", format!("needs `{name}`, which is no version")),
            }
        }
    }
    Ok(newest.map(|version| Floor {
        of: "glibc",
        version,
    }))
}

fn unstripped(file: &ElfFile64<'_, Endianness>) -> Option<String> {
    let section = file.sections().find(|section| {
        section.name().is_ok_and(|name| {
            name == ".symtab" || name.starts_with(".debug_") || name.starts_with(".zdebug_")
        })
    })?;
    Some(format!(
        "the section `{}`",
        section.name().unwrap_or_default()
    ))
}
