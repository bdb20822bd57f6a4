//! What was built for one platform: its addon and its wheel, in a directory named after it.

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::package::Package;
use crate::policy::{Platform, Policy};
use crate::target::Target;
use crate::{addon, repo, wheel};

/// The addon and the wheel of one platform.
#[derive(Clone, Debug)]
pub(crate) struct Artifacts {
    pub(crate) platform: Platform,
    pub(crate) addon_path: PathBuf,
    pub(crate) wheel_path: PathBuf,
}

impl Artifacts {
    /// Builds what is missing or out of date for a target, both at a time: each ends with a
    /// minute in which one thread optimizes.
    pub(crate) fn build(target: &Target) -> Result<Self> {
        let (wheel_path, addon) = thread::scope(|scope| {
            let wheel_path = scope.spawn(|| wheel::build(target));
            let addon = addon::build(target);
            (wheel_path.join().expect("building does not panic"), addon)
        });
        Ok(Self {
            platform: target.platform.clone(),
            addon_path: addon?.path,
            wheel_path: wheel_path?,
        })
    }

    /// Those in the directories `dir/<platform id>`, in the policy's order.
    pub(crate) fn find(policy: &Policy, dir: &Path) -> Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(dir).context("Artifacts of platforms")? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        for name in &names {
            policy.platform(name).with_context(|| {
                format!(
                    "`{}` is for no platform of the policy",
                    repo::shown(&dir.join(name))
                )
            })?;
        }
        policy
            .platforms
            .iter()
            .filter(|platform| names.contains(&platform.id))
            .map(|platform| Self::in_dir(platform, &dir.join(&platform.id)))
            .collect()
    }

    fn in_dir(platform: &Platform, dir: &Path) -> Result<Self> {
        let addon_path = dir.join(addon::FILE_NAME);
        ensure!(
            addon_path.is_file(),
            "No `{}`; build it with `cargo xtask addon --target {}`",
            repo::shown(&addon_path),
            platform.id
        );
        let wheels = wheel::in_dir(dir)?;
        let [wheel_path] = &wheels[..] else {
            bail!(
                "`{}` holds {} wheels; build one with `cargo xtask wheel --target {}`",
                repo::shown(dir),
                wheels.len(),
                platform.id
            );
        };
        Ok(Self {
            platform: platform.clone(),
            addon_path,
            wheel_path: wheel_path.clone(),
        })
    }

    /// Fails with the names of the required platforms that are missing.
    pub(crate) fn ensure_required(policy: &Policy, artifacts: &[Self], dir: &Path) -> Result<()> {
        let missing: Vec<&str> = policy
            .platforms
            .iter()
            .filter(|platform| platform.required)
            .map(|platform| platform.id.as_str())
            .filter(|id| {
                !artifacts
                    .iter()
                    .any(|artifacts| artifacts.platform.id == *id)
            })
            .collect();
        ensure!(
            missing.is_empty(),
            "`{}` has no artifacts for the required platforms {}; build them with `cargo xtask cross {}`, \
             or pack what this machine is with `--host-only`",
            repo::shown(dir),
            missing.join(", "),
            missing.join(" ")
        );
        Ok(())
    }

    /// The platform's package.
    pub(crate) fn package(&self, policy: &Policy) -> Result<Package> {
        Package::platform(policy, &self.platform, &self.addon_path, &self.wheel_path)
    }
}

#[cfg(test)]
mod tests {
    use super::Artifacts;
    use crate::policy::Policy;

    #[test]
    fn names_what_is_missing_or_does_not_belong() {
        let policy = Policy::load().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let refusal = || {
            let error = Artifacts::find(&policy, dir.path()).unwrap_err();
            format!("{error:#}")
        };
        let platform = &policy.platforms[1];
        let platform_dir = dir.path().join(&platform.id);
        fs_err::create_dir(&platform_dir).unwrap();
        let build = format!("`cargo xtask addon --target {}`", platform.id);
        assert!(refusal().contains(&build), "{}", refusal());

        fs_err::write(platform_dir.join("ktx.node"), "").unwrap();
        let build = format!("`cargo xtask wheel --target {}`", platform.id);
        assert!(refusal().contains("holds 0 wheels"), "{}", refusal());
        assert!(refusal().contains(&build), "{}", refusal());
        for name in ["a.whl", "b.whl"] {
            fs_err::write(platform_dir.join(name), "").unwrap();
        }
        assert!(refusal().contains("holds 2 wheels"), "{}", refusal());

        fs_err::remove_file(platform_dir.join("b.whl")).unwrap();
        let found = Artifacts::find(&policy, dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].platform.id, platform.id);
        let error = Artifacts::ensure_required(&policy, &found, dir.path()).unwrap_err();
        let text = error.to_string();
        let words: Vec<&str> = text.split([' ', ',', ';', '`']).collect();
        for other in &policy.platforms {
            let is_missing = other.required && other.id != platform.id;
            assert_eq!(words.contains(&other.id.as_str()), is_missing, "{text}");
        }

        fs_err::create_dir(dir.path().join("plan9-x64")).unwrap();
        assert!(refusal().contains("plan9-x64"), "{}", refusal());
    }
}
