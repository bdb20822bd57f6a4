//! Windows: what is imported, which must be the system's own, and what is left of debugging.

use object::pe;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{LittleEndian as LE, Object, ObjectSection};

use super::{Facts, Kind, libraries};
use crate::artifact::Problems;

/// Libraries that every Windows has; `vcruntime140.dll` is not among them.
const SYSTEM: [&str; 29] = [
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "cfgmgr32.dll",
    "combase.dll",
    "crypt32.dll",
    "cryptbase.dll",
    "dbghelp.dll",
    "dnsapi.dll",
    "gdi32.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "kernelbase.dll",
    "msvcrt.dll",
    "mswsock.dll",
    "ncrypt.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "pdh.dll",
    "powrprof.dll",
    "psapi.dll",
    "rpcrt4.dll",
    "secur32.dll",
    "shell32.dll",
    "ucrtbase.dll",
    "user32.dll",
    "userenv.dll",
    "ws2_32.dll",
];
/// The names under which Windows 10 and later offer parts of their libraries.
const API_SETS: [&str; 2] = ["api-ms-win-", "ext-ms-win-"];

pub(super) fn check(
    file: &PeFile64<'_>,
    kind: Kind,
    problems: &mut Problems,
) -> object::Result<Facts> {
    let libraries = libraries(file)?;
    for library in &libraries {
        let name = library.to_ascii_lowercase();
        problems.unless(
            SYSTEM.contains(&name.as_str()) || API_SETS.iter().any(|set| name.starts_with(set)),
            "libraries",
            format!("needs `{library}`, which not every Windows has"),
        );
    }
    let headers = file.nt_headers();
    let is_library = headers.file_header().characteristics.get(LE).0 & pe::IMAGE_FILE_DLL.0 != 0;
    match kind {
        Kind::Addon => problems.unless(is_library, "kind", "is no library"),
        Kind::Program => problems.unless(!is_library, "kind", "is no program"),
    }
    let traits = headers.optional_header().dll_characteristics().0;
    problems.unless(
        traits & pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT.0 != 0,
        "stack",
        "is executable",
    );
    if let Some(debug) = file.pdb_info()? {
        let path = String::from_utf8_lossy(debug.path());
        problems.unless(
            !path.contains(['/', '\\']),
            "paths",
            format!("holds `{path}`, a path of the machine that built it"),
        );
    }
    Ok(Facts {
        libraries,
        unstripped: unstripped(file),
        ..Facts::default()
    })
}

fn unstripped(file: &PeFile64<'_>) -> Option<String> {
    let symbols = file.nt_headers().file_header().number_of_symbols.get(LE);
    if symbols > 0 {
        return Some(format!("{symbols} symbols"));
    }
    let section = file
        .sections()
        .find(|section| section.name().is_ok_and(|name| name.starts_with(".debug_")))?;
    Some(format!(
        "the section `{}`",
        section.name().unwrap_or_default()
    ))
}
