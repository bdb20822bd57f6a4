//! Where each platform's artifacts come from: from whoever built them, or from this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::preflight::Problem;
use crate::policy::{Platform, Policy};
use crate::repo;

/// The files of a platform that a package is made of.
const ADDON: &str = "ktx.node";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Holds a directory for each platform that was built elsewhere.
    pub(crate) artifacts_dir: Option<PathBuf>,
    /// Platforms may be missing.
    pub(crate) is_host_only: bool,
}

/// Where one platform's artifacts come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// They are in this directory.
    Given(PathBuf),
    /// This machine builds them.
    Built,
    /// Nobody has them.
    Missing,
}

impl Sources {
    /// The policy's platforms, each with its source.
    pub(crate) fn of_platforms<'a>(
        &self,
        policy: &'a Policy,
    ) -> Result<Vec<(&'a Platform, Source)>> {
        let host_id = &policy.host()?.id;
        Ok(policy
            .platforms
            .iter()
            .map(|platform| {
                let given = self
                    .artifacts_dir
                    .as_ref()
                    .map(|dir| dir.join(&platform.id));
                let source = match given.filter(|dir| dir.is_dir()) {
                    Some(dir) => Source::Given(dir),
                    None if platform.id == *host_id => Source::Built,
                    None => Source::Missing,
                };
                (platform, source)
            })
            .collect())
    }

    /// What is missing, and what is there and should not be.
    pub(crate) fn problems(&self, policy: &Policy) -> Result<Vec<Problem>> {
        let mut problems = Vec::new();
        let mut missing = Vec::new();
        for (platform, source) in self.of_platforms(policy)? {
            match source {
                Source::Given(dir) => problems.extend(incomplete(&dir)?),
                Source::Missing if platform.required && !self.is_host_only => {
                    missing.push(platform.id.as_str());
                }
                Source::Missing | Source::Built => {}
            }
        }
        if let Some(first) = missing.first() {
            let from = match &self.artifacts_dir {
                Some(dir) => format!("in `{}`", dir.display()),
                None => "here".to_owned(),
            };
            problems.push(Problem::new(
                format!("No artifacts of {} {from}", missing.join(", ")),
                format!(
                    "Build each (`cargo xtask addon --target {first}`, `cargo xtask wheel --target {first}`) \
                     and give them with `--artifacts {}`, or rehearse with `--local --host-only`",
                    repo::shown(&repo::output_dir().join("artifacts"))
                ),
            ));
        }
        if let Some(dir) = &self.artifacts_dir {
            problems.extend(strangers(dir, policy)?);
        }
        Ok(problems)
    }
}

/// An addon and one wheel make a package.
fn incomplete(dir: &Path) -> Result<Option<Problem>> {
    let mut wheels = 0;
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        wheels += usize::from(path.extension().is_some_and(|extension| extension == "whl"));
    }
    let has_addon = dir.join(ADDON).is_file();
    Ok((!has_addon || wheels != 1).then(|| {
        let addon = if has_addon { "" } else { "no " };
        Problem::new(
            format!(
                "`{}` has {addon}`{ADDON}` and {wheels} wheels; a package needs one of each",
                dir.display()
            ),
            "Build the platform again, into an empty folder",
        )
    }))
}

fn strangers(dir: &Path, policy: &Policy) -> Result<Vec<Problem>> {
    if !dir.is_dir() {
        return Ok(vec![Problem::new(
            format!("`{}` is not a folder", dir.display()),
            "Give the one that holds a folder for each platform: `--artifacts DIR`",
        )]);
    }
    let mut problems = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_str().context("A platform's name is text")?;
        if policy.platform(name).is_err() {
            problems.push(Problem::new(
                format!(
                    "`{}` is of no platform that the policy has",
                    dir.join(name).display()
                ),
                "Remove it, or add the platform to `release/policy.json`",
            ));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::{Source, Sources};
    use crate::policy::Policy;

    fn messages(sources: &Sources, policy: &Policy) -> String {
        let problems = sources.problems(policy).unwrap();
        problems
            .iter()
            .map(|problem| format!("{problem}\n"))
            .collect()
    }

    #[test]
    fn names_every_platform_that_is_missing() {
        let policy = Policy::load().unwrap();
        let host = policy.host().unwrap();
        let mut sources = Sources {
            artifacts_dir: None,
            is_host_only: false,
        };
        let message = messages(&sources, &policy);
        for platform in &policy.platforms {
            assert_eq!(
                message.contains(&platform.id),
                platform.id != host.id,
                "{message}"
            );
        }
        assert!(message.contains("cargo xtask addon --target"), "{message}");
        sources.is_host_only = true;
        assert_eq!(messages(&sources, &policy), "");
    }

    #[test]
    fn an_empty_matrix_is_missing_everything() {
        let policy = Policy::load().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut sources = Sources {
            artifacts_dir: Some(dir.path().to_owned()),
            is_host_only: false,
        };
        assert!(messages(&sources, &policy).contains("No artifacts of "));
        sources.artifacts_dir = Some(dir.path().join("nowhere"));
        assert!(messages(&sources, &policy).contains("is not a folder"));
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
        let sources = Sources {
            artifacts_dir: Some(dir.path().to_owned()),
            is_host_only: false,
        };
        assert_eq!(messages(&sources, &policy), "");
        let found = sources.of_platforms(&policy).unwrap();
        assert!(
            found
                .iter()
                .all(|(_, source)| matches!(source, Source::Given(_)))
        );

        let first = dir.path().join(&policy.platforms[0].id);
        fs_err::write(first.join("b.whl"), "").unwrap();
        fs_err::create_dir(dir.path().join("plan9-x64")).unwrap();
        let message = messages(&sources, &policy);
        assert!(
            message.contains("2 wheels") && message.contains("plan9-x64"),
            "{message}"
        );
    }
}
