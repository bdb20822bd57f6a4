//! `cargo xtask wheel`: the wheel of this platform, with the daemon's binary and its Python package.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::fresh::Inputs;
use crate::tools::{self, PythonTools};
use crate::{build, digest, repo, say, uv, version};

const INPUTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "release/python-tools.txt",
    "crates/ktx-daemon",
    "crates/ktx-os",
    "crates/ktx-protocol",
    "crates/xtask/src/build.rs",
    "python/pyproject.toml",
    "python/ktx_daemon",
];

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
    let wheels_dir = repo::output_dir().join("wheels");
    let inputs = Inputs::of("wheel", &INPUTS)?;
    if let Some(wheel_path) = only_entry(&wheels_dir)
        && inputs.match_output(&wheel_path)
    {
        return Ok(wheel_path);
    }
    say::step("Building the wheel");
    let fresh_dir = repo::output_dir().join("wheels.new");
    for dir in [&fresh_dir, &wheels_dir] {
        if dir.exists() {
            fs_err::remove_dir_all(dir)?;
        }
    }
    check_content(&compile(&fresh_dir, None)?)?;
    fs_err::rename(&fresh_dir, &wheels_dir)?;
    let wheel_path = only_entry(&wheels_dir).context("The wheel was built")?;
    inputs.record(&wheel_path)?;
    Ok(wheel_path)
}

fn only_entry(dir: &Path) -> Option<PathBuf> {
    let mut entries = fs_err::read_dir(dir).ok()?;
    let path = entries.next()?.ok()?.path();
    entries.next().is_none().then_some(path)
}

fn compile(out_dir: &Path, target_dir: Option<&Path>) -> Result<PathBuf> {
    let python_tools = PythonTools::ensure()?;
    let sh = tools::shell()?;
    // The Python project names the crate, not the other way round.
    sh.change_dir(repo::path("python"));
    let mut command = python_tools
        .command(&sh, "maturin")
        .args(["build", "--release", "--locked", "--quiet", "--out"])
        .arg(out_dir);
    let target_dir = target_dir.map_or_else(repo::cargo_target_dir, Path::to_owned);
    command = command.env("CARGO_TARGET_DIR", &target_dir);
    uv::read(build::reproducible(command, &target_dir)?)?;
    let path = only_entry(out_dir).context("maturin did not build one wheel")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let expected = format!("kaelio_ktx-{}-py3-none-", version::pep440(repo::VERSION)?);
    ensure!(
        name.starts_with(&expected),
        "maturin built `{name}`; expected `{expected}…`"
    );
    Ok(path)
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
