//! What is there, seen with the same checks that an installation uses.

use ktx_asset::AssetManifest;
use ktx_env::{
    Context, EnvError, Evidence, Orchestrator, PACKAGES, Packages, PackagesPreset, Registry,
    Specification, VENV, VenvPreset,
};
use ktx_os::command::Executor;
use ktx_os::environment::Environment;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::layout::Layout;
use crate::manifest::{Receipt, RuntimeManifest, absence, read};

/// Whether the runtime can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusKind {
    /// There is none.
    Missing,
    /// It can be used.
    Ready,
    /// It belongs to another version of ktx.
    Mismatched,
    /// It is there and cannot be used.
    Broken,
}

/// What was seen of a runtime.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Whether it can be used.
    pub kind: StatusKind,
    /// What was seen, in one line.
    pub detail: String,
    /// Where it is; the paths of the live environment if there is one.
    pub layout: Layout,
    /// Its manifest, if that is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<RuntimeManifest>,
    /// Whether the manifest is in a format of a later ktx.
    #[serde(skip)]
    pub(crate) is_newer: bool,
}

/// How often a runtime may be replaced while it is looked at.
const REPLACEMENTS: u32 = 3;

/// Looks at the runtime of `layout`. Changes nothing, and starts the
/// interpreter only if its files are not the ones that were seen running.
///
/// # Errors
///
/// Only if the caller gives up.
pub async fn status(
    layout: &Layout,
    environment: &Environment,
    executor: &dyn Executor,
    cancellation: &CancellationToken,
) -> Result<Status, EnvError> {
    let mut seen = look(layout, environment, executor, cancellation).await?;
    for _ in 0..REPLACEMENTS {
        let Some(manifest) = seen
            .manifest
            .as_ref()
            .filter(|_| seen.kind == StatusKind::Broken)
        else {
            break;
        };
        // An installation may have published another environment and removed
        // this one between the look at the manifest and the look at the files.
        if matches!(read(layout), Receipt::Valid(now) if *now == *manifest) {
            break;
        }
        seen = look(layout, environment, executor, cancellation).await?;
    }
    Ok(seen)
}

async fn look(
    layout: &Layout,
    environment: &Environment,
    executor: &dyn Executor,
    cancellation: &CancellationToken,
) -> Result<Status, EnvError> {
    let without_manifest = |kind, detail| Status {
        kind,
        detail,
        layout: layout.clone(),
        manifest: None,
        is_newer: false,
    };
    let manifest = match read(layout) {
        Receipt::Absent => {
            let detail = absence(&layout.manifest_path);
            return Ok(without_manifest(StatusKind::Missing, detail));
        }
        Receipt::Newer { detail } => {
            return Ok(Status {
                is_newer: true,
                ..without_manifest(StatusKind::Mismatched, detail)
            });
        }
        Receipt::Invalid { detail } => return Ok(without_manifest(StatusKind::Broken, detail)),
        Receipt::Valid(manifest) => *manifest,
    };
    let layout = layout.with_environment_of(&manifest.python.executable);
    let (kind, detail) = if manifest.cli_version == layout.cli_version {
        let specification = installed(&layout, &manifest);
        let context = Context::new(&specification, environment, executor, cancellation);
        let registry = Registry::default().with(VenvPreset).with(PackagesPreset);
        let reports = Orchestrator::new(&registry)
            .check(&context, &[VENV, PACKAGES])
            .await?;
        match reports
            .into_iter()
            .find(|report| !report.check.is_healthy())
        {
            Some(report) => (StatusKind::Broken, report.check.detail),
            None => (
                StatusKind::Ready,
                format!("Runtime ready at {}", layout.version_dir.display()),
            ),
        }
    } else {
        (
            StatusKind::Mismatched,
            manifest.mismatch(&layout.cli_version),
        )
    };
    Ok(Status {
        kind,
        detail,
        layout,
        manifest: Some(manifest),
        is_newer: false,
    })
}

/// The environment that a manifest vouches for.
fn installed(layout: &Layout, manifest: &RuntimeManifest) -> Specification {
    Specification {
        python: manifest.python.executable.clone(),
        executables: vec![(
            "ktx-daemon".to_owned(),
            manifest.python.daemon_executable.clone(),
        )],
        directory: manifest
            .python
            .executable
            .ancestors()
            .nth(2)
            .unwrap_or(&layout.venv_dir)
            .to_owned(),
        evidence: manifest.evidence.clone(),
        ..at(layout)
    }
}

/// An environment at the layout's place of which nothing is known.
pub(crate) fn at(layout: &Layout) -> Specification {
    Specification {
        directory: layout.venv_dir.clone(),
        python: layout.python_path.clone(),
        executables: vec![("ktx-daemon".to_owned(), layout.daemon_path.clone())],
        workspace: layout.version_dir.clone(),
        cache: layout.cache_dir(),
        kept_uv: layout.kept_uv_dir(),
        kept_python: layout.kept_python_dir(),
        requires_python: None,
        precedent: None,
        packages: Packages::Resolved {
            requirement: String::new(),
        },
        imports: Vec::new(),
        evidence: None,
    }
}

impl Status {
    /// The evidence of the runtime, if it can be used.
    pub(crate) fn into_evidence(self) -> Option<Evidence> {
        self.manifest
            .filter(|_| self.kind == StatusKind::Ready)
            .and_then(|manifest| manifest.evidence)
    }

    /// Whether the runtime can be used in place of one with `features` that
    /// is installed from `asset`.
    pub(crate) fn serves(
        &self,
        asset: &AssetManifest,
        features: &[ktx_asset::Feature],
    ) -> Option<&RuntimeManifest> {
        self.manifest
            .as_ref()
            .filter(|_| self.kind == StatusKind::Ready)
            .filter(|manifest| {
                manifest.asset.wheel.sha256 == asset.wheel.sha256 && manifest.has(features)
            })
    }
}
