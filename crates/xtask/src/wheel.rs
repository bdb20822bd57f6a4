//! `cargo xtask wheel`: the wheel of a platform, with the daemon's binary and its Python package.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::artifact::Rules;
use crate::build::{Compiler, Kind};
use crate::fresh::Inputs;
use crate::policy::Policy;
use crate::target::Target;
use crate::tools::{self, PythonTools};
use crate::{digest, repo, say, uv, version};

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
    /// A platform id of the policy or a Rust target [default: this machine's]
    #[arg(long, value_parser = Target::parse)]
    target: Option<Target>,
    /// Build it a second time from nothing and fail if the bytes differ (takes minutes)
    #[arg(long)]
    check: bool,
}

/// Builds the wheel and prints its path and digest.
pub(crate) fn run(options: &Options) -> Result<()> {
    let target = Target::or_host(options.target.as_ref())?;
    let wheel_path = build(&target)?;
    let digested = digest::of_file(&wheel_path)?;
    if options.check {
        say::step("Building the wheel again from nothing");
        let dir = tempfile::tempdir()?;
        let out_dir = dir.path().join("wheels");
        let again = compile(&target, &out_dir, &dir.path().join("target"))?;
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

/// Builds the wheel into the target's directory, which then holds no other, and gives its path.
pub(crate) fn build(target: &Target) -> Result<PathBuf> {
    let inputs = Inputs::of("wheel", target, &INPUTS)?;
    let out_dir = target.dir();
    fs_err::create_dir_all(&out_dir)?;
    if let [wheel_path] = &in_dir(&out_dir)?[..]
        && inputs.match_output(wheel_path)
    {
        return Ok(wheel_path.clone());
    }
    say::step(&format!("Building the wheel for {}", target.shown()));
    let fresh_dir = tempfile::tempdir_in(&out_dir)?;
    let fresh_path = compile(target, fresh_dir.path(), &repo::cargo_target_dir())?;
    Rules::of_target(&Policy::load()?, target).check_wheel(&fresh_path)?;
    for old in in_dir(&out_dir)? {
        fs_err::remove_file(old)?;
    }
    let wheel_path = out_dir.join(fresh_path.file_name().context("A wheel has a name")?);
    fs_err::rename(&fresh_path, &wheel_path)?;
    inputs.record(&wheel_path)?;
    Ok(wheel_path)
}

/// The wheels in a directory.
pub(crate) fn in_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut wheels = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    Ok(wheels)
}

fn compile(target: &Target, out_dir: &Path, target_dir: &Path) -> Result<PathBuf> {
    let compiler = Compiler::ensure(target)?;
    let python_tools = PythonTools::ensure()?;
    let sh = tools::shell()?;
    // The Python project names the crate, not the other way round.
    sh.change_dir(repo::path("python"));
    let mut command = python_tools
        .command(&sh, "maturin")
        .args(["build", "--release", "--locked", "--quiet", "--out"])
        .arg(out_dir)
        .env("CARGO_TARGET_DIR", target_dir);
    if let Some(zig) = &compiler.zig {
        command = command
            .args(["--zig", "--target", &target.triple])
            .args(zig.std_argument());
    }
    if let Some(tag) = target.wheel_tag()? {
        command = command.args(["--compatibility", &tag]);
    }
    uv::read(compiler.reproducible(command, Kind::Program, target_dir)?)?;
    let [path] = &in_dir(out_dir)?[..] else {
        bail!("maturin did not build one wheel");
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let expected = format!("kaelio_ktx-{}-py3-none-", version::pep440(repo::VERSION)?);
    ensure!(
        name.starts_with(&expected),
        "maturin built `{name}`; expected `{expected}…`"
    );
    Ok(path.clone())
}
