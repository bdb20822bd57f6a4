//! What a release would do, said without doing any of it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Request;
use super::make::Packed;
use super::sources::Source;
use crate::policy::Policy;
use crate::{digest, repo, say};

/// The steps of a release, in order.
pub(crate) const STEPS: [(&str, &str); 8] = [
    (
        "preflight",
        "look for what would stop it, at home and on the registry",
    ),
    ("build", "compile, pack and list in `dist/`"),
    (
        "verify",
        "check every artifact, and that none is published with other bytes",
    ),
    ("publish platforms", "publish the platform packages"),
    (
        "confirm",
        "see each of them on the registry, with the same integrity",
    ),
    ("publish root", "publish the package that people install"),
    (
        "smoke",
        "install it from the registry as people do, and use it",
    ),
    ("report", "write `dist/report.md` and `dist/report.json`"),
];

/// Prints the plan; `packed` is what an earlier run left in `dist/` for this commit.
pub(crate) fn show(
    request: &Request,
    policy: &Policy,
    registry: &str,
    packed: &[Packed],
) -> Result<()> {
    say::result(&format!(
        "{} {} under `{}`, to {registry}\n",
        policy.root_package(),
        request.version,
        request.tag,
    ));
    for (number, (name, what)) in STEPS.iter().enumerate() {
        say::result(&format!("{}. {name}: {what}", number + 1));
    }
    say::result("\nPackages, in the order in which they are published:");
    let mut left_out = Vec::new();
    for (platform, source) in request.sources.of_platforms(policy)? {
        if source == Source::Missing {
            left_out.push(platform.id.as_str());
            continue;
        }
        let name = policy.platform_package(platform);
        say::result(&package_line(&name, &request.version, packed));
        let (dir, state) = match source {
            Source::Given(dir) => (dir, "given"),
            _ => (
                repo::output_dir().join("artifacts").join(&platform.id),
                "built, and again if its sources changed",
            ),
        };
        for line in artifact_lines(&dir, state)? {
            say::result(&line);
        }
    }
    say::result(&package_line(
        &policy.root_package(),
        &request.version,
        packed,
    ));
    if !left_out.is_empty() {
        say::result(&format!("\nWithout artifacts: {}", left_out.join(", ")));
    }
    Ok(())
}

fn package_line(name: &str, version: &str, packed: &[Packed]) -> String {
    match packed.iter().find(|package| package.name == name) {
        Some(package) => format!(
            "  {name}@{version}  {} bytes  sha256 {}",
            package.bytes, package.sha256
        ),
        None => format!("  {name}@{version}  would be packed"),
    }
}

fn artifact_lines(dir: &Path, state: &str) -> Result<Vec<String>> {
    if !dir.is_dir() {
        return Ok(vec!["    addon and wheel would be built".to_owned()]);
    }
    let mut paths: Vec<PathBuf> = fs_err::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    paths
        .iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "node" || extension == "whl")
        })
        .map(|path| {
            let digested = digest::of_file(path)?;
            Ok(format!(
                "    {}  {} bytes  sha256 {}  ({state})",
                repo::shown(path),
                digested.bytes,
                digested.sha256
            ))
        })
        .collect()
}
