//! The packed packages: built and listed, or taken from what an earlier run left in `dist/`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::preflight::Problem;
use super::sources::{Source, Sources};
use super::{dist_dir, report::Report};
use crate::policy::Policy;
use crate::{digest, npm, repo, tools};

/// One packed package.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Packed {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) path: std::path::PathBuf,
    pub(crate) integrity: String,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    pub(crate) platform: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Listed {
    revision: String,
    packages: Vec<Packed>,
}

fn list_path() -> std::path::PathBuf {
    dist_dir().join("packages.json")
}

/// What an earlier run packed from this commit.
pub(crate) fn packed_before(revision: &str) -> Result<Vec<Packed>> {
    let listed: Listed = serde_json::from_str(&fs_err::read_to_string(list_path())?)?;
    ensure!(
        listed.revision == revision,
        "`dist/` was packed from {}, this is {revision}",
        listed.revision
    );
    for package in &listed.packages {
        ensure!(
            digest::of_file(&package.path)?.sha256 == package.sha256,
            "`{}` is not what was packed",
            repo::shown(&package.path)
        );
    }
    Ok(listed.packages)
}

/// What an earlier run packed of a version; nothing where it packed none, or another.
pub(crate) fn packed_version(version: &str) -> Vec<Packed> {
    let listed = fs_err::read_to_string(list_path())
        .ok()
        .and_then(|text| serde_json::from_str::<Listed>(&text).ok());
    let packages = listed.map(|listed| listed.packages).unwrap_or_default();
    packages
        .into_iter()
        .filter(|package| package.version == version)
        .collect()
}

/// Why there is nothing to resume.
pub(crate) fn resume_problem(revision: &str) -> Option<Problem> {
    let error = packed_before(revision).err()?;
    Some(Problem::new(
        format!("There is nothing to go on with: {error:#}"),
        "Build again, without `--resume`",
    ))
}

/// Builds what this machine builds, and packs everything; the root comes last.
pub(crate) fn pack(policy: &Policy, sources: &Sources, revision: &str) -> Result<Vec<Packed>> {
    let dist_dir = dist_dir();
    if dist_dir.exists() {
        fs_err::remove_dir_all(&dist_dir)?;
    }
    fs_err::create_dir_all(&dist_dir)?;
    for (_, source) in sources.of_platforms(policy)? {
        ensure!(!matches!(source, Source::Given(_)), "later");
    }
    let mut packages = Vec::new();
    for path in npm::paths(&npm::pack_native(policy, &dist_dir)?) {
        packages.push(describe(policy, &path)?);
    }
    let listed = Listed {
        revision: revision.to_owned(),
        packages: packages.clone(),
    };
    fs_err::write(list_path(), serde_json::to_string_pretty(&listed)?)?;
    Ok(packages)
}

fn describe(policy: &Policy, path: &Path) -> Result<Packed> {
    let sh = tools::shell()?;
    let told = tools::npm(&sh)
        .args(["pack", "--dry-run", "--json"])
        .arg(path)
        .quiet()
        .ignore_stderr()
        .read()?;
    let told: Value = serde_json::from_str(&told)?;
    let text =
        |key: &str| -> Result<String> { Ok(told[0][key].as_str().context("npm pack")?.to_owned()) };
    let digested = digest::of_file(path)?;
    let name = text("name")?;
    Ok(Packed {
        platform: policy
            .platforms
            .iter()
            .find(|platform| policy.platform_package(platform) == name)
            .map(|platform| platform.id.clone()),
        name,
        version: text("version")?,
        path: path.to_owned(),
        integrity: text("integrity")?,
        sha256: digested.sha256,
        bytes: digested.bytes,
    })
}

/// Checks every artifact.
#[expect(clippy::unnecessary_wraps, reason = "stub")]
pub(crate) fn verify(_policy: &Policy, _packages: &[Packed], _report: &mut Report) -> Result<()> {
    Ok(())
}
