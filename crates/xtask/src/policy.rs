//! `release/policy.json`: what is published, for which platforms, within which limits.

mod drift;
mod names;
mod schema;
mod tags;
#[cfg(test)]
mod tests;
mod validate;
mod verb;

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use names::Names;
pub(crate) use tags::Tag;
pub(crate) use verb::{Options, problems, run};

use crate::{repo, rust_std};

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
        let policy: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
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
        let target = rust_std::fact("host")?;
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
