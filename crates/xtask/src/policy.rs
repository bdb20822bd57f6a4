//! `release/policy.json`: what is published, for which platforms, within which limits.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::repo;

/// The whole policy; a key that is not here is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Policy {
    /// With the `@`.
    pub(crate) scope: String,
    pub(crate) package: String,
    /// Where packages are published; none means what npm is configured with.
    pub(crate) registry: Option<String>,
    pub(crate) access: Access,
    pub(crate) tags: Vec<String>,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) uv: Uv,
    pub(crate) python: Python,
    pub(crate) max_bytes: MaxBytes,
}

/// Who may read the published packages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Public,
    Restricted,
}

impl Access {
    /// As npm spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Restricted => "restricted",
        }
    }
}

/// One platform package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Platform {
    pub(crate) id: String,
    /// As npm's `os` has it.
    pub(crate) os: String,
    /// As npm's `cpu` has it.
    pub(crate) cpu: String,
    /// As npm's `libc` has it.
    pub(crate) libc: Option<String>,
    pub(crate) rust_target: String,
    /// As uv's `--python-platform` has it.
    pub(crate) python_target: String,
    /// The wheel tag of the uv that is pinned for this platform.
    pub(crate) uv_wheel: String,
    /// A release without it is refused.
    pub(crate) required: bool,
}

/// How the runtime gets uv.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uv {
    pub(crate) version: String,
    pub(crate) strategy: UvStrategy,
}

/// Where uv comes from on a machine that has none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UvStrategy {
    /// The wheel on the Python package index, by version and digest.
    PinnedWheel,
}

/// What the dependency lock covers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Python {
    /// Oldest first.
    pub(crate) versions: Vec<String>,
    /// Where a feature cannot be installed, and why.
    pub(crate) unavailable: Vec<Unavailable>,
}

/// A feature that a platform does not get.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unavailable {
    pub(crate) feature: String,
    pub(crate) platform: String,
    pub(crate) versions: Vec<String>,
    pub(crate) reason: String,
}

/// The largest that each artifact may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MaxBytes {
    pub(crate) addon: u64,
    pub(crate) root_tarball: u64,
    pub(crate) platform_tarball: u64,
}

impl Policy {
    /// Reads and validates the policy of this checkout.
    pub(crate) fn load() -> Result<Self> {
        let path = repo::path("release/policy.json");
        Self::parse(&fs_err::read_to_string(&path)?).context("`release/policy.json` is not valid")
    }

    fn parse(text: &str) -> Result<Self> {
        let policy: Self = serde_json::from_str(text)?;
        policy.validate()?;
        Ok(policy)
    }

    fn validate(&self) -> Result<()> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        ensure!(
            self.scope.strip_prefix('@').is_some_and(is_name),
            "`scope` must look like `@name`"
        );
        ensure!(
            is_name(&self.package),
            "`package` must be a lower-case name"
        );
        ensure!(
            !self.tags.is_empty() && self.tags.iter().all(|tag| is_name(tag)),
            "`tags` must name at least one tag"
        );
        if let Some(registry) = &self.registry {
            ensure!(
                registry.starts_with("https://") || registry.starts_with("http://localhost"),
                "`registry` must be an https address"
            );
        }
        ensure!(
            self.platforms.iter().any(|platform| platform.required),
            "`platforms` requires none"
        );
        let mut seen = BTreeSet::new();
        for platform in &self.platforms {
            ensure!(
                seen.insert(&platform.id),
                "`platforms` names `{}` twice",
                platform.id
            );
            ensure!(
                (platform.os == "linux") == platform.libc.is_some(),
                "`platforms` entry `{}` needs a `libc` on linux and only there",
                platform.id
            );
        }
        ensure!(
            !self.python.versions.is_empty(),
            "`python.versions` is empty"
        );
        for entry in &self.python.unavailable {
            self.platform(&entry.platform)
                .context("`python.unavailable`")?;
            ensure!(
                !entry.reason.is_empty(),
                "`python.unavailable` entry for `{}` has no `reason`",
                entry.platform
            );
            for version in &entry.versions {
                ensure!(
                    self.python.versions.contains(version),
                    "`python.unavailable` names Python {version}, which `python.versions` does not"
                );
            }
        }
        Ok(())
    }

    /// The platform with this id.
    pub(crate) fn platform(&self, id: &str) -> Result<&Platform> {
        self.platforms
            .iter()
            .find(|platform| platform.id == id)
            .with_context(|| format!("`platforms` has no `{id}`"))
    }

    /// The platform that this machine's compiler builds for.
    pub(crate) fn host(&self) -> Result<&Platform> {
        let sh = xshell::Shell::new()?;
        let about = xshell::cmd!(sh, "rustc -vV").quiet().read()?;
        let target = about
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc does not say what it builds for")?;
        self.platforms
            .iter()
            .find(|platform| platform.rust_target == target)
            .with_context(|| format!("`release/policy.json` has no platform for {target}"))
    }

    /// The npm name of the package that users install.
    pub(crate) fn root_package(&self) -> String {
        format!("{}/{}", self.scope, self.package)
    }

    /// The npm name of a platform's package.
    pub(crate) fn platform_package(&self, platform: &Platform) -> String {
        format!("{}/{}-{}", self.scope, self.package, platform.id)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    fn text() -> String {
        fs_err::read_to_string(crate::repo::path("release/policy.json")).unwrap()
    }

    #[test]
    fn reads_the_policy_of_this_checkout() {
        let policy = Policy::load().unwrap();
        assert_eq!(policy.root_package(), "@scope/ktx");
        assert_eq!(
            policy.platform_package(policy.platform("win32-x64-msvc").unwrap()),
            "@scope/ktx-win32-x64-msvc"
        );
    }

    #[test]
    fn names_the_key_that_is_wrong() {
        for (from, to, expected) in [
            ("\"scope\"", "\"scop\"", "scop"),
            ("\"@scope\"", "\"scope\"", "`scope`"),
            ("\"required\": true", "\"needed\": true", "needed"),
            (
                "linux-x64-musl\"",
                "linux-x64-gnu\"",
                "`linux-x64-gnu` twice",
            ),
            ("\"libc\": \"musl\",", "", "`libc`"),
            ("pinned-wheel", "guess", "guess"),
        ] {
            let wrong = text().replacen(from, to, 1);
            assert_ne!(wrong, text(), "`{from}` is not in the policy");
            let message = format!("{:#}", Policy::parse(&wrong).unwrap_err());
            assert!(message.contains(expected), "{message}");
        }
    }
}
