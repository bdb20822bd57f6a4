//! What stands in for `libgcc_s` when linking elsewhere.
//!
//! zig would put an unwinder into everything that it links. A library that Node loads takes the
//! one that Node itself needs, as it does when this machine's compiler links it: that is a
//! hundredth of the addon, and two unwinders in a process are one too many.

use std::path::PathBuf;

use anyhow::Result;

use crate::target::Target;
use crate::tools::{self, PythonTools};
use crate::uv;

/// What Rust calls of it, by the version that first had it: the same in every GCC since.
const SYMBOLS: [(&str, &[&str]); 3] = [
    (
        "GCC_3.0",
        &[
            "_Unwind_DeleteException",
            "_Unwind_GetDataRelBase",
            "_Unwind_GetGR",
            "_Unwind_GetIP",
            "_Unwind_GetLanguageSpecificData",
            "_Unwind_GetRegionStart",
            "_Unwind_GetTextRelBase",
            "_Unwind_RaiseException",
            "_Unwind_Resume",
            "_Unwind_SetGR",
            "_Unwind_SetIP",
        ],
    ),
    (
        "GCC_3.3",
        &[
            "_Unwind_Backtrace",
            "_Unwind_FindEnclosingFunction",
            "_Unwind_GetCFA",
            "_Unwind_Resume_or_Rethrow",
        ],
    ),
    ("GCC_4.2.0", &["_Unwind_GetIPInfo"]),
];

/// Makes the stand-in for a target, once, and gives its path.
pub(crate) fn stub(target: &Target, zig_name: &str, python_tools: &PythonTools) -> Result<PathBuf> {
    let dir = tools::dir().join(format!("unwinder-{}", target.triple));
    let path = dir.join("libgcc_s.so");
    if path.exists() {
        return Ok(path);
    }
    fs_err::create_dir_all(tools::dir())?;
    let work_dir = tempfile::tempdir_in(tools::dir())?;
    let file = |name: &str| work_dir.path().join(name);
    fs_err::write(file("stub.c"), source())?;
    fs_err::write(file("versions"), versions())?;
    let sh = tools::shell()?;
    let cache_dir = tools::zig_cache_dir();
    let command = python_tools
        .command(&sh, "python")
        .args(["-m", "ziglang", "cc", "-shared", "-nostdlib"])
        .args(["-target", zig_name, "-Wl,-soname,libgcc_s.so.1"])
        .arg(format!(
            "-Wl,--version-script={}",
            file("versions").display()
        ))
        .arg("-o")
        .arg(file("libgcc_s.so"))
        .arg(file("stub.c"))
        .env("ZIG_GLOBAL_CACHE_DIR", &cache_dir)
        .env("ZIG_LOCAL_CACHE_DIR", &cache_dir);
    uv::read(command)?;
    fs_err::rename(work_dir.keep(), &dir)?;
    Ok(path)
}

fn source() -> String {
    let names = SYMBOLS.iter().flat_map(|(_, names)| names.iter());
    names.fold(String::new(), |text, name| {
        text + "void " + name + "(void) {}\n"
    })
}

fn versions() -> String {
    SYMBOLS
        .iter()
        .fold(String::new(), |text, (version, names)| {
            text + version + " { global: " + &names.join("; ") + "; };\n"
        })
}

#[cfg(test)]
mod tests {
    use super::{source, versions};

    #[test]
    fn defines_each_symbol_in_the_version_that_first_had_it() {
        assert!(source().contains("void _Unwind_RaiseException(void) {}\n"));
        let versions = versions();
        assert!(versions.starts_with("GCC_3.0 { global: _Unwind_DeleteException; "));
        assert!(versions.ends_with("GCC_4.2.0 { global: _Unwind_GetIPInfo; };\n"));
    }
}
