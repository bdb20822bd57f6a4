//! The packages of an environment: installed by uv, and compared with what
//! the environment's own records say.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use ktx_os::command::{CommandError, Output};
use ktx_os::files;

use crate::bootstrap;
use crate::context::{Context, Packages, Uv};
use crate::error::{EnvError, reason, says_damaged, says_unserved};
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::presets::uv::environment_of;
use crate::presets::venv::{VENV, exists};
use crate::records::{self, Fault, Names};

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
        if context.specification.is_believed() {
            return Ok(CheckReport::healthy("installed"));
        }
        match compare(context, None).await {
            Ok(count) => Ok(CheckReport::healthy(format!("{count} packages"))),
            Err(fault) => Ok(CheckReport::new(status(&fault), fault.to_string())),
        }
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        let uv = context.uv()?;
        let file = context.specification.workspace.join("requirements.txt");
        match &context.specification.packages {
            Packages::Resolved { .. } => {
                run(context, &uv.install(context, &file, false)?)
                    .await
                    .map_err(|source| EnvError::command(PACKAGES, source))?;
            }
            Packages::Locked {
                requirements,
                wheel,
                ..
            } => {
                write(&file, requirements)?;
                install_locked(context, &uv, &file, wheel).await?;
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

/// Installs what the cache holds, else what the package index has.
async fn install_locked(
    context: &Context<'_>,
    uv: &Uv,
    file: &Path,
    wheel: &str,
) -> Result<(), EnvError> {
    let directory = &context.specification.directory;
    let own = records::files(directory).map_err(|fault| not_applied(&fault))?;
    let (mut offline, mut is_cached) = (true, true);
    loop {
        let problem = match run(context, &uv.install(context, file, offline)?).await {
            // uv hashes what it fetches, and believes what its cache holds.
            Ok(_) => {
                // What uv keeps of the wheel serves no other installation,
                // which has a copy of its own.
                let forget = uv.forget(context, wheel);
                let (compared, _) =
                    tokio::join!(compare(context, Some(own.clone())), run(context, &forget));
                match compared {
                    Ok(_) => return Ok(()),
                    Err(fault) if is_cached && fault.is_damage() => fault.to_string(),
                    Err(fault) => return Err(not_applied(&fault)),
                }
            }
            Err(CommandError::Cancelled { .. }) => return Err(EnvError::Cancelled),
            Err(_) if offline => {
                offline = false;
                continue;
            }
            Err(source) if is_cached && says_damaged(&source) => reason(&source),
            Err(source) => return Err(unserved(context, source)),
        };
        if let Some(log) = context.log {
            log.note(&format!("! {problem}; beginning again without the cache"));
        }
        (offline, is_cached) = (false, false);
        for path in [&context.specification.cache, directory] {
            files::remove_dir_all(path).map_err(|source| EnvError::Io {
                path: path.clone(),
                source,
            })?;
        }
        let interpreter = context.facts(|facts| facts.interpreter.clone());
        run(context, &uv.venv(context, interpreter.as_deref()))
            .await
            .map_err(|source| EnvError::command(VENV, source))?;
    }
}

/// Names the package index if that is what the packages could not be had from.
fn unserved(context: &Context<'_>, source: CommandError) -> EnvError {
    match bootstrap::index_host(&environment_of(context)) {
        Ok(host) if says_unserved(&source) => EnvError::Index {
            host,
            failure: Box::new(source),
        },
        _ => EnvError::command(PACKAGES, source),
    }
}

/// Compares what is installed with its records and with what it should be, and
/// says how many packages it is. Packages that came just now are compared byte
/// by byte; `own` is what was there before them.
async fn compare(context: &Context<'_>, own: Option<Names>) -> Result<usize, Fault> {
    let specification = context.specification.clone();
    // Thousands of small files are looked at: not on a thread that others
    // wait for.
    let compared = tokio::task::spawn_blocking(move || {
        let installed = records::read(&specification.directory, own.as_ref())?;
        match (&specification.evidence, &specification.packages) {
            (Some(evidence), _) => records::compare(&installed, &evidence.packages)?,
            (None, Packages::Locked { allowed, .. }) => records::allow(&installed, allowed)?,
            (None, Packages::Resolved { .. }) => {}
        }
        Ok(installed.len())
    });
    match compared.await {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn not_applied(fault: &Fault) -> EnvError {
    EnvError::NotApplied {
        id: PACKAGES.to_owned(),
        detail: fault.to_string(),
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
        Fault::File { .. }
        | Fault::Unrecorded { .. }
        | Fault::Package { .. }
        | Fault::Unreadable { .. } => PresetStatus::Broken,
    }
}
