//! The version in the forms that the two ecosystems want.

use anyhow::{Context, Result, bail};
use semver::Version;

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

#[cfg(test)]
mod tests {
    use super::pep440;

    #[test]
    fn maps_prereleases_that_both_schemes_order_alike() {
        for (semver, python) in [
            ("0.1.0", "0.1.0"),
            ("0.1.0-rc.1", "0.1.0rc1"),
            ("1.2.3-alpha.10", "1.2.3a10"),
            ("1.2.3-beta.0", "1.2.3b0"),
        ] {
            assert_eq!(pep440(semver).unwrap(), python);
        }
    }

    #[test]
    fn refuses_other_prereleases_with_the_reason() {
        for version in [
            "1.0.0-dev.1",
            "1.0.0-rc",
            "1.0.0-rc.1.2",
            "1.0.0-rc.01",
            "1.0.0+build",
        ] {
            let message = pep440(version).unwrap_err().to_string();
            assert!(message.contains(version), "{message}");
        }
    }
}
