//! Doctor: what an installation needs and what it made, one check each.

use ktx_env::{Context, Orchestrator, Registry, UV, UvPreset};
use ktx_os::command::Executor;
use ktx_os::environment::Environment;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::status::{StatusKind, at, status};

const INSTALL: &str = "Run: ktx runtime install --yes";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorCheck {
    /// `uv`, `asset` or `runtime`.
    pub id: &'static str,
    /// The name for people.
    pub label: &'static str,
    /// How it ended.
    pub status: CheckStatus,
    /// What was seen, in one line.
    pub detail: String,
    /// What mends it, if it failed: a sentence with a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl DoctorCheck {
    fn new(
        id: &'static str,
        label: &'static str,
        outcome: Result<String, (String, String)>,
    ) -> Self {
        let (status, detail, fix) = match outcome {
            Ok(detail) => (CheckStatus::Pass, detail, None),
            Err((detail, fix)) => (CheckStatus::Fail, detail, Some(fix)),
        };
        Self {
            id,
            label,
            status,
            detail,
            fix,
        }
    }
}

/// Checks uv, the asset and the runtime, in that order. Installs nothing.
///
/// # Errors
///
/// Only if the caller gives up.
pub async fn doctor(
    layout: &Layout,
    environment: &Environment,
    executor: &dyn Executor,
    cancellation: &CancellationToken,
) -> Result<Vec<DoctorCheck>, RuntimeError> {
    let uv = check_uv(layout, environment, executor, cancellation).await;
    let asset = tokio::task::spawn_blocking({
        let directory = layout.asset_dir.clone();
        move || ktx_asset::verify(&directory)
    })
    .await
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let asset = match asset {
        Ok(asset) => Ok(asset.wheel_path().display().to_string()),
        Err(error) => Err((error.to_string(), first(error.hints()))),
    };
    let runtime = status(layout, environment, executor, cancellation)
        .await
        .map_err(|_| RuntimeError::Cancelled)?;
    let runtime = match runtime.kind {
        StatusKind::Ready => Ok(runtime.detail),
        StatusKind::Missing | StatusKind::Mismatched | StatusKind::Broken => Err((
            runtime.detail,
            if runtime.is_newer {
                "Run: ktx runtime install --force --yes"
            } else {
                INSTALL
            }
            .to_owned(),
        )),
    };
    if cancellation.is_cancelled() {
        return Err(RuntimeError::Cancelled);
    }
    Ok(vec![
        DoctorCheck::new("uv", "uv", uv),
        DoctorCheck::new("asset", "Bundled Python wheel", asset),
        DoctorCheck::new("runtime", "Managed Python runtime", runtime),
    ])
}

async fn check_uv(
    layout: &Layout,
    environment: &Environment,
    executor: &dyn Executor,
    cancellation: &CancellationToken,
) -> Result<String, (String, String)> {
    let specification = at(layout);
    let context = Context::new(&specification, environment, executor, cancellation);
    let registry = Registry::default().with(UvPreset);
    let reports = Orchestrator::new(&registry)
        .check(&context, &[UV])
        .await
        .map_err(|error| (error.to_string(), first(error.hints())))?;
    match reports.into_iter().next() {
        Some(report) if report.check.is_healthy() => Ok(report.check.detail),
        Some(report) => Err((
            report.check.detail,
            report.check.fix.unwrap_or_else(|| INSTALL.to_owned()),
        )),
        None => Err(("uv was not looked at".to_owned(), INSTALL.to_owned())),
    }
}

/// The likeliest of several hints.
fn first(hints: Vec<String>) -> String {
    hints
        .into_iter()
        .next()
        .unwrap_or_else(|| INSTALL.to_owned())
}
