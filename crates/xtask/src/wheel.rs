//! `cargo xtask wheel`: the wheel of this platform, with the daemon's binary and its Python package.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tools::{self, PythonTools};
use crate::{build, digest, repo, say, uv, version};

const PROJECT: &str = "python/pyproject.toml";

#[derive(Args)]
pub(crate) struct Options {
    /// Build it a second time from nothing and fail if the bytes differ (takes minutes)
    #[arg(long)]
    check: bool,
}

/// Builds the wheel and prints its path and digest.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wheel_path = build()?;
    let digested = digest::of_file(&wheel_path)?;
    if options.check {
        say::step("Building the wheel again from nothing");
        let dir = tempfile::tempdir()?;
        let again = compile(&dir.path().join("wheels"), Some(&dir.path().join("target")))?;
        ensure!(
            digest::of_file(&again)? == digested,
            "The wheel is not reproducible: `{}` was built with other bytes before",
            again.display()
        );
    }
    say::result(&format!(
        "{}  {}",
        digested.sha256,
        repo::shown(&wheel_path)
    ));
    Ok(())
}

/// Builds the wheel into `target/ktx/wheels`, which then holds no other, and gives its path.
pub(crate) fn build() -> Result<PathBuf> {
    say::step("Building the wheel");
    let wheels_dir = repo::output_dir().join("wheels");
    let fresh_dir = repo::output_dir().join("wheels.new");
    if fresh_dir.exists() {
        fs_err::remove_dir_all(&fresh_dir)?;
    }
    let built = compile(&fresh_dir, None)?;
    check_content(&built)?;
    let wheel_path = wheels_dir.join(built.file_name().context("A wheel has a name")?);
    fs_err::create_dir_all(&wheels_dir)?;
    for entry in fs_err::read_dir(&wheels_dir)? {
        let path = entry?.path();
        if path != wheel_path {
            fs_err::remove_file(path)?;
        }
    }
    fs_err::rename(&built, &wheel_path)?;
    fs_err::remove_dir_all(&fresh_dir)?;
    Ok(wheel_path)
}

fn compile(out_dir: &Path, target_dir: Option<&Path>) -> Result<PathBuf> {
    let python_tools = PythonTools::ensure()?;
    let sh = tools::shell()?;
    let mut command = python_tools
        .command(&sh, "maturin")
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--manifest-path",
            &manifest_path()?,
            "--out",
        ])
        .arg(out_dir);
    if let Some(dir) = target_dir {
        command = command.env("CARGO_TARGET_DIR", dir);
    }
    uv::read(build::reproducible(command)?)?;
    let mut entries = fs_err::read_dir(out_dir)?;
    let path = entries.next().context("maturin built nothing")??.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let expected = format!("kaelio_ktx-{}-py3-none-", version::pep440(repo::VERSION)?);
    ensure!(
        name.starts_with(&expected),
        "maturin built `{name}`; expected `{expected}…`"
    );
    Ok(path)
}

/// maturin reads the Python project from beside the crate or from where the crate says.
fn manifest_path() -> Result<String> {
    ensure!(repo::path(PROJECT).exists(), "There is no `{PROJECT}`");
    Ok("crates/ktx-daemon/Cargo.toml".to_owned())
}

fn check_content(wheel_path: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(fs_err::File::open(wheel_path)?)?;
    let mut has_binary = false;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        build::check_no_paths(&wheel_path.join(&name), &content)?;
        ensure!(!name.contains("__pycache__"), "The wheel holds `{name}`");
        has_binary |= name.ends_with(".data/scripts/ktx-daemon")
            || name.ends_with(".data/scripts/ktx-daemon.exe");
    }
    ensure!(
        has_binary,
        "The wheel does not hold the `ktx-daemon` binary"
    );
    Ok(())
}
