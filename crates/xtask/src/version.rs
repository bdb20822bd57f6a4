//! `cargo xtask version`: one version in all places, in the forms that the two ecosystems want.

mod places;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;
use semver::Version;

use self::places::Checkout;
use crate::{repo, say};

#[derive(Args)]
pub(crate) struct Options {
    /// The version that this checkout gets, or which part of it goes up: `major`, `minor` or
    /// `patch`; without it, says the version
    #[arg(value_name = "X")]
    version: Option<String>,
    /// Say what would be written; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Fail if not all places state the version; write nothing
    #[arg(long)]
    check: bool,
}

/// Writes or checks the version, or says it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checkout = Checkout(repo::root());
    let current = checkout.version()?;
    let version = &match options.version.as_deref() {
        Some(part @ ("major" | "minor" | "patch")) => following(&current, part)?,
        Some(version) => version.to_owned(),
        None => current.clone(),
    };
    if options.check {
        let problems = problems(repo::root())?;
        if !problems.is_empty() {
            bail!("{} problems\n  {}", problems.len(), problems.join("\n  "));
        }
        if *version != current {
            bail!("The version of this checkout is {current}, not {version}");
        }
        say::result(&format!("Everything is at {version}"));
        return Ok(());
    }
    if options.version.is_none() {
        say::result(version);
        return Ok(());
    }
    let changes = checkout.changes(version, SystemTime::now())?;
    if changes.is_empty() {
        say::result(&format!("Everything is at {version} already"));
        return Ok(());
    }
    say::step(&if *version == current {
        format!("Setting {version} where another version stands")
    } else {
        format!("From {current} to {version}")
    });
    if !options.dry_run {
        checkout.write(&changes)?;
    }
    for change in &changes {
        say::result(change.name);
    }
    Ok(())
}

/// The plain version after `current`, with this part higher and what is after it at zero.
///
/// A prerelease is followed by the version that it leads to, where the part says the same.
fn following(current: &str, part: &str) -> Result<String> {
    let current = parse(current)?;
    let Version {
        major,
        minor,
        patch,
        ..
    } = current;
    let is_prerelease = !current.pre.is_empty();
    let next = match part {
        "major" if is_prerelease && minor == 0 && patch == 0 => (major, 0, 0),
        "major" => (major + 1, 0, 0),
        "minor" if is_prerelease && patch == 0 => (major, minor, 0),
        "minor" => (major, minor + 1, 0),
        _ if is_prerelease => (major, minor, patch),
        _ => (major, minor, patch + 1),
    };
    Ok(Version::new(next.0, next.1, next.2).to_string())
}

/// Where in a checkout another version stands than the workspace's.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    Checkout(root).problems()
}

/// Reads a version that both ecosystems order alike.
pub(crate) fn parse(version: &str) -> Result<Version> {
    let parsed = Version::parse(version).with_context(|| {
        format!("`{version}` is not a semantic version such as `1.2.3` or `1.2.3-rc.1`")
    })?;
    pep440(version)?;
    Ok(parsed)
}

/// The PEP 440 form of a semantic version: `0.1.0-rc.1` becomes `0.1.0rc1`.
///
/// Only the prereleases that order the same in both schemes are accepted.
pub(crate) fn pep440(version: &str) -> Result<String> {
    if version.contains('+') {
        bail!("`{version}` has build metadata, which npm ignores and Python does not");
    }
    let Some((release, prerelease)) = version.split_once('-') else {
        return Ok(version.to_owned());
    };
    let (kind, number) = prerelease.split_once('.').unwrap_or((prerelease, ""));
    let mark = match kind {
        "alpha" => "a",
        "beta" => "b",
        "rc" => "rc",
        _ => bail!(
            "`{version}` has a prerelease that Python cannot order; use alpha.N, beta.N or rc.N"
        ),
    };
    let is_plain_number = !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (number == "0" || !number.starts_with('0'));
    if !is_plain_number {
        bail!("`{version}` needs one number after `{kind}.`, such as `{release}-{kind}.1`");
    }
    Ok(format!("{release}{mark}{number}"))
}
