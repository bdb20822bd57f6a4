//! `cargo xtask release`: from a clean checkout to packages on a registry that were tried there.
//!
//! Platform packages are published under the same tag as the package that people install, and
//! before it. Nothing resolves them by tag, but npm lets `latest` name whatever is published first
//! and without one, and a tag that means one version in every package can be read by people. The
//! package that brings them along is last, so nobody sees it without them.

mod checkout;
mod contents;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod lab;
mod plan;
mod preflight;
#[cfg(test)]
mod preflight_tests;
mod publish;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use fs_err as fs;

use crate::npm::Packed;
use crate::policy::Policy;
use crate::registry::verdaccio::Verdaccio;
use crate::registry::{Published, Registry};
use crate::{changelog, repo, say, smoke};
pub(crate) use checkout::Checkout;
pub(crate) use contents::packed_version;
use contents::{Contents, dist_dir};
pub(crate) use preflight::require_loopback;
use publish::Publisher;
use report::Report;

/// Set where a workflow may publish because the registry trusts it, without anyone logged in.
const TRUSTED_PUBLISHING: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

const NOT_PUBLISHED: &str = "Nothing was published";

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Args)]
pub(crate) struct Options {
    /// The dist-tag to publish under
    #[arg(long)]
    tag: String,
    /// Publish to a registry on this machine, which is started for it
    #[arg(long)]
    local: bool,
    /// Print the plan; build, write and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on without the platforms that there are no artifacts of; never to a public registry
    #[arg(long)]
    host_only: bool,
    /// Artifacts that were built elsewhere: a folder for each platform
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Publish what an earlier run packed into `dist/`, instead of building again
    #[arg(long)]
    resume: bool,
    /// Forget what earlier runs published to the local registry
    #[arg(long, requires = "local")]
    fresh: bool,
}

/// What was asked for.
pub(crate) struct Request {
    pub(crate) tag: String,
    pub(crate) version: String,
    /// What is published stays on this machine.
    pub(crate) is_local: bool,
    /// Platforms may be missing.
    pub(crate) is_host_only: bool,
    pub(crate) contents: Contents,
    /// The registry trusts this workflow; nobody is logged in.
    pub(crate) has_trusted_publishing: bool,
}

/// Releases, or says what that would do.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load().context(NOT_PUBLISHED)?;
    let registry = (!options.local)
        .then(|| Registry::of_machine(&policy))
        .transpose()?;
    let checkout = Checkout::read(repo::root())?;
    let request = Request {
        tag: options.tag.clone(),
        version: repo::VERSION.to_owned(),
        is_local: registry.as_ref().is_none_or(Registry::is_loopback),
        is_host_only: options.host_only,
        contents: if options.resume {
            Contents::packed_from(&policy, &checkout.revision).context(
                "Nothing was published; `dist/` holds nothing to go on with: run this without `--resume`",
            )?
        } else {
            Contents::Artifacts(options.artifacts.clone())
        },
        has_trusted_publishing: !options.local && std::env::var_os(TRUSTED_PUBLISHING).is_some(),
    };
    if options.dry_run {
        return show_plan(&request, &policy, &checkout, registry.as_ref());
    }
    let lock_path = repo::output_dir().join("release.lock");
    fs::create_dir_all(repo::output_dir())?;
    let lock = fs::File::create(&lock_path)?;
    if lock.try_lock().is_err() {
        bail!(
            "Another release of this checkout is under way; when it has ended, run this again (it holds `{}`)",
            repo::shown(&lock_path)
        );
    }
    let mut report = Report::new(&checkout.revision, &request.version, &request.tag);
    report.changes = changelog::section(&request.version)?;
    let release = Release {
        options,
        request,
        policy,
        checkout,
        registry,
    };
    let done = release.run(&mut report);
    if let Err(error) = &done {
        report.fail(error);
        if report.has_packages() {
            report.write(&dist_dir())?;
        }
    }
    done
}

fn show_plan(
    request: &Request,
    policy: &Policy,
    checkout: &Checkout,
    registry: Option<&Registry>,
) -> Result<()> {
    let registry =
        registry.map_or_else(|| "a registry on this machine".to_owned(), Registry::shown);
    let packed = match Contents::packed_from(policy, &checkout.revision) {
        Ok(Contents::Packed(packed)) => packed,
        _ => Vec::new(),
    };
    plan::show(request, policy, &registry, &packed)?;
    say::result("\nNothing was changed; the registry was not asked.");
    preflight::require_none(&preflight::of_checkout(request, policy, checkout)?)
}

struct Release<'a> {
    options: &'a Options,
    request: Request,
    policy: Policy,
    checkout: Checkout,
    /// None means the one that is started for it.
    registry: Option<Registry>,
}

impl Release<'_> {
    fn run(&self, report: &mut Report) -> Result<()> {
        let (_verdaccio, registry) = report.step("preflight", |report| {
            let (verdaccio, registry) = self.preflight()?;
            report.note_registry(registry.shown());
            Ok((verdaccio, registry))
        })?;
        let packages = report.step("build", |report| {
            let packages = self
                .request
                .contents
                .pack(&self.policy)
                .context(NOT_PUBLISHED)?;
            report.list(&self.policy, &packages)?;
            Ok(packages)
        })?;
        let publisher = Publisher {
            registry: &registry,
            tag: &self.request.tag,
            access: self.policy.access,
            has_provenance: self.request.has_trusted_publishing,
        };
        let found = report.step("verify", |report| {
            self.verify(&publisher, &packages, report)
                .context(NOT_PUBLISHED)
        })?;
        let within = Duration::from_secs(self.policy.smoke.availability_seconds);
        let packages: Vec<_> = packages.iter().zip(found).collect();
        publish(&publisher, &packages, within, report)
            .with_context(|| self.how_to_finish("Not everything is published"))?;
        report
            .step("smoke", |report| self.smoke(&registry, report))
            .with_context(|| self.how_to_finish("Published, but not seen to work"))?;
        // Its own step is in it.
        report.step("report", |_| Ok(()))?;
        report.write(&dist_dir())?;
        say::result(&format!(
            "{}@{} is on {} under `{}`; see `dist/report.md`",
            self.policy.root_package(),
            self.request.version,
            registry.shown(),
            self.request.tag
        ));
        Ok(())
    }

    /// Looks at everything that can be looked at, so that all problems are shown at once; a registry
    /// is started only when there is something to publish to it.
    fn preflight(&self) -> Result<(Option<Verdaccio>, Registry)> {
        let mut problems = preflight::of_checkout(&self.request, &self.policy, &self.checkout)?;
        let names = self.request.contents.names(&self.policy)?;
        let (verdaccio, registry) = if let Some(registry) = &self.registry {
            (None, registry.clone())
        } else {
            preflight::require_none(&problems)?;
            let verdaccio = if self.options.fresh {
                Verdaccio::start_fresh(&self.policy)?
            } else {
                Verdaccio::start(&self.policy)?
            };
            let registry = verdaccio.registry().clone();
            (Some(verdaccio), registry)
        };
        problems.extend(preflight::of_registry(&self.request, &registry, &names));
        preflight::require_none(&problems)?;
        Ok((verdaccio, registry))
    }

    fn verify(
        &self,
        publisher: &Publisher<'_>,
        packages: &[Packed],
        report: &mut Report,
    ) -> Result<Vec<Option<Published>>> {
        contents::verify(&self.policy, packages, report)?;
        preflight::require_unchanged(&self.checkout, repo::root())?;
        publisher.compare(packages)
    }

    /// Tries what is on the registry now.
    fn smoke(&self, registry: &Registry, report: &mut Report) -> Result<()> {
        let smoked = smoke::run_smoke(&smoke::Request {
            policy: &self.policy,
            package: &self.policy.root_package(),
            version: &self.request.version,
            tag: Some(&self.request.tag),
            registry,
        })?;
        report.smoke = Some(smoked);
        Ok(())
    }

    fn how_to_finish(&self, what: &str) -> String {
        let mut command = format!("cargo xtask release --tag {} --resume", self.request.tag);
        for (is_given, flag) in [
            (self.options.local, " --local"),
            (self.options.host_only, " --host-only"),
        ] {
            if is_given {
                command.push_str(flag);
            }
        }
        format!("{what}; when the cause is gone, `{command}` goes on from here")
    }
}

/// Publishes the platform packages, sees them on the registry, and publishes the root.
fn publish(
    publisher: &Publisher<'_>,
    packages: &[(&Packed, Option<Published>)],
    within: Duration,
    report: &mut Report,
) -> Result<()> {
    let (platforms, root): (Vec<_>, Vec<_>) = packages
        .iter()
        .partition(|(package, _)| package.platform.is_some());
    report.step("publish platforms", |report| {
        for (package, found) in &platforms {
            report.note(package, publisher.publish(package, found.as_ref())?);
        }
        Ok(())
    })?;
    report.step("confirm", |_| {
        platforms
            .iter()
            .filter(|(_, found)| found.is_none())
            .try_for_each(|(package, _)| publisher.confirm(package, within))
    })?;
    report.step("publish root", |report| {
        for (package, found) in &root {
            report.note(package, publisher.publish(package, found.as_ref())?);
            publisher.confirm(package, within)?;
        }
        Ok(())
    })
}
