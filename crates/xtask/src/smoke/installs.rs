//! The ways of getting the package, and whether what came is what was published.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use ktx_os::command::Command;
use serde::Deserialize;

use super::journal::Seen;
use super::managers::{self, Manager, Project};
use super::published;
use super::{Scene, machine};

const FILES_PROGRAM: &str = include_str!("files.cjs");

/// What programs see of the installed packages.
#[derive(Debug, Deserialize, Eq, PartialEq)]
pub(super) struct Files {
    /// By package.
    versions: BTreeMap<String, String>,
    /// SHA-256 by path, which begins with the package.
    files: BTreeMap<String, String>,
}

impl Seen for Files {
    fn seen(&self) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        versions.join(", ")
    }
}

/// Installs with npx, for everybody on the machine, and with every package manager but npm, whose
/// projects are given back.
pub(super) async fn with_others<'a>(scene: &Scene<'a>) -> Result<Vec<Project<'a>>> {
    let Scene {
        journal, machine, ..
    } = scene;
    journal.check("npx", npx(scene)).await?;
    journal.check("npm --global", global(scene)).await?;
    let mut projects = Vec::new();
    let managers = scene.request.managers()?;
    for manager in managers.into_iter().filter(|other| *other != Manager::Npm) {
        let name = manager.name();
        let reason = if machine.uses_npm_configuration() && !manager.reads_npm_configuration() {
            Some(format!(
                "the registry is reached with npm's configuration, which {name} does not read"
            ))
        } else {
            scene.tools.reason_against(machine, manager).await
        };
        if let Some(reason) = reason {
            journal.skip(name, reason);
            continue;
        }
        let project = Project::new(scene, manager)?;
        journal.check(name, install(scene, &project)).await?;
        projects.push(project);
    }
    Ok(projects)
}

/// Adds the package to a project and asks it for its version.
pub(super) async fn install(scene: &Scene<'_>, project: &Project<'_>) -> Result<String> {
    scene
        .machine
        .run(&project.add(&scene.request.spec()))
        .await?;
    if let Some(name) = project.manager.lock_file() {
        published::check_lock(&project.dir.join(name), scene.published)?;
    }
    check_version(scene, &project.ktx(&["--version"])).await
}

/// What is installed in a project; every version is the one that is tested.
pub(super) async fn files(scene: &Scene<'_>, project: &Project<'_>) -> Result<Files> {
    let program = "files.cjs";
    fs_err::write(project.dir.join(program), FILES_PROGRAM)?;
    let [root, platform] = scene.published.packages();
    let command = project.node(&[program, &root.name, &platform.name]);
    let output = scene.machine.run(&command).await?;
    let files: Files = serde_json::from_str(&output.stdout)
        .with_context(|| format!("`{command}` printed `{}`", output.stdout.trim()))?;
    for (name, version) in &files.versions {
        ensure!(
            version == scene.request.version,
            "`{name}` was installed at version `{version}`, not `{}`",
            scene.request.version
        );
    }
    Ok(files)
}

impl Files {
    /// Fails unless these are the same files as others, and names those that are not.
    pub(super) fn check_same(&self, others: &Self) -> Result<()> {
        let names: BTreeSet<&str> = self
            .files
            .keys()
            .chain(others.files.keys())
            .filter(|name| self.files.get(*name) != others.files.get(*name))
            .map(String::as_str)
            .collect();
        ensure!(
            names.is_empty(),
            "These files are not those that npm installed: {}",
            names.into_iter().collect::<Vec<_>>().join(", ")
        );
        Ok(())
    }
}

async fn npx(scene: &Scene<'_>) -> Result<String> {
    let Scene {
        machine, request, ..
    } = scene;
    let dir = machine.make_project("npx")?;
    let mut command = managers::npm(machine, "npx", &dir, request);
    let cache_dir = machine.path("npx-cache");
    let wanted = request.tag.unwrap_or(request.version);
    let spec = format!("{}@{wanted}", request.package);
    command
        .environment
        .set("npm_config_cache", cache_dir.to_string_lossy());
    command
        .arguments
        .extend(["--yes", &spec, "--version"].map(str::to_owned));
    check_version(scene, &command).await
}

async fn global(scene: &Scene<'_>) -> Result<String> {
    let Scene {
        machine, request, ..
    } = scene;
    let prefix_dir = machine.path("global");
    fs_err::create_dir(&prefix_dir)?;
    let mut command = managers::npm(machine, "npm", &machine.home_dir(), request);
    command
        .environment
        .set("npm_config_prefix", prefix_dir.to_string_lossy());
    command.arguments.extend(
        [
            "install",
            "--global",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]
        .map(str::to_owned),
    );
    command.arguments.push(request.spec());
    machine.run(&command).await?;
    let program = if cfg!(windows) {
        prefix_dir.join("ktx.cmd")
    } else {
        prefix_dir.join("bin/ktx")
    };
    let mut command = machine.command(&program.to_string_lossy(), &machine.home_dir());
    command.arguments.push("--version".to_owned());
    check_version(scene, &command).await
}

async fn check_version(scene: &Scene<'_>, command: &Command) -> Result<String> {
    let output = scene.machine.run(command).await?;
    let version = scene.request.version;
    machine::expect(
        command,
        &output,
        output.stdout.trim() == version,
        &format!("the version `{version}`"),
    )?;
    Ok(version.to_owned())
}
