//! How release artifacts are compiled: the same bytes on every machine and in every directory.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use xshell::{Cmd, cmd};

use crate::{repo, tools};

/// The oldest time that a zip archive can state.
const ARCHIVE_TIME: &str = "315532800";

/// Gives a command that compiles for release its flags; those of the machine do not count.
///
/// `target_dir` is where it compiles: generated code carries its path.
pub(crate) fn reproducible<'sh>(command: Cmd<'sh>, target_dir: &Path) -> Result<Cmd<'sh>> {
    let sh = tools::shell()?;
    let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    // Later entries win, so the more special ones follow the more general ones.
    let mut flags: Vec<String> = [
        (cargo_home_dir()?, "/cargo"),
        (PathBuf::from(sysroot), "/rust"),
        (repo::root().to_owned(), "/ktx"),
        (target_dir.to_owned(), "/target"),
    ]
    .iter()
    .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
    .collect();
    if cfg!(target_env = "musl") {
        // A library that a program loads must use that program's libc.
        flags.push("-Ctarget-feature=-crt-static".to_owned());
    }
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        // Tables for unwinding are much smaller where a register holds the frame;
        // other systems and processors keep one anyway.
        flags.push("-Cforce-frame-pointers=yes".to_owned());
        if cfg!(target_env = "gnu") {
            // Here Rust links with LLD, which folds functions of the same code.
            flags.push("-Clink-arg=-Wl,--icf=all".to_owned());
        }
    }
    Ok(command
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("SOURCE_DATE_EPOCH", ARCHIVE_TIME))
}

/// Fails if a file holds a path of the machine that it was built on.
pub(crate) fn check_no_paths(path: &Path, content: &[u8]) -> Result<()> {
    for dir in [
        repo::root().to_owned(),
        repo::cargo_target_dir(),
        cargo_home_dir()?,
    ] {
        let needle = dir.to_string_lossy();
        // A root such as `/` or `/w` would be found in any binary.
        if needle.len() > 4 && contains(content, needle.as_bytes()) {
            anyhow::bail!("`{}` holds the build path `{needle}`", repo::shown(path));
        }
    }
    Ok(())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn cargo_home_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::home_dir().context("There is no home directory")?;
    Ok(home.join(".cargo"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::check_no_paths;
    use crate::repo;

    #[test]
    fn finds_a_build_path_in_a_binary() {
        let leak = format!("\0{}/crates/x.rs\0", repo::root().display());
        assert!(check_no_paths(Path::new("a.node"), leak.as_bytes()).is_err());
        assert!(check_no_paths(Path::new("a.node"), b"\0/ktx/crates/x.rs\0").is_ok());
    }
}
