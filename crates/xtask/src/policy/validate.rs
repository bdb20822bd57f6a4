//! What a policy must mean, beyond having the right keys; every message begins with the key.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use ktx_asset::Feature;
use semver::Version;

use super::tags::Kind;
use super::{Platform, Policy};
use crate::smoke::Manager;

const SCHEMA: &str = "./policy.schema.json";
/// What people get who name no version.
const DEFAULT_TAG: &str = "latest";
const LONGEST_WAIT_SECONDS: u64 = 3600;

impl Policy {
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(
            self.schema.as_deref().is_none_or(|schema| schema == SCHEMA),
            "`$schema`: must be `{SCHEMA}`"
        );
        ensure!(
            self.scope.strip_prefix('@').is_some_and(is_name),
            "`scope`: must look like `@name`, in lower case"
        );
        ensure!(
            is_name(&self.package),
            "`package`: must be a lower-case name, without the scope"
        );
        self.validate_addresses()?;
        self.validate_tags()?;
        self.validate_platforms()?;
        self.validate_python()?;
        self.validate_smoke()?;
        ensure!(
            Version::parse(&self.uv.version).is_ok_and(|version| version.pre.is_empty()),
            "`uv.version`: must be a version such as `0.13.8`"
        );
        let limits = &self.max_bytes;
        for (name, limit) in [
            ("addon", limits.addon),
            ("wheel", limits.wheel),
            ("rootTarball", limits.root_tarball),
            ("platformTarball", limits.platform_tarball),
        ] {
            ensure!(limit > 0, "`maxBytes.{name}`: must be more than nothing");
        }
        Ok(())
    }

    fn validate_addresses(&self) -> Result<()> {
        if let Some(registry) = &self.registry {
            let loopback = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
            ensure!(
                registry.starts_with("https://")
                    || loopback.iter().any(|start| {
                        registry
                            .strip_prefix(start)
                            .is_some_and(|rest| rest.starts_with(':') || rest.starts_with('/'))
                    }),
                "`registry`: must be an https address, or null for what npm is configured with"
            );
            ensure!(
                !registry.contains('@') && !registry.contains(char::is_whitespace),
                "`registry`: must hold no credential; npm's own configuration does"
            );
        }
        ensure!(
            self.repository.starts_with("https://")
                && self.repository.strip_suffix(".git").is_some()
                && !self.repository.contains('@'),
            "`repository`: must be an https address that ends in `.git`"
        );
        Ok(())
    }

    fn validate_tags(&self) -> Result<()> {
        ensure!(!self.tags.is_empty(), "`tags`: must name at least one tag");
        for (name, tag) in &self.tags {
            ensure!(
                is_name(name) && !name.starts_with(|first: char| first.is_ascii_digit()),
                "`tags.{name}`: a tag is a lower-case name that cannot be taken for a version"
            );
            ensure!(
                !tag.versions.is_empty(),
                "`tags.{name}.versions`: must name at least one kind of version"
            );
            for (index, kind) in tag.versions.iter().enumerate() {
                let key = format!("tags.{name}.versions[{index}]");
                ensure!(
                    !tag.versions[..index].contains(kind),
                    "`{key}`: is there twice"
                );
                ensure!(
                    name != DEFAULT_TAG || *kind == Kind::Plain,
                    "`{key}`: `{DEFAULT_TAG}` is what people get who name no version, so it is for `plain` ones only"
                );
            }
        }
        Ok(())
    }

    fn validate_platforms(&self) -> Result<()> {
        ensure!(
            self.platforms.iter().any(|platform| platform.required),
            "`platforms`: requires none"
        );
        let (mut ids, mut targets) = (BTreeSet::new(), BTreeSet::new());
        for (index, platform) in self.platforms.iter().enumerate() {
            let key = format!("platforms[{index}]");
            ensure!(
                ids.insert(&platform.id),
                "`{key}.id`: `{}` is there twice",
                platform.id
            );
            ensure!(
                targets.insert(&platform.rust_target),
                "`{key}.rustTarget`: `{}` is there twice",
                platform.rust_target
            );
            platform.validate(&key)?;
        }
        Ok(())
    }

    fn validate_python(&self) -> Result<()> {
        ensure!(
            !self.python.versions.is_empty(),
            "`python.versions`: must name at least one"
        );
        let mut previous = 0;
        for (index, version) in self.python.versions.iter().enumerate() {
            let minor = version
                .strip_prefix("3.")
                .and_then(|minor| minor.parse().ok());
            ensure!(
                minor.is_some_and(|minor: u32| minor > previous),
                "`python.versions[{index}]`: must look like `3.12` and be newer than the one before"
            );
            previous = minor.unwrap_or_default();
        }
        for (index, entry) in self.python.unavailable.iter().enumerate() {
            let key = format!("python.unavailable[{index}]");
            ensure!(
                Feature::ALL
                    .iter()
                    .any(|feature| feature.name() == entry.feature),
                "`{key}.feature`: no feature is called `{}`",
                entry.feature
            );
            ensure!(
                self.platform(&entry.platform).is_ok(),
                "`{key}.platform`: `platforms` has no `{}`",
                entry.platform
            );
            ensure!(!entry.reason.is_empty(), "`{key}.reason`: is empty");
            for (place, version) in entry.versions.iter().enumerate() {
                ensure!(
                    self.python.versions.contains(version),
                    "`{key}.versions[{place}]`: `python.versions` has no `{version}`"
                );
            }
        }
        Ok(())
    }

    fn validate_smoke(&self) -> Result<()> {
        let managers = &self.smoke.package_managers;
        for (index, manager) in managers.iter().enumerate() {
            let key = format!("smoke.packageManagers[{index}]");
            let known = Manager::ALL.map(Manager::name);
            ensure!(
                known.contains(&manager.as_str()),
                "`{key}`: expected one of `{}`, not `{manager}`",
                known.join("`, `")
            );
            ensure!(
                !managers[..index].contains(manager),
                "`{key}`: `{manager}` is there twice"
            );
        }
        ensure!(
            managers.iter().any(|manager| manager == "npm"),
            "`smoke.packageManagers`: must have `npm`, which the runtime is tested with"
        );
        ensure!(
            (1..=LONGEST_WAIT_SECONDS).contains(&self.smoke.availability_seconds),
            "`smoke.availabilitySeconds`: must be between 1 and {LONGEST_WAIT_SECONDS}"
        );
        Ok(())
    }
}

impl Platform {
    fn validate(&self, key: &str) -> Result<()> {
        let is_linux = self.os == "linux";
        let is_glibc = self.libc.as_deref() == Some("glibc");
        let suffix = match (self.os.as_str(), self.libc.as_deref()) {
            ("linux", Some("glibc")) => "-gnu",
            ("linux", Some("musl")) => "-musl",
            ("darwin", None) => "",
            ("win32", None) => "-msvc",
            ("darwin" | "win32", Some(_)) => {
                anyhow::bail!("`{key}.libc`: is for linux only")
            }
            ("linux", _) => anyhow::bail!("`{key}.libc`: must be `glibc` or `musl` on linux"),
            (os, _) => {
                anyhow::bail!("`{key}.os`: expected `linux`, `darwin` or `win32`, not `{os}`")
            }
        };
        let id = format!("{}-{}{suffix}", self.os, self.cpu);
        ensure!(
            self.id == id,
            "`{key}.id`: must be `{id}`, after its `os`, `cpu` and `libc`, not `{}`",
            self.id
        );
        check_floor(&format!("{key}.glibc"), self.glibc.as_deref(), is_glibc)?;
        check_floor(
            &format!("{key}.macos"),
            self.macos.as_deref(),
            self.os == "darwin",
        )?;
        if let (true, Some(glibc)) = (is_linux, &self.glibc) {
            let tag = format!("-manylinux_{}", glibc.replace('.', "_"));
            ensure!(
                self.python_target.ends_with(&tag),
                "`{key}.pythonTarget`: must end in `{tag}`, after `{key}.glibc`"
            );
        }
        Ok(())
    }
}

/// The oldest version of a system that artifacts run on: there where it has a meaning.
fn check_floor(key: &str, floor: Option<&str>, has_meaning: bool) -> Result<()> {
    let Some(version) = floor else {
        ensure!(!has_meaning, "`{key}`: is missing");
        return Ok(());
    };
    ensure!(has_meaning, "`{key}`: has no meaning on this platform");
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        version
            .split_once('.')
            .is_some_and(|(major, minor)| is_number(major) && is_number(minor)),
        "`{key}`: must look like `2.28`, not `{version}`"
    );
    Ok(())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte)
        })
}
