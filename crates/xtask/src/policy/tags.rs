//! Which versions may be published under which dist-tag.

use std::fmt;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use semver::Version;
use serde::Deserialize;

use super::{PATH, Policy};
use crate::version;

/// A dist-tag.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tag {
    /// The versions that may be published under it.
    pub(crate) versions: Vec<Kind>,
}

/// What a version is, by its prerelease.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Without a prerelease: `1.2.3`.
    Plain,
    /// `1.2.3-rc.1`.
    ReleaseCandidate,
    /// `1.2.3-beta.1`.
    Beta,
    /// `1.2.3-alpha.1`.
    Alpha,
}

impl Kind {
    /// What a version is; fails for one that npm or Python cannot order.
    pub(crate) fn of(version: &str) -> Result<Self> {
        let parsed: Version = version::parse(version)?;
        Ok(match parsed.pre.split('.').next() {
            Some("rc") => Self::ReleaseCandidate,
            Some("beta") => Self::Beta,
            Some("alpha") => Self::Alpha,
            _ => Self::Plain,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "plain version",
            Self::ReleaseCandidate => "release candidate",
            Self::Beta => "beta version",
            Self::Alpha => "alpha version",
        })
    }
}

impl Policy {
    /// Fails unless this version may be published under this tag.
    pub(crate) fn check_tag(&self, tag: &str, version: &str) -> Result<()> {
        let kind = Kind::of(version)?;
        let allows = |tag: &Tag| tag.versions.contains(&kind);
        let allowed: Vec<&str> = self
            .tags
            .iter()
            .filter(|(_, tag)| allows(tag))
            .map(|(name, _)| name.as_str())
            .collect();
        let instead = match allowed.as_slice() {
            [] => format!("no tag in `{PATH}` is for one"),
            names => format!("publish it under {}", quoted(names, " or ")),
        };
        match self.tags.get(tag) {
            Some(asked) if allows(asked) => Ok(()),
            Some(asked) => {
                let kinds: Vec<String> = asked.versions.iter().map(ToString::to_string).collect();
                bail!(
                    "The tag `{tag}` is for a {}, and {version} is a {kind}; {instead}",
                    kinds.join(" or a ")
                )
            }
            None => {
                let known: Vec<&str> = self.tags.keys().map(String::as_str).collect();
                bail!(
                    "`tags` in `{PATH}` has no `{tag}`, only {}; {version} is a {kind}: {instead}",
                    quoted(&known, " and ")
                )
            }
        }
    }
}

fn quoted(names: &[&str], between: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(between)
}

#[cfg(test)]
mod tests {
    use super::Kind;
    use crate::policy::Policy;

    #[test]
    fn publishes_plain_versions_and_candidates_under_next_and_only_plain_ones_under_latest() {
        let policy = Policy::load().unwrap();
        policy.check_tag("next", "1.2.3").unwrap();
        policy.check_tag("next", "1.2.3-rc.4").unwrap();
        policy.check_tag("latest", "1.2.3").unwrap();
        let refusal = |tag, version| policy.check_tag(tag, version).unwrap_err().to_string();
        assert_eq!(
            refusal("latest", "1.2.3-rc.4"),
            "The tag `latest` is for a plain version, and 1.2.3-rc.4 is a release candidate; publish it under `next`"
        );
        assert_eq!(
            refusal("next", "1.2.3-beta.1"),
            "The tag `next` is for a plain version or a release candidate, and 1.2.3-beta.1 is a beta version; \
             no tag in `release/policy.json` is for one"
        );
        assert_eq!(
            refusal("newest", "1.2.3"),
            "`tags` in `release/policy.json` has no `newest`, only `latest` and `next`; 1.2.3 is a plain version: \
             publish it under `latest` or `next`"
        );
    }

    #[test]
    fn knows_versions_by_their_prerelease() {
        assert_eq!(Kind::of("1.0.0").unwrap(), Kind::Plain);
        assert_eq!(Kind::of("1.0.0-alpha.0").unwrap(), Kind::Alpha);
        assert!(Kind::of("1.0.0-nightly.1").is_err());
        assert!(Kind::of("1.0").is_err());
    }
}
