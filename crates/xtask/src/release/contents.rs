//! What is published: built here, built elsewhere, or packed by an earlier run.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::preflight::Problem;
use super::report::Report;
use crate::npm::{self, Artifacts, Packed};
use crate::policy::{Platform, Policy};
use crate::target::Target;
use crate::{addon, dist, repo, say};

/// What is published.
#[derive(Debug)]
pub(crate) enum Contents {
    /// This machine's platform, and whatever is in the directories `DIR/<platform id>`.
    Artifacts(Option<PathBuf>),
    /// What `dist/` holds.
    Packed(Vec<Packed>),
}

/// Where one platform's artifacts come from.
pub(crate) enum Source {
    /// They were built elsewhere.
    Given(Box<Artifacts>),
    /// This machine builds them.
    Built,
    /// Nobody has them.
    Missing,
}

impl Contents {
    /// What an earlier run packed from this commit.
    pub(crate) fn packed_from(policy: &Policy, revision: &str) -> Result<Self> {
        let (packed_from, packed) = dist::packed(policy, &dist_dir())?;
        ensure!(
            packed_from == revision,
            "`{}` holds what was packed from {packed_from}; this is {revision}",
            dist::DIR
        );
        Ok(Self::Packed(packed))
    }

    /// The policy's platforms, each with its source; none where that was settled earlier.
    pub(crate) fn sources<'a>(&self, policy: &'a Policy) -> Result<Vec<(&'a Platform, Source)>> {
        let Self::Artifacts(dir) = self else {
            return Ok(Vec::new());
        };
        let mut given = match dir {
            Some(dir) => Artifacts::find(policy, dir)?,
            None => Vec::new(),
        };
        let host = policy.host()?;
        Ok(policy
            .platforms
            .iter()
            .map(|platform| {
                let position = given
                    .iter()
                    .position(|artifacts| artifacts.platform.id == platform.id);
                let source = match position {
                    Some(position) => Source::Given(Box::new(given.swap_remove(position))),
                    None if platform.id == host.id => Source::Built,
                    None => Source::Missing,
                };
                (platform, source)
            })
            .collect())
    }

    /// The packages that will be published, the root last.
    pub(crate) fn names(&self, policy: &Policy) -> Result<Vec<String>> {
        if let Self::Packed(packed) = self {
            return Ok(packed.iter().map(|package| package.name.clone()).collect());
        }
        let mut names: Vec<String> = self
            .sources(policy)?
            .into_iter()
            .filter(|(_, source)| !matches!(source, Source::Missing))
            .map(|(platform, _)| policy.platform_package(platform))
            .collect();
        names.push(policy.root_package());
        Ok(names)
    }

    /// What is there and should not be, and what is missing, unless it may be.
    pub(crate) fn problems(&self, policy: &Policy, may_miss: bool) -> Vec<Problem> {
        let names = match self.names(policy) {
            Ok(names) => names,
            Err(error) => {
                return vec![Problem::new(
                    format!("{error:#}"),
                    "Give what holds a folder for each platform: `--artifacts DIR`",
                )];
            }
        };
        let missing: Vec<&str> = policy
            .platforms
            .iter()
            .filter(|platform| platform.required)
            .filter(|platform| !names.contains(&policy.platform_package(platform)))
            .map(|platform| platform.id.as_str())
            .collect();
        if may_miss || missing.is_empty() {
            return Vec::new();
        }
        let all = missing.join(", ");
        let built_dir = repo::output_dir().join("artifacts");
        let build = format!(
            "Build them, `cargo xtask cross {}`, and give them, `--artifacts {}`; or rehearse with `--local --host-only`",
            missing.join(" "),
            repo::shown(&built_dir)
        );
        vec![match self {
            Self::Packed(_) => Problem::new(
                format!("`{}` has no packages of {all}", dist::DIR),
                "Release without `--resume`, or rehearse with `--local --host-only`",
            ),
            Self::Artifacts(Some(dir)) => Problem::new(
                format!("`{}` has no artifacts of {all}", repo::shown(dir)),
                build,
            ),
            Self::Artifacts(None) => {
                Problem::new(format!("There are no artifacts of {all}"), build)
            }
        }]
    }

    /// Builds what this machine builds, and packs everything into `dist/`, which then holds nothing
    /// else; the root comes last.
    pub(crate) fn pack(&self, policy: &Policy) -> Result<Vec<Packed>> {
        if let Self::Packed(packed) = self {
            say::detail(&format!("Taking what `{}/` holds", dist::DIR));
            return Ok(packed.clone());
        }
        let mut all = Vec::new();
        for (platform, source) in self.sources(policy)? {
            match source {
                Source::Given(artifacts) => all.push(*artifacts),
                Source::Built => all.push(Artifacts::build(&Target::of(policy, platform)?)?),
                Source::Missing => {}
            }
        }
        let dist_dir = dist_dir();
        if dist_dir.exists() {
            fs_err::remove_dir_all(&dist_dir)?;
        }
        let packed = npm::pack(policy, &all, &dist_dir)?;
        let wheels: Vec<&Path> = all
            .iter()
            .map(|artifacts| artifacts.wheel_path.as_path())
            .collect();
        dist::write(policy, &packed, &wheels, &dist_dir)?;
        Ok(packed)
    }
}

/// Where a release puts what it makes.
pub(crate) fn dist_dir() -> PathBuf {
    repo::path(dist::DIR)
}

/// What an earlier run packed of a version; nothing where it packed none, or another.
pub(crate) fn packed_version(policy: &Policy, version: &str) -> Vec<Packed> {
    if !dist_dir().exists() {
        return Vec::new();
    }
    match dist::packed(policy, &dist_dir()) {
        Ok((_, packed)) => packed
            .into_iter()
            .filter(|package| package.version == version)
            .collect(),
        Err(error) => {
            say::detail(&format!("Not compared with `{}/`: {error:#}", dist::DIR));
            Vec::new()
        }
    }
}

/// Checks every package down to the code in it, and notes what that is.
pub(crate) fn verify(policy: &Policy, packages: &[Packed], report: &mut Report) -> Result<()> {
    for package in packages {
        let tarball = package.check(policy)?;
        let Some(platform) = &package.platform else {
            npm::check_together(packages, &tarball)?;
            continue;
        };
        if let Some(addon) = &tarball.addon {
            report.carries(platform, addon::FILE_NAME, addon);
        }
        if let Some(wheel) = &tarball.wheel {
            report.carries_wheel(platform, wheel);
        }
    }
    dist::verify(policy, &dist_dir())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Contents, Problem, Source};
    use crate::policy::Policy;

    fn messages(contents: &Contents, policy: &Policy, may_miss: bool) -> String {
        let problems = contents.problems(policy, may_miss);
        let listed: Vec<String> = problems.iter().map(Problem::to_string).collect();
        listed.join("\n")
    }

    #[test]
    fn names_every_platform_that_is_missing() {
        let policy = Policy::load().unwrap();
        let host = policy.host().unwrap();
        let built_here = Contents::Artifacts(None);
        let message = messages(&built_here, &policy, false);
        for platform in &policy.platforms {
            assert_eq!(
                message.contains(&platform.id),
                platform.id != host.id,
                "{message}"
            );
        }
        assert!(message.contains("`cargo xtask cross "), "{message}");
        assert_eq!(messages(&built_here, &policy, true), "");
        assert_eq!(
            built_here.names(&policy).unwrap(),
            [policy.platform_package(host), policy.root_package()]
        );
    }

    #[test]
    fn an_empty_matrix_is_missing_everything() {
        let policy = Policy::load().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let empty = Contents::Artifacts(Some(dir.path().to_owned()));
        assert!(messages(&empty, &policy, false).contains("has no artifacts of "));
        let nowhere = Contents::Artifacts(Some(dir.path().join("nowhere")));
        assert!(messages(&nowhere, &policy, true).contains("--artifacts DIR"));
        let nothing = Contents::Packed(Vec::new());
        assert!(messages(&nothing, &policy, false).contains("`dist` has no packages of "));
    }

    #[test]
    fn takes_what_is_given_and_whole() {
        let policy = Policy::load().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for platform in &policy.platforms {
            let platform_dir = dir.path().join(&platform.id);
            fs_err::create_dir(&platform_dir).unwrap();
            fs_err::write(platform_dir.join("ktx.node"), "").unwrap();
            fs_err::write(platform_dir.join("a.whl"), "").unwrap();
        }
        let given = Contents::Artifacts(Some(dir.path().to_owned()));
        let sources = given.sources(&policy).unwrap();
        assert!(
            sources
                .iter()
                .all(|(_, source)| matches!(source, Source::Given(_)))
        );
        assert_eq!(messages(&given, &policy, false), "");

        fs_err::write(dir.path().join(&policy.platforms[0].id).join("b.whl"), "").unwrap();
        assert!(messages(&given, &policy, false).contains("2 wheels"));
        fs_err::create_dir(dir.path().join("plan9-x64")).unwrap();
        assert!(messages(&given, &policy, false).contains("plan9-x64"));
    }
}
