//! The package managers, each told in its own words to do the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ktx_os::command::Command;

use super::machine::Machine;
use super::tools::{Tools, npm_program};
use super::{Request, Scene};
use crate::registry::Registry;

/// A package manager.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manager {
    Npm,
    Pnpm,
    YarnClassic,
    /// The later yarn, with Plug'n'Play.
    YarnPnp,
    Bun,
}

impl Manager {
    /// Every one.
    pub(crate) const ALL: [Self; 5] = [
        Self::Npm,
        Self::Pnpm,
        Self::YarnClassic,
        Self::YarnPnp,
        Self::Bun,
    ];

    /// The one that the policy calls by this name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|manager| manager.name() == name)
            .with_context(|| format!("The smoke test knows no package manager `{name}`"))
    }

    /// What the policy calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::YarnClassic => "yarn-classic",
            Self::YarnPnp => "yarn-pnp",
            Self::Bun => "bun",
        }
    }

    /// The file that repeats the integrities of the registry; Plug'n'Play's has others.
    pub(super) fn lock_file(self) -> Option<&'static str> {
        match self {
            Self::Npm => Some("package-lock.json"),
            Self::Pnpm => Some("pnpm-lock.yaml"),
            Self::YarnClassic => Some("yarn.lock"),
            Self::YarnPnp => None,
            Self::Bun => Some("bun.lock"),
        }
    }

    /// Whether it takes what a registry asks for from npm's user configuration.
    pub(super) fn reads_npm_configuration(self) -> bool {
        matches!(self, Self::Npm | Self::Pnpm | Self::YarnClassic)
    }

    fn add(self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["install", "--no-audit", "--no-fund", "--loglevel=error"],
            Self::Pnpm | Self::YarnPnp | Self::Bun => &["add"],
            Self::YarnClassic => &["add", "--non-interactive", "--no-progress"],
        }
    }

    fn ktx(self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["--no-install", "ktx"],
            Self::Pnpm => &["--silent", "exec", "ktx"],
            Self::YarnClassic => &["--silent", "run", "ktx"],
            Self::YarnPnp => &["run", "ktx"],
            Self::Bun => &["run", "--silent", "ktx"],
        }
    }
}

/// A project on the machine whose packages come from one package manager.
pub(super) struct Project<'a> {
    pub(super) manager: Manager,
    pub(super) dir: PathBuf,
    machine: &'a Machine,
    tools: &'a Tools,
}

impl<'a> Project<'a> {
    /// Makes an empty one that knows its registry.
    pub(super) fn new(scene: &Scene<'a>, manager: Manager) -> Result<Self> {
        let Scene {
            machine,
            tools,
            request,
            ..
        } = *scene;
        let dir = machine.make_project(manager.name())?;
        if manager == Manager::YarnPnp {
            configure_yarn(&dir, request.registry)?;
        } else {
            let url = request.registry.url();
            let scope = &request.policy.scope;
            fs_err::write(
                dir.join(".npmrc"),
                format!("registry={url}\n{scope}:registry={url}\n"),
            )?;
        }
        Ok(Self {
            manager,
            dir,
            machine,
            tools,
        })
    }

    /// The command that adds a package.
    pub(super) fn add(&self, spec: &str) -> Command {
        self.command(
            &self.tools.program(self.manager),
            self.manager.add(),
            &[spec],
        )
    }

    /// A ktx command as a user types it.
    pub(super) fn ktx(&self, arguments: &[&str]) -> Command {
        let program = if self.manager == Manager::Npm {
            vec![npm_program("npx")]
        } else {
            self.tools.program(self.manager)
        };
        self.command(&program, self.manager.ktx(), arguments)
    }

    /// A program for Node, which Plug'n'Play has to start.
    pub(super) fn node(&self, arguments: &[&str]) -> Command {
        if self.manager == Manager::YarnPnp {
            let yarn = self.tools.program(self.manager);
            return self.command(&yarn, &["node"], arguments);
        }
        self.command(&["node".to_owned()], &[], arguments)
    }

    fn command(&self, program: &[String], verb: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.machine.command(&program[0], &self.dir);
        command.arguments.extend_from_slice(&program[1..]);
        command
            .arguments
            .extend(verb.iter().chain(arguments).map(ToString::to_string));
        command
    }
}

/// npm or npx, asked for the registry whatever else is configured for the scope.
pub(super) fn npm(machine: &Machine, name: &str, dir: &Path, request: &Request<'_>) -> Command {
    let url = request.registry.url();
    let mut command = machine.command(&npm_program(name), dir);
    command.arguments = vec![
        format!("--registry={url}"),
        format!("--{}:registry={url}", request.policy.scope),
    ];
    command
}

fn configure_yarn(dir: &Path, registry: &Registry) -> Result<()> {
    let url = registry.url();
    let mut settings = format!(
        "npmRegistryServer: {url:?}\n\
         nodeLinker: pnp\n\
         pnpEnableEsmLoader: true\n\
         enableImmutableInstalls: false\n\
         enableTelemetry: false\n\
         httpRetry: 0\n\
         # What is tested is minutes old.\n\
         npmMinimalAgeGate: 0\n"
    );
    if url.starts_with("http://") {
        settings.push_str("unsafeHttpWhitelist: [\"*\"]\n");
    }
    fs_err::write(dir.join(".yarnrc.yml"), settings)?;
    // Without one, yarn looks for a project in the directories above.
    fs_err::write(dir.join("yarn.lock"), "")?;
    Ok(())
}
