//! What a release would do, said without doing any of it.

use std::path::Path;

use anyhow::Result;

use super::Request;
use super::contents::Source;
use crate::npm::{Artifacts, Packed};
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
    for name in request.contents.names(policy)? {
        say::result(&package_line(&name, &request.version, packed));
    }
    say::result("\nWhat they carry:");
    let built = Artifacts::find(policy, &repo::output_dir().join("artifacts")).unwrap_or_default();
    for (platform, source) in request.contents.sources(policy)? {
        let id = &platform.id;
        let built = built.iter().find(|built| built.platform.id == *id);
        match (source, built) {
            (Source::Given(artifacts), _) => show_artifacts(&artifacts, "given")?,
            (Source::Built, Some(built)) => show_artifacts(built, "built before")?,
            (Source::Built, None) => say::result(&format!("{id}: would be built")),
            (Source::Missing, _) => say::result(&format!("{id}: left out, without artifacts")),
        }
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

fn show_artifacts(artifacts: &Artifacts, state: &str) -> Result<()> {
    say::result(&format!("{}: {state}", artifacts.platform.id));
    for path in [&artifacts.addon_path, &artifacts.wheel_path] {
        let digested = digest::of_file(path)?;
        let name = path.file_name().map_or(Path::new(""), Path::new);
        say::result(&format!(
            "  {}  {} bytes  sha256 {}",
            name.display(),
            digested.bytes,
            digested.sha256
        ));
    }
    Ok(())
}
