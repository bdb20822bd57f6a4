//! `cargo xtask promote`: lets a tag name a version that is on the registry; it publishes nothing.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use semver::Version;

use crate::npm::Packed;
use crate::policy::Policy;
use crate::registry::verdaccio::Verdaccio;
use crate::registry::{Published, Registry};
use crate::release::{packed_version, require_loopback};
use crate::{repo, say};

/// The pause between two looks at the registry.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Options {
    /// The dist-tag that is to name the version
    #[arg(long)]
    to: String,
    /// The version; by default this checkout's
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Ask the registry on this machine that local releases go to
    #[arg(long)]
    local: bool,
    /// Be content with this machine's platform package; never on a public registry
    #[arg(long)]
    host_only: bool,
    /// Say what would be moved; move nothing
    #[arg(long)]
    dry_run: bool,
}

/// What is to be promoted.
struct Promotion<'a> {
    policy: &'a Policy,
    registry: &'a Registry,
    tag: &'a str,
    version: &'a str,
    is_host_only: bool,
    /// The tag may go back to an older version.
    may_go_back: bool,
}

/// One package whose tag is looked at.
struct Package {
    name: String,
    published: Published,
}

/// Checks everything, then moves the tag.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let version = options.version.as_deref().unwrap_or(repo::VERSION);
    policy.check_tag(&options.to, version)?;
    let verdaccio = options
        .local
        .then(|| Verdaccio::start(&policy))
        .transpose()?;
    let registry = match &verdaccio {
        Some(verdaccio) => verdaccio.registry().clone(),
        None => Registry::of_machine(&policy)?,
    };
    if options.host_only {
        require_loopback(&registry)?;
    }
    let promotion = Promotion {
        policy: &policy,
        registry: &registry,
        tag: &options.to,
        version,
        is_host_only: options.host_only,
        may_go_back: options.version.is_some(),
    };
    let packages = promotion.check(&packed_version(&policy, version))?;
    if options.dry_run {
        for package in &packages {
            say::result(&promotion.shown(package));
        }
        return Ok(());
    }
    promotion.apply(&packages)
}

impl Promotion<'_> {
    /// Sees that the version is whole, and what `packed` says it is; the root comes last.
    fn check(&self, packed: &[Packed]) -> Result<Vec<Package>> {
        let mut packages = Vec::new();
        let mut missing = Vec::new();
        for name in self.names()? {
            match self.registry.version(&name, self.version)? {
                Some(published) => packages.push(Package { name, published }),
                None => missing.push(format!("`{name}@{}`", self.version)),
            }
        }
        ensure!(
            missing.is_empty(),
            "`{}` has no {}; publish the version first: `cargo xtask release --tag next`",
            self.registry.shown(),
            missing.join(", ")
        );
        for package in &packages {
            self.check_bytes(package, packed)?;
            self.check_direction(package)?;
        }
        Ok(packages)
    }

    /// The packages that the published root brings along, and the root.
    fn names(&self) -> Result<Vec<String>> {
        let root = self.policy.root_package();
        let brought: BTreeMap<String, String> = self
            .registry
            .optional_dependencies(&root, self.version)?
            .with_context(|| {
                format!(
                    "`{}` has no `{root}@{}`; publish it first: `cargo xtask release --tag next`",
                    self.registry.shown(),
                    self.version
                )
            })?;
        let host = self.policy.host()?;
        let mut names = Vec::new();
        for platform in &self.policy.platforms {
            let name = self.policy.platform_package(platform);
            match brought.get(&name) {
                Some(version) => ensure!(
                    version == self.version,
                    "`{root}@{}` brings along `{name}@{version}`",
                    self.version
                ),
                None if platform.required && !self.is_host_only => bail!(
                    "`{root}@{}` does not bring along `{name}`; if it was released with `--host-only`, add it here too",
                    self.version
                ),
                None => continue,
            }
            if !self.is_host_only || platform.id == host.id {
                names.push(name);
            }
        }
        names.push(root);
        Ok(names)
    }

    fn check_bytes(&self, package: &Package, packed: &[Packed]) -> Result<()> {
        let there = &package.published.integrity;
        ensure!(
            !there.is_empty(),
            "`{}` does not say what bytes `{}@{}` has",
            self.registry.shown(),
            package.name,
            self.version
        );
        if let Some(here) = packed.iter().find(|packed| packed.name == package.name) {
            ensure!(
                *there == here.integrity,
                "`{}@{}` has other bytes than what is in `dist/`: there `{there}`, here `{}`; \
                 if it is `dist/` that is wrong, remove it",
                package.name,
                self.version,
                here.integrity
            );
        }
        Ok(())
    }

    fn check_direction(&self, package: &Package) -> Result<()> {
        let Some(current) = package.published.tags.get(self.tag) else {
            return Ok(());
        };
        ensure!(
            self.may_go_back || Version::parse(current)? <= Version::parse(self.version)?,
            "`{}` of `{}` is {current}, which is newer; to go back, add `--version {}`",
            self.tag,
            package.name,
            self.version
        );
        Ok(())
    }

    /// Moves the tag of every package, and sees that it moved.
    fn apply(&self, packages: &[Package]) -> Result<()> {
        for package in packages {
            if package.published.tags.get(self.tag).map(String::as_str) != Some(self.version) {
                self.registry
                    .set_tag(&package.name, self.version, self.tag)
                    .map_err(|error| self.explained(error))?;
                self.see(package)?;
            }
            say::result(&self.shown(package));
        }
        Ok(())
    }

    fn explained(&self, error: crate::registry::NpmError) -> anyhow::Error {
        let is_refused = error.is_refused();
        let error = anyhow::Error::new(error);
        if is_refused {
            let url = self.registry.shown();
            return error.context(format!(
                "The tag was not moved; log in as someone who may, `npm login --registry={url}`, and run this again"
            ));
        }
        error
    }

    fn see(&self, package: &Package) -> Result<()> {
        let within = Duration::from_secs(self.policy.smoke.availability_seconds);
        let begun = Instant::now();
        loop {
            let tags = self.registry.tags(&package.name)?.unwrap_or_default();
            if tags.get(self.tag).map(String::as_str) == Some(self.version) {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < within,
                "`{}` of `{}` is not seen to be {} {} s after it was moved",
                self.tag,
                package.name,
                self.version,
                within.as_secs()
            );
            thread::sleep(PAUSE);
        }
    }

    fn shown(&self, package: &Package) -> String {
        let (name, tag, version) = (&package.name, self.tag, self.version);
        match package.published.tags.get(tag) {
            Some(current) if current == version => format!("{name}  {tag}: {version} already"),
            Some(current) => format!("{name}  {tag}: {current} → {version}"),
            None => format!("{name}  {tag}: none → {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Promotion;
    use crate::policy::Policy;
    use crate::release::lab::Lab;

    fn policy() -> Policy {
        let mut policy = Policy::load().unwrap();
        let host = policy.host().unwrap().clone();
        policy
            .platforms
            .retain(|platform| platform.id == host.id || platform.id == "win32-x64-msvc");
        policy
    }

    fn promotion<'a>(policy: &'a Policy, lab: &'a Lab, version: &'a str) -> Promotion<'a> {
        Promotion {
            policy,
            registry: lab.registry(),
            tag: "latest",
            version,
            is_host_only: false,
            may_go_back: false,
        }
    }

    #[test]
    fn moves_the_tag_of_whole_versions_only() {
        let policy = policy();
        let lab = Lab::start();
        let [old, new, part] =
            ["1.0.0-rc.1", "1.0.0", "1.1.0"].map(|version| lab.pack_release(&policy, version));
        lab.publish(&old);
        lab.publish(&new);
        lab.publish(&part[1..]);

        let message = |version| {
            let error = promotion(&policy, &lab, version).check(&[]).err();
            format!("{:#}", error.unwrap())
        };
        let root = policy.root_package();
        assert!(message("0.9.0").contains(&format!("has no `{root}@0.9.0`")));
        let missing = format!("has no `{}@1.1.0`", part[0].name);
        assert!(message("1.1.0").contains(&missing), "{}", message("1.1.0"));

        let up = promotion(&policy, &lab, "1.0.0");
        let packages = up.check(&new).unwrap();
        assert_eq!(packages.len(), 3);
        assert_eq!(
            up.shown(&packages[2]),
            format!("{root}  latest: 1.0.0-rc.1 → 1.0.0")
        );
        up.apply(&packages).unwrap();
        for package in &new {
            let tags = lab.registry().tags(&package.name).unwrap().unwrap();
            assert_eq!(tags["latest"], "1.0.0");
        }
        assert!(message("1.0.0-rc.1").contains("--version 1.0.0-rc.1"));

        let other = lab.pack_release_with(&policy, "1.0.0", "other");
        let message = format!("{:#}", up.check(&other).err().unwrap());
        for expected in [&other[0].integrity, &new[0].integrity] {
            assert!(message.contains(expected), "{message}");
        }
    }
}
