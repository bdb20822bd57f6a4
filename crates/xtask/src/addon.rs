//! `cargo xtask addon`: the native addon and the TypeScript declarations of what it exports.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::policy::Policy;
use crate::{build, repo, say, tools, uv};

const DECLARATIONS: &str = "npm/ktx/native.d.ts";

#[derive(Args)]
pub(crate) struct Options {
    /// Fail if the committed declarations are not those of the addon; write none
    #[arg(long)]
    check: bool,
}

/// Builds the addon, then writes or checks its declarations.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let addon = build(&policy)?;
    if options.check {
        addon.check_declarations()?;
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
pub(crate) fn build(policy: &Policy) -> Result<Addon> {
    say::step("Building the addon");
    tools::ensure_node_modules()?;
    let sh = tools::shell()?;
    let addon = Addon::at_output();
    let out_dir = addon.path.parent().context("The addon is in a directory")?;
    fs_err::create_dir_all(out_dir)?;
    let command = sh
        .cmd(tools::node_program("napi"))
        .args(["build", "--release", "--no-js", "--dts", "native.d.ts"])
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
    uv::read(build::reproducible(command)?)?;
    let content = fs_err::read(&addon.path)?;
    build::check_no_paths(&addon.path, &content)?;
    ensure!(
        content.len() as u64 <= policy.max_bytes.addon,
        "The addon has {} bytes; the policy allows {}",
        content.len(),
        policy.max_bytes.addon
    );
    Ok(addon)
}
