//! The life of a runtime and of its daemon in a project, and the programs that use them.

use anyhow::{Context, Result, ensure};
use ktx_os::command::Command;
use serde_json::Value;

use super::installs::{self, Files};
use super::managers::{Manager, Project};
use super::{Scene, machine};
use crate::{repo, tools};

const ES_PROGRAM: &str = include_str!("program.mjs");
const IMPORT_PROGRAM: &str = include_str!("import.mjs");
const COMMONJS_PROGRAM: &str = include_str!("program.cjs");
const ES_TYPES: &str = include_str!("program.mts");
const COMMONJS_TYPES: &str = include_str!("program.cts");
/// What stands in the programs for the name of the package.
const NAME: &str = "PACKAGE";
/// A runtime that nothing uses.
const STALE_VERSION: &str = "0.0.0-stale";

/// Installs the runtime in npm's project, runs Python in every way, and stops the daemon; gives
/// what npm installed.
pub(super) async fn live(scene: &Scene<'_>, npm: &Project<'_>) -> Result<Files> {
    let journal = scene.journal;
    let life = Life {
        scene,
        project: npm,
    };
    journal.check("npm", installs::install(scene, npm)).await?;
    let files = journal.check("files", installs::files(scene, npm)).await?;
    journal.check("types", life.types()).await?;
    journal.check("runtime", life.install_runtime()).await?;
    journal.check("daemon", life.start_daemon()).await?;
    journal
        .check("esm", life.program("program.mjs", ES_PROGRAM))
        .await?;
    journal
        .check("commonjs", life.program("program.cjs", COMMONJS_PROGRAM))
        .await?;
    journal.check("stop", life.stop_daemon()).await?;
    Ok(files)
}

/// Runs Python in the runtime from projects of other package managers, and compares their files
/// with npm's.
pub(super) async fn share(
    scene: &Scene<'_>,
    projects: &[Project<'_>],
    files: &Files,
) -> Result<()> {
    for project in projects {
        let life = Life { scene, project };
        let name = format!("{} exec", project.manager.name());
        scene.journal.check(&name, life.share(files)).await?;
    }
    Ok(())
}

/// Removes a runtime that nothing uses, and no other.
pub(super) async fn prune(scene: &Scene<'_>, npm: &Project<'_>) -> Result<()> {
    let life = Life {
        scene,
        project: npm,
    };
    scene.journal.check("prune", life.prune()).await?;
    Ok(())
}

struct Life<'a> {
    scene: &'a Scene<'a>,
    project: &'a Project<'a>,
}

impl Life<'_> {
    async fn install_runtime(&self) -> Result<String> {
        let version = self.scene.request.version;
        self.ktx(&["runtime", "install", "--yes"], |text| {
            text.starts_with("Installed KTX Python runtime\n")
                && text.contains(&format!("\nversion: {version}\n"))
        })
        .await?;
        self.ktx(&["runtime", "doctor"], |text| {
            text.matches("PASS ").count() == 3 && !text.contains("FAIL")
        })
        .await?;
        self.exec().await
    }

    async fn start_daemon(&self) -> Result<String> {
        self.ktx(&["runtime", "start"], |text| {
            text.starts_with("Started KTX Python daemon\n")
        })
        .await?;
        self.exec().await?;
        // Only a daemon keeps variables from one command to the next.
        let session = |code| ["exec", "--session", "smoke", "-c", code];
        self.ktx(&session("kept = 41"), |_| true).await?;
        self.ktx(&session("print(kept + 1)"), |text| text.trim() == "42")
            .await?;
        let status = self.status().await?;
        // A busy machine may let it answer too late to count as running; sessions need one.
        ensure!(
            status["daemon"]["state"]["pid"].is_u64(),
            "The daemon is not known: {}",
            status["daemon"]
        );
        Ok(format!(
            "pid {}, sessions keep their variables",
            status["daemon"]["state"]["pid"]
        ))
    }

    async fn stop_daemon(&self) -> Result<String> {
        self.ktx(&["runtime", "stop"], |text| {
            text.starts_with("Stopped KTX Python daemon\n")
        })
        .await?;
        let status = self.status().await?;
        ensure!(
            status["daemon"]["kind"] == "stopped",
            "The daemon was stopped and is not: {}",
            status["daemon"]
        );
        Ok("no daemon runs".to_owned())
    }

    async fn share(&self, files: &Files) -> Result<String> {
        let own = installs::files(self.scene, self.project).await?;
        own.check_same(files)?;
        if self.project.manager == Manager::YarnPnp {
            // uv has to find the wheel outside of yarn's archives.
            self.ktx(&["runtime", "install", "--force", "--yes"], |text| {
                text.starts_with("Installed KTX Python runtime\n")
            })
            .await?;
        }
        self.exec().await?;
        self.write("import.mjs", IMPORT_PROGRAM)?;
        let command = self.project.node(&["import.mjs"]);
        let output = self.scene.machine.run(&command).await?;
        machine::expect(&command, &output, output.stdout.trim() == "42", "42")?;
        Ok("npm's files, and 6*7 is 42 in the command and a program".to_owned())
    }

    async fn prune(&self) -> Result<String> {
        let status = self.status().await?;
        let root = status["layout"]["runtimeRoot"]
            .as_str()
            .context("The status does not say where the runtimes are")?;
        let stale_dir = std::path::Path::new(root).join(STALE_VERSION);
        fs_err::create_dir(&stale_dir)?;
        let shown = stale_dir.to_string_lossy();
        self.ktx(&["runtime", "prune", "--dry-run"], |text| {
            text == format!("Stale KTX Python runtimes\n{shown}\n")
        })
        .await?;
        self.ktx(&["runtime", "prune", "--yes"], |text| {
            text == format!("Removed stale KTX Python runtimes\n{shown}\n")
        })
        .await?;
        ensure!(
            !stale_dir.exists(),
            "`{shown}` was removed and is still there"
        );
        self.exec().await?;
        Ok(format!("removed {STALE_VERSION} and nothing else"))
    }

    async fn exec(&self) -> Result<String> {
        self.ktx(&["exec", "-c", "print(6*7)"], |text| text.trim() == "42")
            .await?;
        Ok("6*7 is 42".to_owned())
    }

    async fn status(&self) -> Result<Value> {
        let text = self.ktx(&["runtime", "status", "--json"], |_| true).await?;
        let status: Value = serde_json::from_str(&text)
            .with_context(|| format!("The status is no JSON: `{}`", text.trim()))?;
        ensure!(
            status["kind"] == "ready",
            "The runtime is not ready: {}",
            status["detail"]
        );
        Ok(status)
    }

    /// Runs a program that prints what came of Python.
    async fn program(&self, name: &str, text: &str) -> Result<String> {
        self.write(name, text)?;
        let command = self.project.node(&[name]);
        let output = self.scene.machine.run(&command).await?;
        let seen: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let is_right = seen["value"] == 45
            && seen["status"] == "ready"
            && seen["name"] == self.scene.request.package
            && seen["version"] == self.scene.request.version;
        machine::expect(&command, &output, is_right, "what it should")?;
        Ok("sum(range(10)) is 45".to_owned())
    }

    /// Checks the types that came along with the checkout's compiler.
    async fn types(&self) -> Result<String> {
        self.write("program.mts", ES_TYPES)?;
        self.write("program.cts", COMMONJS_TYPES)?;
        let compiler = tools::node_program("tsc");
        let mut command = self
            .scene
            .machine
            .command(&compiler.to_string_lossy(), &self.project.dir);
        command.arguments = [
            "--noEmit",
            "--strict",
            "--module",
            "nodenext",
            "--target",
            "es2022",
            "--types",
            "node",
            "--typeRoots",
        ]
        .map(str::to_owned)
        .to_vec();
        let types = repo::path("node_modules/@types");
        command
            .arguments
            .extend([types.to_string_lossy().into_owned()]);
        command
            .arguments
            .extend(["program.mts", "program.cts"].map(str::to_owned));
        self.scene.machine.run(&command).await?;
        Ok("an ES and a CommonJS program compile".to_owned())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let text = text.replace(NAME, self.scene.request.package);
        fs_err::write(self.project.dir.join(name), text)?;
        Ok(())
    }

    /// Runs a ktx command whose output must be right.
    async fn ktx(&self, arguments: &[&str], is_right: impl Fn(&str) -> bool) -> Result<String> {
        let command: Command = self.project.ktx(arguments);
        let output = self.scene.machine.run(&command).await?;
        let text = output.stdout.replace("\r\n", "\n");
        machine::expect(&command, &output, is_right(&text), "what it should")?;
        Ok(text)
    }
}
