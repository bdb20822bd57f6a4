//! `cargo xtask smoke`: what is on a registry, installed and used as people who have nothing yet
//! install and use it.

mod installs;
mod journal;
mod machine;
mod managers;
mod processes;
mod published;
mod runtime;
#[cfg(test)]
mod tests;
mod tools;

use anyhow::{Context, Result, bail};
use clap::Args;

pub(crate) use journal::Smoked;
pub(crate) use managers::Manager;

use self::journal::Journal;
use self::machine::Machine;
use self::managers::Project;
use self::published::Published;
use self::tools::Tools;
use crate::policy::{Access, Policy};
use crate::registry::Registry;
use crate::{repo, say};

/// How long the registry may take for an answer.
const ANSWER_MILLISECONDS: &str = "60000";

#[derive(Args)]
pub(crate) struct Options {
    /// The package, as people name it; by default the policy's
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// The version; by default this checkout's
    #[arg(long, value_name = "V", default_value = repo::VERSION)]
    version: String,
    /// The registry; by default the policy's, else npm's
    #[arg(long, value_name = "URL")]
    registry: Option<String>,
    /// A tag that must name the version
    #[arg(long)]
    tag: Option<String>,
    /// Print the outcomes as JSON
    #[arg(long)]
    json: bool,
    /// Name the checks; make none
    #[arg(long)]
    dry_run: bool,
}

/// What is to be tested.
pub(crate) struct Request<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) package: &'a str,
    pub(crate) version: &'a str,
    /// A tag that must name the version.
    pub(crate) tag: Option<&'a str>,
    pub(crate) registry: &'a Registry,
}

/// Tests a version and prints what came of it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let registry = match &options.registry {
        Some(url) => Registry::at(url, &policy.scope),
        None => Registry::of_machine(&policy)?,
    };
    let package = options
        .package
        .clone()
        .unwrap_or_else(|| policy.root_package());
    let request = Request {
        policy: &policy,
        package: &package,
        version: &options.version,
        tag: options.tag.as_deref(),
        registry: &registry,
    };
    request.check()?;
    if options.dry_run {
        say::result(&format!(
            "Test {} on {} in an empty home without uv",
            request.spec(),
            registry.url()
        ));
        for name in &policy.smoke.package_managers {
            say::result(name);
        }
        return Ok(());
    }
    let smoked = run_smoke(&request)?;
    say::result(&if options.json {
        serde_json::to_string_pretty(&smoked)?
    } else {
        smoked.table()
    });
    Ok(())
}

/// Tests a version; the first failure ends everything and is what is returned.
pub(crate) fn run_smoke(request: &Request<'_>) -> Result<Smoked> {
    request.check()?;
    let tools = Tools::ensure(&request.managers()?)?;
    crate::tools::ensure_node_modules()?;
    say::step(&format!(
        "Testing {} from {} in an empty home, without uv",
        request.spec(),
        request.registry.url()
    ));
    let journal = Journal::start();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(test(request, &tools, &journal))?;
    Ok(journal.finish())
}

impl Request<'_> {
    /// What people type to get the version.
    fn spec(&self) -> String {
        format!("{}@{}", self.package, self.version)
    }

    /// The command that tests the same again.
    fn again(&self) -> String {
        let tag = self
            .tag
            .map_or(String::new(), |tag| format!(" --tag {tag}"));
        format!(
            "cargo xtask smoke --package {} --version {} --registry {}{tag}",
            self.package,
            self.version,
            self.registry.url()
        )
    }

    fn managers(&self) -> Result<Vec<Manager>> {
        let names = self.policy.smoke.package_managers.iter();
        names.map(|name| Manager::named(name)).collect()
    }

    fn check(&self) -> Result<()> {
        let url = self.registry.url();
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        if authority
            .split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
        {
            bail!(
                "The registry's address holds credentials; log in with `npm login` and leave them out"
            );
        }
        // The packages of the platforms are named after this one.
        let name = self.policy.root_package();
        if self.package != name {
            bail!(
                "The policy's package is `{name}`, not `{}`; change `scope` or `package` in `release/policy.json`",
                self.package
            );
        }
        Ok(())
    }
}

/// What every check needs.
struct Scene<'a> {
    request: &'a Request<'a>,
    tools: &'a Tools,
    machine: &'a Machine,
    journal: &'a Journal,
    published: &'a Published,
}

async fn test(request: &Request<'_>, tools: &Tools, journal: &Journal) -> Result<()> {
    let machine = machine_for(request).await?;
    let tested = interruptible(&machine, journey(&machine, request, tools, journal)).await;
    let cleared = machine.clear(tested.is_err()).await;
    tested.and(cleared)
}

/// Ends the commands of a journey when somebody wants the program to end.
async fn interruptible(machine: &Machine, journey: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(journey);
    tokio::select! {
        ended = &mut journey => ended,
        signal = machine::interruption() => {
            machine.cancel();
            let ended = journey.await;
            let signal = signal?;
            ended.with_context(|| format!("Ended by {signal}"))
        }
    }
}

async fn machine_for(request: &Request<'_>) -> Result<Machine> {
    let mut machine = Machine::new()?;
    // Only a version that is not there yet is asked for again.
    machine.set("npm_config_fetch_retries", "0");
    machine.set("npm_config_fetch_timeout", ANSWER_MILLISECONDS);
    if machine.var("NODE_EXTRA_CA_CERTS").is_none()
        && let Some(path) = npm_setting(request.registry, "cafile")?
    {
        machine.set("NODE_EXTRA_CA_CERTS", &path);
    }
    // A stranger's view comes first: nothing is asked with somebody's rights that needs none.
    let is_open =
        request.policy.access == Access::Public && published::is_open(&machine, request).await;
    if !is_open && let Some(path) = npm_setting(request.registry, "userconfig")? {
        machine.use_npm_configuration(&path);
    }
    Ok(machine)
}

/// Installs with every package manager and uses what is installed, two at a time.
async fn journey(
    machine: &Machine,
    request: &Request<'_>,
    tools: &Tools,
    journal: &Journal,
) -> Result<()> {
    let published = journal
        .check("registry", published::wait(machine, request))
        .await?;
    let scene = Scene {
        request,
        tools,
        machine,
        journal,
        published: &published,
    };
    let npm = Project::new(&scene, Manager::Npm)?;
    let (files, others) = machine::both(
        machine,
        runtime::live(&scene, &npm),
        installs::with_others(&scene),
    )
    .await?;
    let (first, second) = others.split_at(others.len().div_ceil(2));
    machine::both(
        machine,
        runtime::share(&scene, first, &files),
        runtime::share(&scene, second, &files),
    )
    .await?;
    runtime::prune(&scene, &npm).await
}

/// A setting of the npm that reaches the registry; none of those that are asked for is a secret.
fn npm_setting(registry: &Registry, name: &str) -> Result<Option<String>> {
    let sh = crate::tools::shell()?;
    let value = crate::tools::npm(&sh)
        .args(["config", "get", name])
        .envs(registry.environment())
        .quiet()
        .ignore_stderr()
        .read()?;
    Ok(Some(value).filter(|value| !value.is_empty() && value != "null" && value != "undefined"))
}
