//! `cargo xtask release`: from a clean checkout to packages on a registry that were tried there.
//!
//! Platform packages are published under the same tag as the package that people install, and
//! before it. Nothing resolves them by tag, but npm lets `latest` name whatever is published first
//! and without one, and a tag that means one version in every package can be read by people. The
//! package that brings them along is last, so nobody sees it without them.

mod checkout;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod lab;
mod make;
mod plan;
mod preflight;
#[cfg(test)]
mod preflight_tests;
mod publish;
mod report;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use fs_err as fs;

use crate::policy::Policy;
use crate::registry::Registry;
use crate::registry::verdaccio::Verdaccio;
use crate::{changelog, repo, say, smoke};
use checkout::Checkout;
pub(crate) use make::{Packed, packed_version};
pub(crate) use preflight::require_loopback;
use publish::Publisher;
use report::Report;
use sources::Sources;

/// Set where a workflow may publish because the registry trusts it, without anyone logged in.
const TRUSTED_PUBLISHING: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";

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
    pub(crate) is_local: bool,
    pub(crate) sources: Sources,
    /// The registry trusts this workflow; nobody is logged in.
    pub(crate) has_trusted_publishing: bool,
}

/// Releases, or says what that would do.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let request = Request {
        tag: options.tag.clone(),
        version: repo::VERSION.to_owned(),
        is_local: options.local,
        sources: Sources {
            artifacts_dir: options.artifacts.clone(),
            is_host_only: options.host_only,
        },
        has_trusted_publishing: !options.local && std::env::var_os(TRUSTED_PUBLISHING).is_some(),
    };
    let checkout = Checkout::read(repo::root())?;
    if options.dry_run {
        let registry = if options.local {
            "a registry on this machine".to_owned()
        } else {
            Registry::of_machine(&policy)?.url().to_owned()
        };
        let packed = make::packed_before(&checkout.revision).unwrap_or_default();
        plan::show(&request, &policy, &registry, &packed)?;
        say::result("\nNeither the registry nor this machine was changed, or the registry asked.");
        return preflight::require_none(&preflight::of_checkout(&request, &policy, &checkout)?);
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
    };
    let done = release.run(&mut report);
    if let Err(error) = &done {
        report.fail(error);
        if dist_dir().is_dir() {
            report.write(&dist_dir())?;
        }
    }
    done
}

/// Where a release puts what it makes.
pub(crate) fn dist_dir() -> PathBuf {
    repo::path("dist")
}

struct Release<'a> {
    options: &'a Options,
    request: Request,
    policy: Policy,
    checkout: Checkout,
}

impl Release<'_> {
    fn run(&self, report: &mut Report) -> Result<()> {
        let (_verdaccio, registry) = report.step("preflight", |report| {
            let (verdaccio, registry) = self.preflight()?;
            report.to_registry(registry.url());
            self.note_platforms(report)?;
            Ok((verdaccio, registry))
        })?;
        let packages = report.step("build", |report| {
            let packages = self.packages()?;
            report.packages = packages.iter().map(report::Row::from).collect();
            Ok(packages)
        })?;
        let publisher = Publisher {
            registry: &registry,
            tag: &self.request.tag,
            access: self.policy.access,
            has_provenance: self.request.has_trusted_publishing,
        };
        report.step("verify", |report| {
            make::verify(&self.policy, &packages, report)?;
            preflight::require_unchanged(&self.checkout, repo::root())?;
            publisher.compare(&packages)
        })?;
        let published = publish(
            &publisher,
            &packages,
            Duration::from_secs(self.policy.smoke.availability_seconds),
            report,
        );
        published.with_context(|| self.how_to_finish("Not everything is published"))?;
        report
            .step("smoke", |report| self.smoke(&registry, report))
            .with_context(|| self.how_to_finish("Published, but it does not work"))?;
        // Its own step is in it.
        report.step("report", |_| Ok(()))?;
        report.write(&dist_dir())?;
        say::result(&format!(
            "{}@{} is on {} under `{}`; see `dist/report.md`",
            self.policy.root_package(),
            self.request.version,
            registry.url(),
            self.request.tag
        ));
        Ok(())
    }

    /// Looks at home first: the registry is asked only when nothing here is wrong, except that a
    /// machine's registry is there anyway, and all problems are shown at once.
    fn preflight(&self) -> Result<(Option<Verdaccio>, Registry)> {
        let mut problems = preflight::of_checkout(&self.request, &self.policy, &self.checkout)?;
        if self.options.resume {
            problems.extend(make::resume_problem(&self.checkout.revision));
        }
        let (verdaccio, registry) = if self.options.local {
            preflight::require_none(&problems)?;
            if self.options.fresh && Verdaccio::kept_dir().exists() {
                fs::remove_dir_all(Verdaccio::kept_dir())?;
            }
            let verdaccio = Verdaccio::start(&self.policy)?;
            let registry = verdaccio.registry().clone();
            (Some(verdaccio), registry)
        } else {
            (None, Registry::of_machine(&self.policy)?)
        };
        problems.extend(preflight::of_registry(
            &self.request,
            &registry,
            &self.package_names()?,
        ));
        preflight::require_none(&problems)?;
        Ok((verdaccio, registry))
    }

    fn package_names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .request
            .sources
            .of_platforms(&self.policy)?
            .into_iter()
            .filter(|(_, source)| *source != sources::Source::Missing)
            .map(|(platform, _)| self.policy.platform_package(platform))
            .collect();
        names.push(self.policy.root_package());
        Ok(names)
    }

    fn note_platforms(&self, report: &mut Report) -> Result<()> {
        let host = self.policy.host()?;
        for (platform, source) in self.request.sources.of_platforms(&self.policy)? {
            if source == sources::Source::Missing {
                report.left_out.push(platform.id.clone());
            } else if platform.id != host.id {
                report.not_run.push(platform.id.clone());
            }
        }
        Ok(())
    }

    fn packages(&self) -> Result<Vec<Packed>> {
        if self.options.resume {
            say::detail("Taking what `dist/` has");
            return make::packed_before(&self.checkout.revision);
        }
        make::pack(&self.policy, &self.request.sources, &self.checkout.revision)
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
        if let Some(dir) = &self.options.artifacts {
            command.push_str(&format!(" --artifacts {}", dir.display()));
        }
        format!("{what}; when the cause is gone, `{command}` goes on from here")
    }
}

/// Publishes the platform packages, sees them on the registry, and publishes the root.
fn publish(
    publisher: &Publisher<'_>,
    packages: &[Packed],
    within: Duration,
    report: &mut Report,
) -> Result<()> {
    let (platforms, root): (Vec<&Packed>, Vec<&Packed>) = packages
        .iter()
        .partition(|package| package.platform.is_some());
    report.step("publish platforms", |report| {
        for package in &platforms {
            report.note(package, publisher.publish(package)?);
        }
        Ok(())
    })?;
    report.step("confirm", |_| {
        platforms
            .iter()
            .try_for_each(|package| publisher.confirm(package, within))
    })?;
    report.step("publish root", |report| {
        for package in &root {
            report.note(package, publisher.publish(package)?);
            publisher.confirm(package, within)?;
        }
        Ok(())
    })
}
