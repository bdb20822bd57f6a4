//! uv itself: found, or fetched and kept.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ktx_os::command::CommandError;
use ktx_os::variables;
use pep440_rs::Version;

use crate::bootstrap::{self, Pin, Pins, Unverified};
use crate::context::{Context, Uv};
use crate::error::EnvError;
use crate::evidence::Stamp;
use crate::platform::HOST_PLATFORM;
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::progress::{Event, State};
use crate::uv;

/// The name of the preset.
pub const UV: PresetId = "uv";

/// The oldest uv that is used.
const OLDEST: &str = "0.8";

/// uv is there and answers.
///
/// It is looked for in this order: `KTX_UV`; `uv` on the `PATH`; the kept
/// copy. If there is none, the pinned one is fetched from the package index.
pub struct UvPreset;

#[async_trait]
impl PresetProvider for UvPreset {
    fn id(&self) -> PresetId {
        UV
    }

    fn requires(&self) -> &'static [PresetId] {
        &[]
    }

    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError> {
        let found = |uv: Uv| {
            let detail = if uv.version.is_empty() {
                "uv available".to_owned()
            } else {
                uv.version.clone()
            };
            context.facts(|facts| facts.uv = Some(uv));
            CheckReport::healthy(detail)
        };
        if let Some(program) = context.environment.var(variables::KTX_UV) {
            return match ask(context, program).await {
                Ok(uv) => Ok(found(uv)),
                Err(CommandError::Cancelled { .. }) => Err(EnvError::Cancelled),
                Err(source) => Err(EnvError::ChosenUv {
                    program: program.to_owned(),
                    failure: Box::new(source),
                }),
            };
        }
        match ask(context, "uv").await {
            Ok(uv) if is_too_old(&uv.version) => {
                let note = format!(
                    "Passing over {} on the PATH: older than {OLDEST}",
                    uv.version
                );
                if let Some(log) = context.log {
                    log.note(&note);
                }
                context.progress(Event::new(UV, State::Progress).detail(&note));
            }
            Ok(uv) => return Ok(found(uv)),
            Err(CommandError::Cancelled { .. }) => return Err(EnvError::Cancelled),
            Err(_) => {}
        }
        check_kept(context).await.map(|kept| match kept {
            Ok(uv) => found(uv),
            Err(report) if may_not_fetch(context) => {
                report.with_fix(EnvError::NoUv.hints().swap_remove(0))
            }
            Err(report) => report,
        })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        if may_not_fetch(context) {
            return Err(EnvError::NoUv);
        }
        let pins = Pins::embedded();
        let pin = pins.pin_for(HOST_PLATFORM)?;
        let directory = &context.specification.kept_uv;
        ktx_os::files::create_private_dir_all(directory).map_err(|source| EnvError::Io {
            path: directory.clone(),
            source,
        })?;
        sweep(directory);
        let environment = environment_of(context);
        let request = bootstrap::Request {
            pin,
            env: &environment,
            directory,
            bounds: bootstrap::Bounds::default(),
        };
        // A hundredth is the smallest step that somebody can see.
        let told = AtomicU64::new(0);
        let listener = |bytes: u64, total: u64| {
            let last = told.load(Ordering::Relaxed);
            if bytes == total || bytes < last || bytes - last > total / 100 {
                told.store(bytes, Ordering::Relaxed);
                let event = Event::new(UV, State::Progress).detail("Downloading uv");
                context.progress(event.bytes(bytes, total));
            }
        };
        let path: PathBuf = tokio::select! {
            fetched = bootstrap::fetch(request, &listener) => fetched?,
            () = context.cancellation.cancelled() => return Err(EnvError::Cancelled),
        };
        let detail = format!("Fetched uv {} to {}", pins.version, path.display());
        if let Some(log) = context.log {
            log.note(&detail);
        }
        Ok(ApplyReport { detail })
    }
}

/// The caller's variables, in the form that a download takes them.
pub(crate) fn environment_of(context: &Context<'_>) -> bootstrap::Environment {
    let mut environment = bootstrap::Environment::new();
    let variables = context.environment.iter();
    environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment
}

fn may_not_fetch(context: &Context<'_>) -> bool {
    context.environment.var(variables::KTX_UV_BOOTSTRAP) == Some("never")
}

/// The kept copy, hashed before it is run.
async fn check_kept(context: &Context<'_>) -> Result<Result<Uv, CheckReport>, EnvError> {
    let pins = Pins::embedded();
    let Ok(pin) = pins.pin_for(HOST_PLATFORM) else {
        return Ok(Err(CheckReport::new(
            PresetStatus::Missing,
            "uv was not found on the PATH",
        )));
    };
    let path = context.specification.kept_uv.join(pin.binary_name());
    let hashed = tokio::task::spawn_blocking({
        let path = path.clone();
        move || verify_once(&path, pin)
    });
    match hashed.await {
        Ok(Ok(())) => {}
        Ok(Err(Unverified::Missing { .. })) => {
            let detail = format!("uv was not found on the PATH, nor at {}", path.display());
            return Ok(Err(CheckReport::new(PresetStatus::Missing, detail)));
        }
        Ok(Err(error)) => {
            return Ok(Err(CheckReport::new(
                PresetStatus::Broken,
                error.to_string(),
            )));
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
    match ask(context, &uv::text(&path)).await {
        Ok(uv) => Ok(Ok(uv)),
        Err(CommandError::Cancelled { .. }) => Err(EnvError::Cancelled),
        // The bytes are right, so fetching them again mends nothing.
        Err(source) => Err(EnvError::KeptUv {
            path,
            failure: Box::new(source),
        }),
    }
}

/// Hashes the kept copy, unless the system says that it is the file that was
/// hashed before: a stamp is left beside it. Where the system keeps no time of
/// change, it is hashed each time.
fn verify_once(path: &Path, pin: &Pin) -> Result<(), Unverified> {
    let stamp_path = path.with_extension("stamp");
    let stamp = Stamp::of(path)
        .ok()
        .filter(|stamp| !stamp.changed.is_empty());
    if let Some(stamp) = &stamp
        && ktx_os::json::read::<Stamp>(&stamp_path, 1).is_ok_and(|hashed| hashed == *stamp)
        && fs_err::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
    {
        return Ok(());
    }
    bootstrap::verify(path, pin)?;
    if let Some(stamp) = stamp.and_then(|stamp| serde_json::to_vec(&stamp).ok()) {
        // Without a stamp, as on a read-only file system, it is hashed again.
        let _ = ktx_os::files::write_atomically(&stamp_path, &stamp);
    }
    Ok(())
}

/// Removes what a killed download left behind.
fn sweep(directory: &Path) {
    let left = fs_err::read_dir(directory).into_iter().flatten().flatten();
    for entry in left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".uv-")) {
        // What cannot be removed takes room and does nothing else.
        let _ = fs_err::remove_file(entry.path());
    }
}

/// Asks `program` for its version.
async fn ask(context: &Context<'_>, program: &str) -> Result<Uv, CommandError> {
    let output = context.run(UV, &uv::version(context, program)).await?;
    Ok(Uv {
        program: program.to_owned(),
        version: output.stdout.trim().to_owned(),
    })
}

/// Whether `answer`, as of `uv --version`, is older than [`OLDEST`]. What
/// cannot be read as a version is not passed over: it is a uv of somebody's
/// own making.
fn is_too_old(answer: &str) -> bool {
    let version = answer
        .strip_prefix("uv ")
        .unwrap_or(answer)
        .split_whitespace()
        .next();
    let version = version.and_then(|version| Version::from_str(version).ok());
    version
        .zip(Version::from_str(OLDEST).ok())
        .is_some_and(|(version, oldest)| version < oldest)
}

#[cfg(test)]
mod tests {
    use super::is_too_old;

    #[test]
    fn passes_over_versions_before_0_8() {
        assert!(is_too_old("uv 0.7.22 (abc 2025-01-01)"));
        assert!(!is_too_old("uv 0.8.0"));
        assert!(!is_too_old("uv 0.13.8 (x86_64-unknown-linux-gnu)"));
        assert!(!is_too_old("uv available"));
    }
}
