//! Artifacts are checked, not trusted: what a binary, a wheel or a tarball must be to be published,
//! and what each of them was found to be.

mod archive;
mod binary;
mod paths;
mod problems;
mod tarball;
mod wheel;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;

pub(crate) use self::archive::unsafe_name;
pub(crate) use self::binary::{Binary, Kind};
pub(crate) use self::paths::{cargo_home_dir, registry_dirs};
pub(crate) use self::problems::Problems;
pub(crate) use self::tarball::Tarball;
pub(crate) use self::wheel::{DISTRIBUTION, Metadata, NORMALIZED, Wheel};

use crate::policy::{Platform, Policy};
use crate::repo;
use crate::target::Target;

/// What artifacts are measured by.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'p> {
    pub(crate) policy: &'p Policy,
    pub(crate) platform: &'p Platform,
}

impl<'p> Rules<'p> {
    /// Those for what is built for a target.
    pub(crate) fn of_target(policy: &'p Policy, target: &'p Target) -> Self {
        Self {
            policy,
            platform: &target.platform,
        }
    }

    /// Checks an addon; fails with everything that is wrong with it.
    pub(crate) fn check_addon(&self, path: &Path) -> Result<Binary> {
        let content = fs_err::read(path)?;
        let mut problems = Problems::of(&repo::shown(path));
        let binary = binary::check(*self, Kind::Addon, &content, &mut problems)?;
        check_size(
            self.policy.max_bytes.addon,
            "addon",
            content.len(),
            &mut problems,
        );
        problems.into_result()?;
        Ok(binary)
    }

    /// Checks a wheel and the daemon in it; fails with everything that is wrong with them.
    pub(crate) fn check_wheel(&self, path: &Path) -> Result<Wheel> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut problems = Problems::of(&name);
        let wheel = wheel::check(*self, &name, &fs_err::read(path)?, &mut problems)?;
        problems.into_result()?;
        Ok(wheel)
    }

    /// Checks the packed package of the platform and all that is in it.
    pub(crate) fn check_platform_tarball(&self, path: &Path) -> Result<Tarball> {
        let mut problems = Problems::of(&repo::shown(path));
        let tarball = tarball::check_platform(*self, &fs_err::read(path)?, &mut problems)?;
        problems.into_result()?;
        Ok(tarball)
    }
}

/// Checks the packed package that people install.
pub(crate) fn check_root_tarball(policy: &Policy, path: &Path) -> Result<Tarball> {
    let mut problems = Problems::of(&repo::shown(path));
    let tarball = tarball::check_root(policy, &fs_err::read(path)?, &mut problems)?;
    problems.into_result()?;
    Ok(tarball)
}

fn check_size(limit: u64, key: &str, bytes: usize, problems: &mut Problems) {
    if bytes as u64 > limit {
        problems.add(
            "size",
            format!("{bytes} bytes; `maxBytes.{key}` of the policy allows {limit}"),
        );
    }
}
