//! `cargo xtask npm`: the tarballs that are published.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::policy::Policy;
use crate::{digest, repo, say, stage, tools, uv};

#[derive(Args)]
pub(crate) struct Options {
    /// Pack the root package and this machine's platform package only
    #[arg(long)]
    host_only: bool,
    /// Where the tarballs go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Say what would be packed; build and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Packs the packages.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    if options.dry_run {
        say::result(&policy.root_package());
        for platform in &policy.platforms {
            if !options.host_only || platform.id == policy.host()?.id {
                say::result(&policy.platform_package(platform));
            }
        }
        return Ok(());
    }
    if !options.host_only {
        check_every_platform(&policy)?;
    }
    for path in pack(&policy, &options.out)? {
        say::result(&format!(
            "{}  {}",
            digest::of_file(&path)?.sha256,
            path.display()
        ));
    }
    Ok(())
}

/// Packs the root package and the host's platform package into `out_dir`, in that order.
pub(crate) fn pack(policy: &Policy, out_dir: &Path) -> Result<Vec<PathBuf>> {
    let platform_dir = stage::stage_platform(policy)?;
    let root_dir = stage::stage_root(policy)?;
    say::step("Packing");
    fs_err::create_dir_all(out_dir)?;
    let out_dir = fs_err::canonicalize(out_dir)?;
    Ok(vec![
        pack_one(&root_dir, &out_dir, policy.max_bytes.root_tarball)?,
        pack_one(&platform_dir, &out_dir, policy.max_bytes.platform_tarball)?,
    ])
}

/// The tarballs that [`pack`] put into `out_dir`.
pub(crate) fn tarballs(policy: &Policy, out_dir: &Path) -> Result<Vec<PathBuf>> {
    [
        policy.root_package(),
        policy.platform_package(policy.host()?),
    ]
    .iter()
    .map(|package| {
        // npm's own rule: the scope without its mark, then the name.
        let name = package.trim_start_matches('@').replace('/', "-");
        let path = out_dir.join(format!("{name}-{}.tgz", repo::VERSION));
        ensure!(
            path.exists(),
            "No `{}`; pack it with `cargo xtask npm --host-only`",
            repo::shown(&path)
        );
        Ok(path)
    })
    .collect()
}

fn pack_one(package_dir: &Path, out_dir: &Path, limit: u64) -> Result<PathBuf> {
    let sh = tools::shell()?;
    let command = tools::npm(&sh)
        .args(["pack", "--json", "--ignore-scripts", "--pack-destination"])
        .arg(out_dir)
        .arg(package_dir);
    let packed: Value = serde_json::from_str(&uv::read(command)?)?;
    let file = packed[0]["filename"]
        .as_str()
        .context("npm did not say what it packed")?;
    let path = out_dir.join(file);
    let bytes = fs_err::metadata(&path)?.len();
    ensure!(
        bytes <= limit,
        "`{file}` has {bytes} bytes; the policy allows {limit}"
    );
    Ok(path)
}

fn check_every_platform(policy: &Policy) -> Result<()> {
    let host = &policy.host()?.id;
    let missing: Vec<&str> = policy
        .platforms
        .iter()
        .filter(|platform| platform.required && platform.id != *host)
        .map(|platform| platform.id.as_str())
        .collect();
    ensure!(
        missing.is_empty(),
        "No artifacts for the required platforms {}; pack what this machine can build with `cargo xtask npm --host-only --out {}`",
        missing.join(", "),
        repo::shown(&repo::output_dir().join("packs"))
    );
    Ok(())
}
