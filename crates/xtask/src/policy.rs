//! `release/policy.json`: what is published, for which platforms, within which limits.

mod drift;
mod names;
mod schema;
mod tags;
mod validate;
mod verb;

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use names::Names;
pub(crate) use tags::Tag;
pub(crate) use verb::{Options, problems, run};

use crate::repo;

/// Where the policy is.
pub(crate) const PATH: &str = "release/policy.json";

/// What is published, for which platforms, within which limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Policy {
    /// The schema that editors check this file with.
    #[serde(rename = "$schema")]
    schema: Option<String>,
    /// Scope of every npm package, with the `@`.
    #[schemars(regex(pattern = "^@[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) scope: String,
    /// Name of the npm package that people install, without the scope.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]*$"))]
    pub(crate) package: String,
    /// Where packages are published; null means what npm is configured with.
    pub(crate) registry: Option<String>,
    /// The git address that a checkout must come from to be released.
    pub(crate) repository: String,
    /// Who may read the published packages.
    pub(crate) access: Access,
    /// The dist-tags that packages may be published under, and the versions that each is for.
    pub(crate) tags: BTreeMap<String, Tag>,
    /// The platforms that packages are made for.
    pub(crate) platforms: Vec<Platform>,
    /// How the runtime gets uv.
    pub(crate) uv: Uv,
    /// What the dependency lock covers.
    pub(crate) python: Python,
    /// How what was published is tested.
    pub(crate) smoke: Smoke,
    /// The largest that each artifact may be.
    pub(crate) max_bytes: MaxBytes,
}

/// Who may read the published packages.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Those whom the registry lets.
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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Platform {
    /// What follows the name of the root package: `os`, `cpu` and the C library.
    pub(crate) id: String,
    /// As npm's `os` has it.
    pub(crate) os: String,
    /// As npm's `cpu` has it.
    pub(crate) cpu: String,
    /// As npm's `libc` has it; on linux only.
    pub(crate) libc: Option<String>,
    /// The oldest glibc that the artifacts must run with; where the libc is glibc only.
    pub(crate) glibc: Option<String>,
    /// The oldest macOS that the artifacts must run on; on darwin only.
    pub(crate) macos: Option<String>,
    /// As rustc names it.
    pub(crate) rust_target: String,
    /// The Rust target where it is built on another system, if that is another one.
    pub(crate) cross_target: Option<String>,
    /// As uv's `--python-platform` has it.
    pub(crate) python_target: String,
    /// The wheel tag of the uv that is pinned for this platform.
    pub(crate) uv_wheel: String,
    /// Whether a release without it is refused.
    pub(crate) required: bool,
}

/// How the runtime gets uv.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uv {
    /// The version that is pinned.
    pub(crate) version: String,
    /// Where it comes from on a machine that has none.
    pub(crate) strategy: UvStrategy,
}

/// Where uv comes from on a machine that has none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UvStrategy {
    /// The wheel on the Python package index, by version and digest.
    PinnedWheel,
}

/// What the dependency lock covers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Python {
    /// The minor versions of Python, oldest first.
    pub(crate) versions: Vec<String>,
    /// Where a feature cannot be installed, and why.
    pub(crate) unavailable: Vec<Unavailable>,
}

/// A feature that a platform does not get.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unavailable {
    /// The feature.
    pub(crate) feature: String,
    /// The platform's id.
    pub(crate) platform: String,
    /// The versions of Python that lack it.
    pub(crate) versions: Vec<String>,
    /// What people are told.
    pub(crate) reason: String,
}

/// How what was published is tested.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Smoke {
    /// The package managers that install it; one of them is npm.
    #[schemars(schema_with = "schema::package_managers")]
    pub(crate) package_managers: Vec<String>,
    /// How long a registry may take to show what it accepted.
    #[schemars(range(min = 1, max = 3600))]
    pub(crate) availability_seconds: u64,
}

/// The largest that each artifact may be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MaxBytes {
    /// The native addon.
    #[schemars(range(min = 1))]
    pub(crate) addon: u64,
    /// The Python wheel of one platform.
    #[schemars(range(min = 1))]
    pub(crate) wheel: u64,
    /// The packed root package.
    #[schemars(range(min = 1))]
    pub(crate) root_tarball: u64,
    /// The packed package of one platform.
    #[schemars(range(min = 1))]
    pub(crate) platform_tarball: u64,
}

impl Policy {
    /// Reads and validates the policy of this checkout.
    pub(crate) fn load() -> Result<Self> {
        Self::parse(&fs_err::read_to_string(repo::path(PATH))?)
            .with_context(|| format!("`{PATH}` is not valid"))
    }

    /// Reads and validates the text of a policy.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let policy: Self =
            serde_path_to_error::deserialize(&mut json).map_err(|error| {
                match error.path().to_string().as_str() {
                    // The whole has no key.
                    "." => anyhow!("{}", error.inner()),
                    path => anyhow!("`{path}`: {}", error.inner()),
                }
            })?;
        json.end()?;
        policy.validate()?;
        Ok(policy)
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
            .with_context(|| format!("`{PATH}` has no platform for {target}"))
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
    use serde_json::{Value, json};

    use super::Policy;

    fn text() -> String {
        fs_err::read_to_string(crate::repo::path(super::PATH)).unwrap()
    }

    /// Why the policy of this checkout is refused after one change.
    fn refusal(from: &str, to: &str) -> String {
        let wrong = text().replacen(from, to, 1);
        assert_ne!(wrong, text(), "`{from}` is not in the policy");
        format!("{:#}", Policy::parse(&wrong).unwrap_err())
    }

    #[test]
    fn names_packages_after_scope_and_package() {
        let mut policy = Policy::parse(&text()).unwrap();
        policy.scope = "@acme".to_owned();
        policy.package = "tool".to_owned();
        assert_eq!(policy.root_package(), "@acme/tool");
        assert_eq!(
            policy.platform_package(policy.platform("win32-x64-msvc").unwrap()),
            "@acme/tool-win32-x64-msvc"
        );
    }

    #[test]
    fn names_the_path_of_a_key_that_does_not_fit() {
        for (from, to, expected) in [
            (
                "\"scope\"",
                "\"scop\"",
                "`scop`: unknown field `scop`, expected one of",
            ),
            (
                "\"required\": true",
                "\"needed\": true",
                "`platforms[0].needed`: unknown field",
            ),
            (
                "\"required\": true",
                "\"required\": 1",
                "`platforms[0].required`: invalid type",
            ),
            (
                "[\n        \"plain\"\n",
                "[\n        \"plan\"\n",
                "`tags.latest.versions[0]`: unknown variant `plan`",
            ),
            (
                "\"availabilitySeconds\"",
                "\"patience\"",
                "`smoke.patience`: unknown field",
            ),
            (
                "\"wheel\": ",
                "\"whel\": ",
                "`maxBytes.whel`: unknown field",
            ),
            (
                "pinned-wheel",
                "guess",
                "`uv.strategy`: unknown variant `guess`",
            ),
        ] {
            let message = refusal(from, to);
            assert!(message.starts_with(expected), "{message}");
            assert!(message.contains(" at line "), "{message}");
        }
        let missing = refusal("\"access\": \"public\",", "");
        assert!(
            missing.starts_with("missing field `access` at "),
            "{missing}"
        );
    }

    /// Why the policy of this checkout is refused with another value at a JSON pointer.
    fn refusal_at(pointer: &str, value: Value) -> String {
        let mut wrong: Value = serde_json::from_str(&text()).unwrap();
        let place = wrong.pointer_mut(pointer);
        *place.unwrap_or_else(|| panic!("the policy has no `{pointer}`")) = value;
        format!("{:#}", Policy::parse(&wrong.to_string()).unwrap_err())
    }

    #[test]
    fn names_the_key_whose_value_means_nothing() {
        for (pointer, value, expected) in [
            ("/$schema", json!("./other.json"), "`$schema`"),
            ("/scope", json!("scope"), "`scope`"),
            ("/scope", json!("@Scope"), "`scope`"),
            ("/package", json!("k/x"), "`package`"),
            ("/registry", json!("http://example.com/"), "`registry`"),
            (
                "/registry",
                json!("http://localhost.example.com/"),
                "`registry`",
            ),
            ("/registry", json!("https://u:p@example.com/"), "`registry`"),
            (
                "/repository",
                json!("ftp://example.com/ktx.git"),
                "`repository`",
            ),
            ("/tags", json!({}), "`tags`"),
            (
                "/tags",
                json!({ "1.0": { "versions": ["plain"] } }),
                "`tags.1.0`",
            ),
            ("/tags/next/versions", json!([]), "`tags.next.versions`"),
            (
                "/tags/next/versions",
                json!(["plain", "plain"]),
                "`tags.next.versions[1]`",
            ),
            (
                "/tags/latest/versions/0",
                json!("release-candidate"),
                "`tags.latest.versions[0]`",
            ),
            ("/platforms", json!([]), "`platforms`"),
            (
                "/platforms/1/id",
                json!("linux-x64-gnu"),
                "`platforms[1].id`",
            ),
            (
                "/platforms/1/id",
                json!("linux-x64-other"),
                "`platforms[1].id`",
            ),
            ("/platforms/1/os", json!("plan9"), "`platforms[1].os`"),
            ("/platforms/1/libc", json!(null), "`platforms[1].libc`"),
            (
                "/platforms/1/rustTarget",
                json!("x86_64-unknown-linux-gnu"),
                "`platforms[1].rustTarget`",
            ),
            ("/platforms/0/glibc", json!(null), "`platforms[0].glibc`"),
            ("/platforms/0/glibc", json!("new"), "`platforms[0].glibc`"),
            (
                "/platforms/0/glibc",
                json!("2.17"),
                "`platforms[0].pythonTarget`",
            ),
            ("/platforms/4/macos", json!(null), "`platforms[4].macos`"),
            ("/uv/version", json!("v1.0"), "`uv.version`"),
            ("/python/versions", json!([]), "`python.versions`"),
            ("/python/versions/1", json!("3.9"), "`python.versions[1]`"),
            (
                "/python/unavailable/0/feature",
                json!("tea"),
                "`python.unavailable[0].feature`",
            ),
            (
                "/python/unavailable/0/platform",
                json!("linux-mips"),
                "`python.unavailable[0].platform`",
            ),
            (
                "/python/unavailable/0/versions/0",
                json!("2.7"),
                "`python.unavailable[0].versions[0]`",
            ),
            (
                "/python/unavailable/0/reason",
                json!(""),
                "`python.unavailable[0].reason`",
            ),
            (
                "/smoke/packageManagers/1",
                json!("pip"),
                "`smoke.packageManagers[1]`",
            ),
            (
                "/smoke/packageManagers/1",
                json!("npm"),
                "`smoke.packageManagers[1]`",
            ),
            (
                "/smoke/packageManagers",
                json!(["bun"]),
                "`smoke.packageManagers`",
            ),
            (
                "/smoke/availabilitySeconds",
                json!(0),
                "`smoke.availabilitySeconds`",
            ),
            (
                "/smoke/availabilitySeconds",
                json!(10_000),
                "`smoke.availabilitySeconds`",
            ),
            ("/maxBytes/addon", json!(0), "`maxBytes.addon`"),
        ] {
            let message = refusal_at(pointer, value);
            assert!(message.starts_with(&format!("{expected}: ")), "{message}");
        }
    }
}
