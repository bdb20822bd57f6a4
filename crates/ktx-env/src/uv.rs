//! uv: finding it, keeping a copy, and every command line that ktx gives it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ktx_os::command::{Command, CommandError};
use ktx_os::variables;
use pep440_rs::Version;

use crate::bootstrap::{self, Pin, Pins, Unverified};
use crate::context::{Context, Packages};
use crate::error::EnvError;
use crate::evidence::Stamp;
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::progress::{Event, State};

/// The name of the preset.
pub const UV: PresetId = "uv";

/// The oldest uv that is used.
const OLDEST: &str = "0.8";

/// How long uv may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long uv may take to look at the interpreters of a machine, or to make
/// an empty environment with one.
const LOCAL_TIMEOUT: Duration = Duration::from_mins(2);

/// How long uv may take to download and install.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(30);

/// The platform that this code runs on, as pins and packages name it.
pub const HOST_PLATFORM: &str = if cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
)) {
    "linux-x64-gnu"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "musl"
)) {
    "linux-x64-musl"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "aarch64",
    target_env = "gnu"
)) {
    "linux-arm64-gnu"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "aarch64",
    target_env = "musl"
)) {
    "linux-arm64-musl"
} else if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
    "darwin-arm64"
} else if cfg!(all(target_os = "macos", target_arch = "x86_64")) {
    "darwin-x64"
} else if cfg!(all(target_os = "windows", target_arch = "x86_64")) {
    "win32-x64-msvc"
} else {
    "unsupported"
};

/// A uv that answered with its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uv {
    /// How it is called: a path, or `uv` for the one on the `PATH`.
    pub program: String,
    /// What it said of itself: `uv 0.13.8`.
    pub version: String,
}

impl Uv {
    /// Finds an interpreter for `request`, a version specifier.
    pub(crate) fn find_python(&self, context: &Context<'_>, request: &str) -> Command {
        self.command(
            context,
            ["python", "find", "--no-project", "--system", request],
            LOCAL_TIMEOUT,
        )
    }

    /// Finds an interpreter among those that ktx keeps.
    pub(crate) fn find_kept_python(&self, context: &Context<'_>, request: &str) -> Command {
        let arguments = [
            "python",
            "find",
            "--no-project",
            "--managed-python",
            request,
        ];
        with_kept_python(context, self.command(context, arguments, LOCAL_TIMEOUT))
    }

    /// Installs an interpreter for `request` among those that ktx keeps.
    pub(crate) fn install_python(&self, context: &Context<'_>, request: &str) -> Command {
        let arguments = ["python", "install", "--no-bin", request];
        with_kept_python(context, self.command(context, arguments, DOWNLOAD_TIMEOUT))
    }

    /// Makes the empty environment.
    pub(crate) fn venv(&self, context: &Context<'_>, interpreter: Option<&Path>) -> Command {
        let mut arguments = vec!["venv".to_owned()];
        if let Some(interpreter) = interpreter {
            arguments.extend([
                "--no-project".to_owned(),
                "--python".to_owned(),
                text(interpreter),
            ]);
        }
        arguments.push(text(&context.specification.directory));
        self.command(context, arguments, LOCAL_TIMEOUT)
    }

    /// Installs the packages. `requirements` is the file that locked ones
    /// stand in; `offline` takes them from the cache or fails at once.
    pub(crate) fn install(
        &self,
        context: &Context<'_>,
        requirements: &Path,
        offline: bool,
    ) -> Command {
        let mut arguments: Vec<String> = ["pip", "install", "--python"].map(str::to_owned).into();
        arguments.push(text(&context.specification.python));
        match &context.specification.packages {
            Packages::Resolved { requirement } => arguments.push(requirement.clone()),
            Packages::Locked { .. } => {
                let flags = ["--require-hashes", "--no-deps", "--only-binary", ":all:"];
                arguments.extend(flags.map(str::to_owned));
                if offline {
                    arguments.push("--offline".to_owned());
                }
                arguments.extend(["-r".to_owned(), text(requirements)]);
            }
        }
        self.command(context, arguments, DOWNLOAD_TIMEOUT)
    }

    fn command<S: Into<String>>(
        &self,
        context: &Context<'_>,
        arguments: impl IntoIterator<Item = S>,
        timeout: Duration,
    ) -> Command {
        command(context, &self.program, arguments, timeout)
    }
}

/// A uv command in the environment that all of them get: no configuration
/// files, ktx's own cache, copies instead of links into it (what an
/// environment does to its files must not reach the cache), the caller's
/// index, and no other index.
fn command<S: Into<String>>(
    context: &Context<'_>,
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    timeout: Duration,
) -> Command {
    let mut environment = BTreeMap::from([
        ("UV_NO_CONFIG", "1".to_owned()),
        ("UV_CACHE_DIR", text(&context.specification.cache)),
        ("UV_LINK_MODE", "copy".to_owned()),
        ("UV_NO_PROGRESS", "1".to_owned()),
        ("NO_COLOR", "1".to_owned()),
    ]);
    let index = [
        variables::UV_DEFAULT_INDEX,
        variables::UV_INDEX_URL,
        variables::PIP_INDEX_URL,
    ]
    .into_iter()
    .find_map(|name| context.environment.var(name));
    if let Some(index) = index {
        environment.insert(variables::UV_DEFAULT_INDEX, index.to_owned());
    }
    let arguments = arguments.into_iter().map(Into::into).collect();
    context.command(program, arguments, environment, timeout)
}

fn with_kept_python(context: &Context<'_>, mut command: Command) -> Command {
    command.environment.set(
        "UV_PYTHON_INSTALL_DIR",
        text(&context.specification.kept_python),
    );
    command
}

/// A path as an argument. ktx's paths come from text, so nothing is lost.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Asks `program` for its version.
async fn ask(context: &Context<'_>, program: &str) -> Result<Uv, CommandError> {
    let output = context
        .run(
            UV,
            &command(context, program, ["--version"], VERSION_TIMEOUT),
        )
        .await?;
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
                    source: Box::new(source),
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
            Err(report) => report,
        })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        if context.environment.var(variables::KTX_UV_BOOTSTRAP) == Some("never") {
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
        let environment = context
            .environment
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
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
    match ask(context, &text(&path)).await {
        Ok(uv) => Ok(Ok(uv)),
        Err(CommandError::Cancelled { .. }) => Err(EnvError::Cancelled),
        // The bytes are right, so fetching them again mends nothing.
        Err(source) => Err(EnvError::KeptUv {
            path,
            source: Box::new(source),
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
