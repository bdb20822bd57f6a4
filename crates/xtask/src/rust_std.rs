//! Rust's standard library for a target: one that rustup installed, else its sources, which
//! must be exactly those of the compiler.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use crate::debian::Package;
use crate::tools;

/// Whether the compiler has the standard library of a target.
pub(crate) fn is_installed(triple: &str) -> Result<bool> {
    let libraries = sysroot()?.join("lib/rustlib").join(triple).join("lib");
    let Ok(mut entries) = fs_err::read_dir(libraries) else {
        return Ok(false);
    };
    Ok(entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    }))
}

/// The directory with the sources: those of rustup's component, else those of Debian.
pub(crate) fn sources(triple: &str) -> Result<PathBuf> {
    let component = sysroot()?.join("lib/rustlib/src/rust/library");
    if component.join("Cargo.lock").exists() {
        return Ok(component);
    }
    let release = fact("release")?;
    let found = from_debian(release);
    found.with_context(|| {
        format!(
            "No standard library for `{triple}`, nor its sources. Install it with `rustup target add {triple}`, \
             or the sources of Rust {release} with `rustup component add rust-src`"
        )
    })
}

fn from_debian(release: &str) -> Result<PathBuf> {
    let root = format!("usr/src/rustc-{release}");
    let content = format!("{root}/library");
    let package = Package {
        name: "rust-src",
        architecture: None,
        version: Some(release),
        content: &content,
    };
    let dir = package.ensure()?.join(content);
    ensure!(
        dir.join("Cargo.lock").exists(),
        "Debian's `rust-src` holds no standard library"
    );
    Ok(dir)
}

/// Where the compiler is installed.
pub(crate) fn sysroot() -> Result<PathBuf> {
    let sh = tools::shell()?;
    Ok(cmd!(sh, "rustc --print sysroot").quiet().read()?.into())
}

/// What the compiler says of itself, asked for once.
pub(crate) fn about() -> Result<&'static str> {
    static ABOUT: OnceLock<String> = OnceLock::new();
    if let Some(about) = ABOUT.get() {
        return Ok(about);
    }
    let sh = tools::shell()?;
    let about = cmd!(sh, "rustc -vV").quiet().read()?;
    Ok(ABOUT.get_or_init(|| about))
}

/// One line of that, without its name.
pub(crate) fn fact(name: &str) -> Result<&'static str> {
    about()?
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("`rustc -vV` says nothing of `{name}`"))
}
