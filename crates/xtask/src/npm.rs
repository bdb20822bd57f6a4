//! `cargo xtask npm`: the tarballs that are published.

mod again;
mod artifacts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

pub(crate) use self::artifacts::Artifacts;

use crate::artifact::{self, Rules, Tarball};
use crate::package::Package;
use crate::policy::{Platform, Policy};
use crate::target::Target;
use crate::{digest, repo, say, stage};

#[derive(Args)]
pub(crate) struct Options {
    /// Pack the root package and this machine's platform package only
    #[arg(long)]
    host_only: bool,
    /// Pack what was built before, one directory per platform id [default: target/ktx/artifacts,
    /// or with `--host-only` what this machine builds now]
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Where the tarballs go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Build and pack a second time, in a copy of the checkout elsewhere and as another user would,
    /// and fail if any byte differs (takes minutes)
    #[arg(long)]
    check: bool,
    /// Say what would be packed; build and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Packs the packages.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        !options.check || (options.host_only && options.artifacts.is_none()),
        "`--check` builds again what this machine builds: it needs `--host-only`, without `--artifacts`"
    );
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
    let packed = match (&options.artifacts, options.host_only) {
        (None, true) => pack_host(&policy, &options.out)?,
        (dir, host_only) => {
            let dir = dir
                .clone()
                .unwrap_or_else(|| repo::output_dir().join("artifacts"));
            let artifacts = Artifacts::find(&policy, &dir)?;
            if !host_only {
                Artifacts::ensure_required(&policy, &artifacts, &dir)?;
            }
            pack(&policy, &artifacts, &options.out)?
        }
    };
    for package in &packed {
        say::result(&format!("{}  {}", package.sha256, package.path.display()));
    }
    if options.check {
        say::result(&again::check(&packed)?);
    }
    Ok(())
}

/// A packed package.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Packed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) path: PathBuf,
    /// SHA-512 as npm and registries state it.
    pub(crate) integrity: String,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// The platform's id; none for the package that people install.
    pub(crate) platform: Option<String>,
}

/// Packs the platforms' packages and, last, the root package into `out_dir`, and checks what was
/// packed.
pub(crate) fn pack(
    policy: &Policy,
    artifacts: &[Artifacts],
    out_dir: &Path,
) -> Result<Vec<Packed>> {
    say::step("Building the npm package");
    let platforms: Vec<&Platform> = artifacts
        .iter()
        .map(|artifacts| &artifacts.platform)
        .collect();
    let root = Package::root(policy, &platforms)?;
    say::step("Packing");
    let mut packed = Vec::new();
    for artifacts in artifacts {
        let package = artifacts.package(policy)?;
        let path = write(&package, out_dir)?;
        let platform = Some(artifacts.platform.id.clone());
        let package = Packed::new(package.name, path, platform)?;
        package.check(policy)?;
        packed.push(package);
    }
    let path = write(&root, out_dir)?;
    let root = Packed::new(root.name, path, None)?;
    let content = root.check(policy)?;
    packed.push(root);
    check_together(&packed, &content)?;
    Ok(packed)
}

/// Fails unless the root package brings along the packages of platforms that are packed with it,
/// and no others.
pub(crate) fn check_together(packed: &[Packed], root: &Tarball) -> Result<()> {
    let with_it: BTreeSet<&str> = packed
        .iter()
        .filter(|package| package.platform.is_some())
        .map(|package| package.name.as_str())
        .collect();
    let named: BTreeSet<&str> = root.platforms.iter().map(String::as_str).collect();
    let (with_it, named) = (Vec::from_iter(with_it), Vec::from_iter(named));
    ensure!(
        with_it == named,
        "`{}`: package.json: `optionalDependencies` has {}; packed with it are {}",
        root.name,
        named.join(", "),
        with_it.join(", ")
    );
    Ok(())
}

/// Where the packages are packed that tests and measurements install.
pub(crate) fn packs_dir() -> PathBuf {
    repo::output_dir().join("packs")
}

/// Builds, stages and packs what this machine is made for.
pub(crate) fn pack_host(policy: &Policy, out_dir: &Path) -> Result<Vec<Packed>> {
    let artifacts = Artifacts::build(&Target::host(policy)?)?;
    stage::stage(policy, &artifacts.package(policy)?)?;
    pack(policy, &[artifacts], out_dir)
}

/// The files of packed packages.
pub(crate) fn paths(packed: &[Packed]) -> Vec<PathBuf> {
    packed.iter().map(|package| package.path.clone()).collect()
}

/// The tarballs that [`pack_host`] put into `out_dir`.
pub(crate) fn tarballs(policy: &Policy, out_dir: &Path) -> Result<Vec<PathBuf>> {
    [
        policy.platform_package(policy.host()?),
        policy.root_package(),
    ]
    .iter()
    .map(|package| {
        let path = out_dir.join(crate::package::file_name(package));
        ensure!(
            path.exists(),
            "No `{}`; pack it with `cargo xtask npm --host-only --out {}`",
            repo::shown(&path),
            repo::shown(out_dir)
        );
        Ok(path)
    })
    .collect()
}

fn write(package: &Package, out_dir: &Path) -> Result<PathBuf> {
    fs_err::create_dir_all(out_dir)?;
    let path = fs_err::canonicalize(out_dir)?.join(crate::package::file_name(&package.name));
    fs_err::write(&path, package.tarball()?)?;
    Ok(path)
}

impl Packed {
    fn new(name: String, path: PathBuf, platform: Option<String>) -> Result<Self> {
        let bytes = fs_err::read(&path)?;
        let digested = digest::of_reader(&bytes[..])?;
        Ok(Self {
            name,
            version: repo::VERSION.to_owned(),
            path,
            integrity: integrity(&bytes),
            sha256: digested.sha256,
            bytes: digested.bytes,
            platform,
        })
    }

    /// Checks what is in the tarball, down to the code, and says what that is.
    pub(crate) fn check(&self, policy: &Policy) -> Result<Tarball> {
        match &self.platform {
            Some(id) => {
                let platform = policy.platform(id)?;
                Rules { policy, platform }.check_platform_tarball(&self.path)
            }
            None => artifact::check_root_tarball(policy, &self.path),
        }
    }
}

/// The SHA-512 digest of a tarball, as npm and registries state it.
pub(crate) fn integrity(content: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(Sha512::digest(content)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Packed, check_together, integrity};
    use crate::artifact::Tarball;

    fn packed(name: &str, platform: Option<&str>) -> Packed {
        Packed {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            path: PathBuf::new(),
            integrity: String::new(),
            sha256: String::new(),
            bytes: 0,
            platform: platform.map(str::to_owned),
        }
    }

    #[test]
    fn packs_no_root_without_its_platforms_and_none_beside_them() {
        let packages = [packed("@a/b-one", Some("one")), packed("@a/b", None)];
        let root = |platforms: &[&str]| Tarball {
            name: "@a/b".to_owned(),
            version: "1.0.0".to_owned(),
            files: 0,
            platforms: platforms.iter().map(|&name| name.to_owned()).collect(),
            addon: None,
            wheel: None,
            bytes: 0,
            sha256: String::new(),
        };
        check_together(&packages, &root(&["@a/b-one"])).unwrap();
        for other in [&[][..], &["@a/b-two"], &["@a/b-one", "@a/b-two"]] {
            let error = check_together(&packages, &root(other))
                .unwrap_err()
                .to_string();
            assert!(error.contains("packed with it are @a/b-one"), "{error}");
        }
    }

    #[test]
    fn states_integrity_as_npm_does() {
        assert_eq!(
            integrity(b""),
            "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
        );
    }
}
