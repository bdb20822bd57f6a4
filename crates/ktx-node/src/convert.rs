//! Plain objects of JavaScript to the core's types, and back.

use std::collections::HashMap;

use ktx_asset::{Asset, Feature};
use ktx_env::Event;
use ktx_os::environment::Environment;
use ktx_runtime::{Installed, Layout, Platform, RuntimeError};
use napi_derive::napi;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// What a runtime's place is computed from.
#[napi(object, object_to_js = false)]
pub struct LayoutOptions {
    /// The version of ktx.
    pub cli_version: String,
    /// As `process.platform`; the host's by default.
    pub platform: Option<String>,
    /// Environment variables.
    pub env: HashMap<String, String>,
    /// The home directory; by default the one that `env` names.
    pub home_dir: Option<String>,
    /// The runtime root; by default the one that `env` names, else the
    /// platform's.
    pub runtime_root: Option<String>,
    /// The asset directory; by default the one that `env` names.
    pub asset_dir: Option<String>,
    /// The asset directory if nothing else names one.
    pub default_asset_dir: Option<String>,
}

/// What to prune.
#[napi(object, object_to_js = false)]
pub struct PruneOptions {
    /// The version to keep.
    pub cli_version: String,
    /// Where the runtimes are.
    pub runtime_root: String,
    /// Only says what would be removed.
    pub dry_run: Option<bool>,
}

/// Something that happened during an operation.
#[napi(object, object_from_js = false)]
pub struct ProgressEvent {
    /// `lock`, `uv`, `python`, `venv`, `packages`, `probe` or `publish`.
    pub preset: String,
    /// `started`, `progress` or `finished`.
    pub state: String,
    /// One line for people.
    pub detail: Option<String>,
    /// Bytes done so far.
    pub bytes: Option<f64>,
    /// Bytes in all.
    pub total_bytes: Option<f64>,
}

/// A command for a replaced executor.
#[napi(object, object_from_js = false)]
pub struct ExecRequest {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// Its whole environment.
    pub env: HashMap<String, String>,
}

/// What became of a command.
#[napi(object, object_to_js = false)]
pub struct ExecReply {
    /// Whether it succeeded.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Why it did not succeed.
    pub message: Option<String>,
}

impl LayoutOptions {
    pub(crate) fn into_layout(self) -> Result<(Layout, Environment), RuntimeError> {
        let options = ktx_runtime::LayoutOptions {
            cli_version: self.cli_version,
            platform: self
                .platform
                .as_deref()
                .map_or(Platform::HOST, Platform::from_node),
            environment: self.env.into_iter().collect(),
            home_dir: self.home_dir,
            runtime_root: self.runtime_root,
            asset_dir: self.asset_dir,
            default_asset_dir: self.default_asset_dir,
        };
        Ok((Layout::new(&options)?, options.environment))
    }
}

/// The features of these names.
pub(crate) fn features(names: &[String]) -> Result<Vec<Feature>, Failure> {
    names
        .iter()
        .map(|name| name.parse().map_err(Failure::from))
        .collect()
}

impl From<Event> for ProgressEvent {
    fn from(event: Event) -> Self {
        // JavaScript's numbers hold every size that a disk has.
        #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
        let number = |bytes: u64| bytes as f64;
        Self {
            preset: event.preset.to_owned(),
            state: event.state.as_str().to_owned(),
            detail: event.detail,
            bytes: event.bytes.map(number),
            total_bytes: event.total_bytes.map(number),
        }
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(Failure::from)
}

pub(crate) fn verified(asset: &Asset) -> Result<Value, Failure> {
    Ok(json!({ "manifest": to_json(&asset.manifest)?, "wheelPath": asset.wheel_path() }))
}

pub(crate) fn installed(installed: &Installed) -> Result<Value, Failure> {
    Ok(json!({
        "status": to_json(&installed.status)?,
        "layout": to_json(&installed.layout)?,
        "asset": verified(&installed.asset)?,
        "manifest": to_json(&installed.manifest)?,
    }))
}
