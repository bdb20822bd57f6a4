//! The packages of an environment: installed by uv, and compared with what
//! the environment's own records say.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use ktx_os::command::{CommandError, Output};

use crate::context::{Context, Packages};
use crate::error::EnvError;
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::presets::venv::{VENV, exists};
use crate::records::{self, Fault};

/// The name of the preset.
pub const PACKAGES: PresetId = "packages";

/// What is installed is what was asked for, file by file.
pub struct PackagesPreset;

#[async_trait]
impl PresetProvider for PackagesPreset {
    fn id(&self) -> PresetId {
        PACKAGES
    }

    fn requires(&self) -> &'static [PresetId] {
        &[VENV]
    }

    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError> {
        if context.facts(|facts| facts.believed.contains(PACKAGES)) {
            return Ok(CheckReport::healthy("installed"));
        }
        // In an environment that was made just now nothing is installed yet,
        // whatever else made its files.
        if context.facts(|facts| facts.believed.contains(VENV)) {
            return Ok(CheckReport::new(PresetStatus::Missing, "not installed yet"));
        }
        for (name, path) in &context.specification.executables {
            if !exists(path) {
                return Ok(CheckReport::new(
                    PresetStatus::Missing,
                    format!("Missing {name} executable: {}", path.display()),
                ));
            }
            if context.specification.evidence.is_some() && !is_executable(path) {
                return Ok(CheckReport::new(
                    PresetStatus::Broken,
                    format!("Not permitted to run {name}: {}", path.display()),
                ));
            }
        }
        let specification = context.specification.clone();
        if specification.is_believed() {
            return Ok(CheckReport::healthy("installed"));
        }
        // Thousands of small files are looked at: not on a thread that
        // others wait for.
        let checked = tokio::task::spawn_blocking(move || {
            let installed = records::read(&specification.directory)?;
            match (&specification.evidence, &specification.packages) {
                (Some(evidence), _) => records::compare(&installed, &evidence.packages)?,
                (None, Packages::Locked { allowed, .. }) => records::allow(&installed, allowed)?,
                (None, Packages::Resolved { .. }) => {}
            }
            Ok(installed.len())
        });
        match checked.await {
            Ok(Ok(count)) => Ok(CheckReport::healthy(format!("{count} packages"))),
            Ok(Err(fault)) => Ok(CheckReport::new(status(&fault), fault.to_string())),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        let uv = context.uv()?;
        let file = context.specification.workspace.join("requirements.txt");
        let failed = |source| EnvError::command(PACKAGES, source);
        match &context.specification.packages {
            Packages::Resolved { .. } => {
                run(context, &uv.install(context, &file, false)?)
                    .await
                    .map_err(failed)?;
            }
            Packages::Locked { requirements, .. } => {
                write(&file, requirements)?;
                match run(context, &uv.install(context, &file, true)?).await {
                    Ok(_) => {}
                    Err(error @ CommandError::Cancelled { .. }) => return Err(failed(error)),
                    Err(_) => {
                        run(context, &uv.install(context, &file, false)?)
                            .await
                            .map_err(failed)?;
                    }
                }
            }
        }
        if context.specification.is_believed() {
            context.facts(|facts| facts.believed.insert(PACKAGES));
        }
        Ok(ApplyReport {
            detail: "Installed the packages".to_owned(),
        })
    }
}

/// Whether a file may be run, by its permissions.
fn is_executable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs_err::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
    }
    #[cfg(windows)]
    exists(path)
}

async fn run(
    context: &Context<'_>,
    command: &ktx_os::command::Command,
) -> Result<Output, CommandError> {
    context.run(PACKAGES, command).await
}

fn write(path: &Path, contents: &str) -> Result<(), EnvError> {
    fs_err::write(path, contents).map_err(|source: io::Error| EnvError::Io {
        path: path.to_owned(),
        source,
    })
}

fn status(fault: &Fault) -> PresetStatus {
    match fault {
        Fault::None { .. } => PresetStatus::Missing,
        Fault::Version { .. } | Fault::NotAllowed { .. } => PresetStatus::Drifted,
        Fault::File { .. } | Fault::Package { .. } | Fault::Unreadable { .. } => {
            PresetStatus::Broken
        }
    }
}
