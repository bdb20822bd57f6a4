//! Whether packages come out the same elsewhere: from another folder, another target directory,
//! another home, under another umask, time zone and language.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use xshell::{Shell, cmd};

use super::Packed;
use crate::artifact::cargo_home_dir;
use crate::{digest, repo, say, stage, tools, uv};

/// What another user's session differs in.
const SESSION: [(&str, &str); 6] = [
    ("TZ", "Pacific/Kiritimati"),
    ("LANG", "tr_TR.UTF-8"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("USER", "somebody"),
    ("LOGNAME", "somebody"),
    ("HOSTNAME", "elsewhere"),
];
/// Nothing for anybody but the user; most machines have 022.
#[cfg(unix)]
const UMASK: u32 = 0o077;

/// Packs once more in a copy of the checkout and fails if any byte differs.
pub(super) fn check(packed: &[Packed]) -> Result<String> {
    say::step("Building and packing again, elsewhere and as another user would");
    let dir = tempfile::Builder::new().prefix("ktx-again-").tempdir()?;
    let checkout = dir.path().join("of/somebody/else");
    copy_checkout(&checkout)?;
    let out_dir = dir.path().join("packs");
    pack(&checkout, dir.path(), &out_dir)?;
    let mut differing = Vec::new();
    for package in packed {
        let name = package.path.file_name().context("A tarball has a name")?;
        let other = out_dir.join(name);
        let digested = digest::of_file(&other)?;
        if digested.sha256 != package.sha256 {
            let files = differing_files(&package.path, &other)?;
            differing.push(format!(
                "`{}`: {} here, {} elsewhere; {}",
                name.display(),
                package.sha256,
                digested.sha256,
                files
            ));
        }
    }
    ensure!(
        differing.is_empty(),
        "Packages are not reproducible\n  {}",
        differing.join("\n  ")
    );
    Ok(format!(
        "{} packages have the same bytes elsewhere",
        packed.len()
    ))
}

/// Copies what git knows or would know.
fn copy_checkout(to: &Path) -> Result<()> {
    let sh = tools::shell()?;
    let listed = cmd!(sh, "git ls-files --cached --others --exclude-standard")
        .quiet()
        .read()?;
    for name in listed.lines().filter(|name| repo::path(name).is_file()) {
        let copy = to.join(name);
        fs_err::create_dir_all(copy.parent().context("A file is in a directory")?)?;
        stage::copy_tree(&repo::path(name), &copy)?;
    }
    sh.change_dir(to);
    cmd!(sh, "git init --quiet").quiet().run()?;
    Ok(())
}

fn pack(checkout: &Path, home: &Path, out_dir: &Path) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(checkout);
    let target_dir = home.join("compiled");
    let mut command = cmd!(
        sh,
        "cargo run --quiet --locked --package xtask -- npm --host-only --out {out_dir}"
    )
    .env("HOME", home)
    .env("CARGO_TARGET_DIR", target_dir);
    for (name, value) in kept_configuration()?
        .into_iter()
        .chain(SESSION.map(as_owned))
    {
        command = command.env(name, value);
    }
    with_umask(|| uv::read(command))?;
    Ok(())
}

fn as_owned((name, value): (&'static str, &str)) -> (&'static str, PathBuf) {
    (name, value.into())
}

/// Where the machine's tools are and where packages come from, which they would look for in the
/// home directory.
fn kept_configuration() -> Result<Vec<(&'static str, PathBuf)>> {
    let home = std::env::home_dir().context("There is no home directory")?;
    let mut kept = vec![("CARGO_HOME", cargo_home_dir()?)];
    for (name, place) in [
        ("RUSTUP_HOME", ".rustup"),
        ("npm_config_userconfig", ".npmrc"),
        ("PIP_CONFIG_FILE", ".config/pip/pip.conf"),
    ] {
        let path = home.join(place);
        if std::env::var_os(name).is_none() && path.exists() {
            kept.push((name, path));
        }
    }
    Ok(kept)
}

#[cfg(unix)]
fn with_umask<T>(work: impl FnOnce() -> T) -> T {
    use rustix::fs::Mode;
    use rustix::process::umask;
    // Children take it over; nothing else of this process writes meanwhile.
    let before = umask(Mode::from_raw_mode(UMASK));
    let done = work();
    umask(before);
    done
}

#[cfg(not(unix))]
fn with_umask<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Names the files that differ between two tarballs.
fn differing_files(one: &Path, other: &Path) -> Result<String> {
    let (one, other) = (content_of(one)?, content_of(other)?);
    let names: Vec<&str> = one
        .keys()
        .chain(other.keys())
        .filter(|name| one.get(*name) != other.get(*name))
        .map(String::as_str)
        .collect();
    if names.is_empty() {
        bail!("The tarballs hold the same files in other bytes");
    }
    Ok(format!("in it differ {}", names.join(", ")))
}

fn content_of(tarball: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(GzDecoder::new(fs_err::File::open(tarball)?));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}
