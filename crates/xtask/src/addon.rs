//! `cargo xtask addon`: the native addon and the TypeScript declarations of what it exports.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::fresh::Inputs;
use crate::policy::Policy;
use crate::{build, repo, say, tools, uv};

const DECLARATIONS: &str = "npm/ktx/native.d.ts";
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
    /// Fail if the committed declarations are not those of the addon; write none
    #[arg(long)]
    check: bool,
}

/// Builds the addon, then writes or checks its declarations.
pub(crate) fn run(options: &Options) -> Result<()> {
    let addon = build()?;
    if options.check {
        addon.check_declarations()?;
        addon.check_size(&Policy::load()?)?;
    } else {
        fs_err::write(
            repo::path(DECLARATIONS),
            fs_err::read(&addon.declarations_path)?,
        )?;
    }
    let bytes = fs_err::metadata(&addon.path)?.len();
    say::result(&format!("{} ({bytes} bytes)", repo::shown(&addon.path)));
    say::result(DECLARATIONS);
    Ok(())
}

/// A built addon.
pub(crate) struct Addon {
    pub(crate) path: PathBuf,
    declarations_path: PathBuf,
}

impl Addon {
    /// Fails if the addon is larger than the policy allows.
    pub(crate) fn check_size(&self, policy: &Policy) -> Result<()> {
        let (bytes, limit) = (fs_err::metadata(&self.path)?.len(), policy.max_bytes.addon);
        ensure!(
            bytes <= limit,
            "The addon has {bytes} bytes; the policy allows {limit}"
        );
        Ok(())
    }

    /// The addon where the last build put it.
    pub(crate) fn at_output() -> Self {
        let dir = repo::output_dir().join("addon");
        Self {
            path: dir.join("index.node"),
            declarations_path: dir.join("native.d.ts"),
        }
    }

    /// Fails if the committed declarations are not those of this addon.
    pub(crate) fn check_declarations(&self) -> Result<()> {
        let declarations = fs_err::read_to_string(&self.declarations_path)?;
        ensure!(
            fs_err::read_to_string(repo::path(DECLARATIONS))
                .is_ok_and(|committed| committed == declarations),
            "`{DECLARATIONS}` is not what the addon exports; write it with `cargo xtask addon`"
        );
        Ok(())
    }
}

/// Builds the addon for release.
pub(crate) fn build() -> Result<Addon> {
    let addon = Addon::at_output();
    let inputs = Inputs::of("addon", &INPUTS)?;
    if inputs.match_output(&addon.path) && addon.declarations_path.exists() {
        return Ok(addon);
    }
    say::step("Building the addon");
    tools::ensure_node_modules()?;
    let sh = tools::shell()?;
    let out_dir = addon.path.parent().context("The addon is in a directory")?;
    fs_err::create_dir_all(out_dir)?;
    let command = sh
        .cmd(tools::node_program("napi"))
        .args([
            "build",
            "--profile",
            "addon",
            "--no-js",
            "--dts",
            "native.d.ts",
        ])
        .args([
            "--manifest-path",
            "crates/ktx-node/Cargo.toml",
            "--package-json-path",
            "package.json",
        ])
        .arg("--target-dir")
        .arg(repo::cargo_target_dir())
        .arg("--output-dir")
        .arg(out_dir)
        .args(["--", "--locked"]);
    uv::read(build::reproducible(command, &repo::cargo_target_dir())?)?;
    let content = fs_err::read(&addon.path)?;
    build::check_no_paths(&addon.path, &content)?;
    inputs.record(&addon.path)?;
    Ok(addon)
}
