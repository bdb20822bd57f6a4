//! `cargo xtask addon`: the native addon and the TypeScript declarations of what it exports.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::artifact::Rules;
use crate::build::{Compiler, Kind};
use crate::fresh::Inputs;
use crate::policy::Policy;
use crate::target::Target;
use crate::zig::Zig;
use crate::{repo, say, tools, uv};

/// The addon's file name, wherever it is.
pub(crate) const FILE_NAME: &str = "ktx.node";
const DECLARATIONS: &str = "npm/ktx/native.d.ts";
const DECLARATIONS_FILE: &str = "native.d.ts";
const CRATE: &str = "ktx-node";
const INPUTS: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "package-lock.json",
    "rust-toolchain.toml",
    "release/uv-pins.json",
    "crates/ktx-*",
    "crates/xtask/src/build.rs",
];

#[derive(Args)]
pub(crate) struct Options {
    /// A platform id of the policy or a Rust target [default: this machine's]
    #[arg(long, value_parser = Target::parse)]
    target: Option<Target>,
    /// Fail if the committed declarations are not those of the addon; write none
    #[arg(long)]
    check: bool,
}

/// Builds the addon, then writes or checks its declarations.
pub(crate) fn run(options: &Options) -> Result<()> {
    let target = Target::or_host(options.target.as_ref())?;
    let addon = build(&target)?;
    if options.check {
        Rules::of_target(&Policy::load()?, &target).check_addon(&addon.path)?;
    }
    let bytes = fs_err::metadata(&addon.path)?.len();
    say::result(&format!("{} ({bytes} bytes)", repo::shown(&addon.path)));
    // The declarations are the same for every target; this machine's build makes them.
    if let Some(path) = &addon.declarations_path {
        if options.check {
            addon.check_declarations()?;
        } else {
            fs_err::write(repo::path(DECLARATIONS), fs_err::read(path)?)?;
        }
        say::result(DECLARATIONS);
    }
    Ok(())
}

/// A built addon.
pub(crate) struct Addon {
    pub(crate) path: PathBuf,
    /// Beside the addon, if it was built for this machine.
    declarations_path: Option<PathBuf>,
}

impl Addon {
    /// The addon where the last build for this target put it.
    pub(crate) fn at_output(target: &Target) -> Self {
        let dir = target.dir();
        let declarations_path = dir.join(DECLARATIONS_FILE);
        Self {
            path: dir.join(FILE_NAME),
            declarations_path: target.is_host.then_some(declarations_path),
        }
    }

    /// Fails if the committed declarations are not those of this addon.
    pub(crate) fn check_declarations(&self) -> Result<()> {
        let path = self.declarations_path.as_ref();
        let declarations = fs_err::read_to_string(
            path.context("Only the addon of this machine comes with its declarations")?,
        )?;
        ensure!(
            fs_err::read_to_string(repo::path(DECLARATIONS))
                .is_ok_and(|committed| committed == declarations),
            "`{DECLARATIONS}` is not what the addon exports; write it with `cargo xtask addon`"
        );
        Ok(())
    }

    fn exists(&self) -> bool {
        self.path.exists()
            && self
                .declarations_path
                .as_ref()
                .is_none_or(|path| path.exists())
    }
}

/// Builds the addon for release.
pub(crate) fn build(target: &Target) -> Result<Addon> {
    let addon = Addon::at_output(target);
    let inputs = Inputs::of("addon", target, &INPUTS)?;
    if addon.exists() && inputs.match_output(&addon.path) {
        return Ok(addon);
    }
    say::step(&format!("Building the addon for {}", target.shown()));
    fs_err::create_dir_all(target.dir())?;
    let compiler = Compiler::ensure(target)?;
    let built = match &compiler.zig {
        Some(zig) if !target.is_host => compile_with_zig(&compiler, zig)?,
        _ => compile_with_declarations(&compiler)?,
    };
    Rules::of_target(&Policy::load()?, target).check_addon(&built)?;
    fs_err::rename(&built, &addon.path)?;
    inputs.record(&addon.path)?;
    Ok(addon)
}

fn compile_with_declarations(compiler: &Compiler<'_>) -> Result<PathBuf> {
    tools::ensure_node_modules()?;
    let sh = tools::shell()?;
    let (out_dir, target_dir) = (compiler.target.dir(), repo::cargo_target_dir());
    let command = sh
        .cmd(tools::node_program("napi"))
        .args(["build", "--profile", "addon", "--no-js"])
        .args(["--dts", DECLARATIONS_FILE])
        .args([
            "--manifest-path",
            "crates/ktx-node/Cargo.toml",
            "--package-json-path",
            "package.json",
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        .arg("--output-dir")
        .arg(&out_dir);
    let command = match &compiler.zig {
        Some(zig) => zig.under_napi(command, compiler.target)?,
        None => command,
    }
    .args(["--", "--locked"]);
    uv::read(compiler.reproducible(command, Kind::Library, &target_dir)?)?;
    Ok(out_dir.join("index.node"))
}

fn compile_with_zig(compiler: &Compiler<'_>, zig: &Zig) -> Result<PathBuf> {
    let sh = tools::shell()?;
    let (target, target_dir) = (compiler.target, repo::cargo_target_dir());
    let command = zig
        .cargo(&sh, target)
        .args(["--locked", "--quiet", "--profile", "addon"])
        .args(["--package", CRATE])
        .arg("--target-dir")
        .arg(&target_dir);
    uv::read(compiler.reproducible(command, Kind::Library, &target_dir)?)?;
    let built = target_dir
        .join(&target.triple)
        .join("addon")
        .join(target.library(CRATE));
    let copy = target.dir().join("ktx.node.new");
    copy_content(&built, &copy)?;
    Ok(copy)
}

/// Copies without the mode, which a library does not need.
fn copy_content(from: &Path, to: &Path) -> Result<()> {
    Ok(fs_err::write(to, fs_err::read(from)?)?)
}
