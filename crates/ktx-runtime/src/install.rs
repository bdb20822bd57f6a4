//! Installation: an environment is built where nobody looks, verified, and
//! published by replacing the manifest. Until then, what was ready stays so.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ktx_asset::{Asset, Feature, LockedPackage};
use ktx_env::{
    Context, EnvError, Event, Evidence, Log, Orchestrator, PROBE, Packages, PackagesPreset,
    ProbePreset, PythonPreset, Registry, Specification, State, UvPreset, VenvPreset,
};
use ktx_os::command::Executor;
use ktx_os::environment::Environment;
use ktx_os::files::{self, FreeSpace};
use ktx_os::lock::{self, Lock, LockError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::environments;
use crate::error::RuntimeError;
use crate::layout::{Layout, lock_path};
use crate::manifest::{PythonPaths, RuntimeManifest};
use crate::status::{Status, at, status};

const MIB: u64 = 1024 * 1024;

/// What to install, and the means to do it.
pub struct Install {
    /// Where.
    pub layout: Layout,
    /// The caller's environment variables.
    pub environment: Environment,
    /// What; `core` is always among them.
    pub features: Vec<Feature>,
    /// Installs even if a usable runtime is there.
    pub force: bool,
    /// Runs commands.
    pub executor: Arc<dyn Executor>,
    /// Told of every event.
    pub listener: Arc<dyn Fn(Event) + Send + Sync>,
    /// Ends the work early.
    pub cancellation: CancellationToken,
}

/// How a runtime came to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallStatus {
    /// It was ready before.
    Ready,
    /// It was installed now.
    Installed,
}

/// A runtime that is ready.
#[derive(Clone, Debug)]
pub struct Installed {
    /// How it came to be so.
    pub status: InstallStatus,
    /// Where it is.
    pub layout: Layout,
    /// The asset that was asked for, verified.
    pub asset: Asset,
    /// Its manifest, as it stands on disk.
    pub manifest: RuntimeManifest,
}

/// Installs the runtime, or finds that it is there.
///
/// # Errors
///
/// Leaves what was ready before as it was; only this attempt's directories
/// are removed, and the log stays.
pub async fn install(install: Install) -> Result<Installed, RuntimeError> {
    let features = Feature::normalize(&install.features);
    let verified = tokio::task::spawn_blocking({
        let directory = install.layout.asset_dir.clone();
        move || ktx_asset::verify(&directory)
    });
    let (asset, seen) = tokio::join!(verified, install.look());
    let asset = asset.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    if let Some(ready) = install.ready(&seen?, &asset, &features)? {
        return Ok(ready);
    }
    let _lock = install.lock().await?;
    // Somebody else may have installed it while this one waited.
    let seen = install.look().await?;
    if let Some(ready) = install.ready(&seen, &asset, &features)? {
        return Ok(ready);
    }
    install.attempt(asset, features, seen.into_evidence()).await
}

impl Install {
    async fn look(&self) -> Result<Status, RuntimeError> {
        status(
            &self.layout,
            &self.environment,
            self.executor.as_ref(),
            &self.cancellation,
        )
        .await
        .map_err(|_| RuntimeError::Cancelled)
    }

    /// What was seen, if that will do.
    fn ready(
        &self,
        seen: &Status,
        asset: &Asset,
        features: &[Feature],
    ) -> Result<Option<Installed>, RuntimeError> {
        if self.force {
            return Ok(None);
        }
        if seen.is_newer {
            return Err(RuntimeError::Newer {
                detail: seen.detail.clone(),
            });
        }
        Ok(seen
            .serves(&asset.manifest, features)
            .cloned()
            .map(|manifest| Installed {
                status: InstallStatus::Ready,
                layout: seen.layout.clone(),
                asset: asset.clone(),
                manifest,
            }))
    }

    /// Makes the root, if it may be made, and takes its lock.
    async fn lock(&self) -> Result<Lock, RuntimeError> {
        let layout = &self.layout;
        if !layout.is_for_host() {
            return Err(RuntimeError::OtherPlatform);
        }
        if let Some(home) = layout.home().filter(|home| !home.is_dir()) {
            return Err(RuntimeError::HomeMissing {
                path: home.to_owned(),
            });
        }
        create_trusted(&layout.runtime_root)?;
        let (cache, kept_uv) = (layout.cache_dir(), layout.kept_uv_dir());
        for directory in kept_uv.ancestors().take(2).chain([cache.as_path()]) {
            check_trusted(directory)?;
        }
        let purpose = format!("install {}", layout.cli_version);
        let waiting = |holder: Option<&lock::Holder>| {
            let holder = holder.map_or_else(|| "another process".to_owned(), ToString::to_string);
            (self.listener)(
                Event::new("lock", State::Progress).detail(&format!("Waiting for {holder}")),
            );
        };
        lock::acquire(
            &lock_path(&layout.runtime_root)?,
            &layout.runtime_root,
            &purpose,
            &self.cancellation,
            waiting,
        )
        .await
        .map_err(|error| match error {
            LockError::Cancelled { .. } => RuntimeError::Cancelled,
            error => error.into(),
        })
    }

    /// Builds, verifies and publishes an environment. The caller holds the
    /// lock.
    async fn attempt(
        &self,
        asset: Asset,
        features: Vec<Feature>,
        precedent: Option<Evidence>,
    ) -> Result<Installed, RuntimeError> {
        create_trusted(&self.layout.version_dir)?;
        let need = Need::of(&asset, &features);
        need.check(&self.layout.version_dir)?;
        let id = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let layout = self.layout.with_new_environment(&id);
        let attempt = Attempt {
            directories: [layout.attempt_dir(&id), layout.venv_dir.clone()],
        };
        let workspace = &attempt.directories[0];
        files::create_private_dir_all(workspace).map_err(RuntimeError::writing(workspace))?;
        let mut specification = specification(&layout, &asset, &features, workspace)?;
        specification.precedent = precedent;
        let log = Log::create(&layout.install_log_path)
            .map_err(RuntimeError::writing(&layout.install_log_path))?;
        match self
            .build(&layout, &asset, features, &specification, &log)
            .await
        {
            Ok(manifest) => {
                attempt.keep();
                if let Err(error) =
                    environments::remove_stale(&layout.version_dir, &layout.venv_dir)
                {
                    log.note(&format!("! Cannot remove an older environment: {error}"));
                }
                Ok(Installed {
                    status: InstallStatus::Installed,
                    layout,
                    asset,
                    manifest,
                })
            }
            Err(error) => {
                // What failed may have been only to make it last: with the
                // older environment, whichever manifest lasts has its own.
                if RuntimeManifest::is_published(&layout) {
                    attempt.keep();
                }
                log.note(&format!("! {error}"));
                Err(need.explain(error, &layout))
            }
        }
    }

    async fn build(
        &self,
        layout: &Layout,
        asset: &Asset,
        features: Vec<Feature>,
        specification: &Specification,
        log: &Log,
    ) -> Result<RuntimeManifest, RuntimeError> {
        let mut context = Context::new(
            specification,
            &self.environment,
            self.executor.as_ref(),
            &self.cancellation,
        );
        context.listener = self.listener.as_ref();
        context.log = Some(log);
        let registry = Registry::default()
            .with(UvPreset)
            .with(PythonPreset)
            .with(VenvPreset)
            .with(PackagesPreset)
            .with(ProbePreset);
        // Packages are written by now; the probe writes nothing that a power
        // cut may not take, so the two go side by side below.
        Orchestrator::new(&registry)
            .ensure(&context, &[PROBE])
            .await
            .map_err(|source| match source {
                EnvError::Cancelled => RuntimeError::Cancelled,
                source => RuntimeError::Install {
                    source: Box::new(source),
                    log: log.path().to_owned(),
                },
            })?;
        if specification.is_believed() {
            // uv read the wheel where it lies, so it must still be the one
            // that was verified.
            ktx_asset::verify(&asset.directory)?;
        }
        if specification.directory.is_dir() {
            environments::create_lease(&specification.directory)
                .map_err(RuntimeError::writing(&specification.directory))?;
        }
        // Before publishing: a runtime that is ready has nothing left to do.
        files::remove_dir_all(&specification.workspace)
            .map_err(RuntimeError::writing(&specification.workspace))?;
        (self.listener)(Event::new("publish", State::Started));
        files::sync_file_system(&layout.version_dir)
            .map_err(RuntimeError::writing(&layout.version_dir))?;
        if self.cancellation.is_cancelled() {
            return Err(RuntimeError::Cancelled);
        }
        let manifest = RuntimeManifest::new(
            &layout.cli_version,
            &asset.manifest,
            features,
            PythonPaths {
                executable: layout.python_path.clone(),
                daemon_executable: layout.daemon_path.clone(),
            },
            &layout.install_log_path,
            context.facts(|facts| facts.evidence.take()),
        );
        manifest
            .publish(&layout.manifest_path)
            .map_err(RuntimeError::writing(&layout.manifest_path))?;
        (self.listener)(Event::new("publish", State::Finished));
        Ok(manifest)
    }
}

/// The environment that is installed from `asset`. With a lock, uv gets
/// verified copies in `workspace`.
fn specification(
    layout: &Layout,
    asset: &Asset,
    features: &[Feature],
    workspace: &Path,
) -> Result<Specification, RuntimeError> {
    let manifest = &asset.manifest;
    let packages = if manifest.lock.is_some() {
        let (_, lock) = asset.copy_to(workspace)?;
        let lock = lock.expect("an asset whose manifest names a lock has one");
        let mut allowed = lock.packages(features);
        allowed.insert(LockedPackage {
            name: manifest.distribution_name.clone(),
            version: wheel_version(&manifest.wheel.file).to_owned(),
        });
        // The path is relative to the workspace that uv runs in, so that no
        // character in the runtime root has a meaning to uv.
        let wheel = format!(
            "./{} --hash=sha256:{}\n",
            manifest.wheel.file, manifest.wheel.sha256
        );
        Packages::Locked {
            requirements: lock.requirements(features) + &wheel,
            wheel: manifest.distribution_name.clone(),
            allowed,
        }
    } else {
        let extras = features.iter().filter(|feature| **feature != Feature::Core);
        let extras: Vec<_> = extras.map(|feature| feature.name()).collect();
        let mut requirement = asset.wheel_path().to_string_lossy().into_owned();
        if !extras.is_empty() {
            requirement = format!("{requirement}[{}]", extras.join(","));
        }
        Packages::Resolved { requirement }
    };
    let probe = manifest.probe.iter().flat_map(|probe| &probe.imports);
    Ok(Specification {
        workspace: workspace.to_owned(),
        requires_python: manifest.requires_python.clone(),
        imports: probe
            .filter(|(feature, _)| features.contains(feature))
            .flat_map(|(_, modules)| modules.iter().cloned())
            .collect(),
        packages,
        ..at(layout)
    })
}

/// The version in a wheel's file name: `name-version-python-abi-platform.whl`
/// (PEP 427).
fn wheel_version(file: &str) -> &str {
    file.split('-').nth(1).unwrap_or_default()
}

/// Makes a directory that only the caller can write to, or refuses one that
/// somebody else can.
fn create_trusted(path: &Path) -> Result<(), RuntimeError> {
    check_trusted(path)?;
    files::create_private_dir_all(path).map_err(|source| match source.kind() {
        // What is missing is made, but where the system makes nothing.
        io::ErrorKind::NotFound => RuntimeError::ReadOnly {
            path: path.to_owned(),
            source,
        },
        _ => RuntimeError::writing(path)(source),
    })?;
    // Somebody else may have been faster.
    check_trusted(path)
}

/// Refuses a directory that somebody else can write to.
fn check_trusted(path: &Path) -> Result<(), RuntimeError> {
    match files::untrusted(path) {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(RuntimeError::Unsafe {
            path: path.to_owned(),
            reason,
        }),
        Err(source) => Err(RuntimeError::writing(path)(source)),
    }
}

/// The directories of an installation in progress; removed unless it succeeds.
struct Attempt {
    directories: [PathBuf; 2],
}

impl Attempt {
    /// The environment is published; only the workspace goes.
    fn keep(mut self) {
        self.directories[1].clear();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for directory in self
            .directories
            .iter()
            .filter(|path| !path.as_os_str().is_empty())
        {
            // The next installation removes what cannot be removed now.
            if let Err(error) = files::remove_dir_all(directory) {
                tracing::warn!(%error, "left behind");
            }
        }
    }
}

/// The room that an installation takes.
#[derive(Clone, Copy)]
struct Need {
    bytes: u64,
    files: u64,
}

impl Need {
    /// Generous roundings of what was measured: an environment with the core
    /// packages takes 2 MiB and 70 files beside the wheel, local embeddings
    /// 150 MiB and 3000 files more; uv's cache holds everything once more,
    /// and a fetched uv takes 60 MiB with its download.
    fn of(asset: &Asset, features: &[Feature]) -> Self {
        let (mib, files) = if features.contains(&Feature::LocalEmbeddings) {
            (500, 10_000)
        } else {
            (80, 500)
        };
        Self {
            bytes: mib * MIB + 3 * asset.manifest.wheel.bytes,
            files,
        }
    }

    fn check(self, directory: &Path) -> Result<(), RuntimeError> {
        let free = files::free_space(directory).map_err(RuntimeError::writing(directory))?;
        match free {
            FreeSpace { bytes, .. } if bytes < self.bytes => Err(RuntimeError::DiskFull {
                path: directory.to_owned(),
                need: self.bytes.div_ceil(MIB),
                have: bytes / MIB,
                log: None,
            }),
            FreeSpace {
                files: Some(files), ..
            } if files < self.files => Err(RuntimeError::OutOfInodes {
                path: directory.to_owned(),
                need: self.files,
                have: files,
            }),
            _ => Ok(()),
        }
    }

    /// Says what is needed and there if a failure comes from a full disk. With a quota the system
    /// may show room where there is none; then the failure itself says more.
    fn explain(self, error: RuntimeError, layout: &Layout) -> RuntimeError {
        if error.code() != ktx_os::code::Code::DiskFull {
            return error;
        }
        match self.check(&layout.version_dir) {
            Err(RuntimeError::DiskFull {
                path, need, have, ..
            }) => RuntimeError::DiskFull {
                path,
                need,
                have,
                log: Some(layout.install_log_path.clone()),
            },
            Err(full @ RuntimeError::OutOfInodes { .. }) => full,
            Ok(()) | Err(_) => error,
        }
    }
}
