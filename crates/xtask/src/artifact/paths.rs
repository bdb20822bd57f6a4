//! Paths of the machine that built something, which would make its bytes depend on that machine
//! and tell who built it.

use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use anyhow::{Context, Result};
use regex::bytes::Regex;

use crate::{repo, rust_std, tools};

/// A file of sources or objects below somebody's home, or on a drive of Windows. That text
/// follows which a compiler writes is what tells it from a mere mention of `/home/`; what comes
/// then may be any other constant.
static BELOW_HOME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)(?:/home/|/Users/|/root/|[A-Za-z]:\\|\b[A-Z]:/)(?:[\w.+@~ -]+[/\\])+[\w.+@-]+\.(?:rs|cpp|pdb|rlib|dylib|(?:c|cc|h|o|a|so|dll)\b)",
    )
    .expect("the expression is valid")
});
/// The sources of dependencies, with what stands before them.
static REGISTRY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)[\w.+@~:/\\-]{0,200}[/\\]registry[/\\]src[/\\]")
        .expect("the expression is valid")
});
/// What the build puts in the place of directories.
const STAND_INS: [&str; 4] = ["cargo", "ktx", "rust", "target"];

/// Where cargo unpacks what it takes from its registries; a registry's name there tells which one
/// the machine uses.
pub(crate) fn registry_dirs() -> Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs_err::read_dir(cargo_home_dir()?.join("registry/src"))? {
        dirs.push(entry?.path());
    }
    Ok(dirs)
}

/// Gives the first path of a build machine in the content, of this one or another.
pub(super) fn of_build_machine(content: &[u8]) -> Result<Option<String>> {
    if let Some(found) = this_machine()?.find(content) {
        return Ok(Some(shown(found.as_bytes())));
    }
    let below_home = BELOW_HOME
        .find_iter(content)
        .find(|found| !begins_with_stand_in(found.as_bytes()));
    Ok(below_home
        .or_else(|| REGISTRY.find(content))
        .map(|found| shown(found.as_bytes())))
}

/// Whether `/home/` and the like only happen to stand before a path that was replaced.
fn begins_with_stand_in(found: &[u8]) -> bool {
    let text = String::from_utf8_lossy(found);
    let rest = text.splitn(3, '/').nth(2).unwrap_or_default();
    let first = rest.split('/').next().unwrap_or_default();
    first == "rustc" || STAND_INS.contains(&first)
}

/// The directories of this machine that a build uses, asked for once.
fn this_machine() -> Result<&'static Regex> {
    static DIRS: OnceLock<Regex> = OnceLock::new();
    if DIRS.get().is_none() {
        // Whoever is first wins; all find the same.
        let _ = DIRS.set(dirs_of_this_machine()?);
    }
    DIRS.get().context("It was set before")
}

fn dirs_of_this_machine() -> Result<Regex> {
    let dirs = [
        repo::root().to_owned(),
        repo::cargo_target_dir(),
        cargo_home_dir()?,
        rust_std::sysroot()?,
        tools::dir(),
    ];
    let dirs: Vec<String> = dirs
        .iter()
        .map(|dir| dir.to_string_lossy().into_owned())
        // A root such as `/` or `/w` would be found in any binary.
        .filter(|dir| dir.len() > 4)
        .map(|dir| regex::escape(&dir))
        .collect();
    Ok(Regex::new(&dirs.join("|"))?)
}

/// Where cargo keeps the sources of dependencies.
pub(crate) fn cargo_home_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::home_dir().context("There is no home directory")?;
    Ok(home.join(".cargo"))
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::of_build_machine;
    use crate::repo;

    fn found(content: &str) -> Option<String> {
        of_build_machine(content.as_bytes()).unwrap()
    }

    #[test]
    fn finds_the_paths_of_any_build_machine() {
        let own = format!("\0{}/crates/x.rs\0", repo::root().display());
        assert_eq!(found(&own).unwrap(), repo::root().display().to_string());
        for leak in [
            "/home/runner/work/ktx/ktx/crates/ktx-os/src/lib.rs",
            "/Users/runner/work/ktx/target/release/deps/libktx_node.dylib",
            "/root/.rustup/toolchains/1.95.0/lib/std/src/io.rs",
            r"D:\a\ktx\ktx\crates\ktx-os\src\lib.rs",
            r"C:\Users\someone\ktx.pdb",
            "C:/Users/someone/ktx/src/main.c",
            "/opt/build/registry/src/",
            "/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.0/src/lib.rs",
        ] {
            assert!(found(&format!("\0{leak}\0")).is_some(), "{leak}");
        }
    }

    #[test]
    fn finds_a_path_between_other_constants() {
        let path = "/home/runner/work/ktx/ktx/crates/ktx-os/src/lib.rs";
        let content = format!("called on None{path}index out of bounds");
        assert_eq!(found(&content).unwrap(), path);
    }

    #[test]
    fn takes_no_other_text_for_a_path_of_a_build_machine() {
        for text in [
            "/ktx/crates/ktx-os/src/lib.rs",
            "/cargo/tokio-1.54.0/src/lib.rs",
            r"/cargo\tokio-1.54.0\src\lib.rs",
            "/rustc/0123456789abcdef/library/std/src/io.rs",
            "see https://docs.rs/tokio/latest/tokio/index.rs",
            "/home/$USER, /Users/you and /root/ are homes",
            "/home/rustc/0123456789abcdef/library/std/src/io.rs",
            "/root/cargo/a-1.0.0/src/lib.rs",
            r"C:\ and \\?\C:\ are roots",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
