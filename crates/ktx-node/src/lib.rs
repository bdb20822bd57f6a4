//! The napi addon: converts, calls the core, converts back. It decides
//! nothing and never writes to the process's streams.

#![expect(
    clippy::needless_pass_by_value,
    clippy::trivially_copy_pass_by_ref,
    reason = "napi hands over owned values and a reference to the environment"
)]

mod convert;
mod daemon;
mod failure;
mod hooks;
mod trace;

use ktx_runtime::Install;
use napi::bindgen_prelude::PromiseRaw;
use napi::{Env, Result};
use napi_derive::napi;

use convert::{LayoutOptions, PruneOptions, installed, to_json, verified};
use failure::{Failure, settle, settle_blocking, throw};
use hooks::{Hooks, Means};

pub use convert::{ExecReply, ExecRequest, ProgressEvent};
pub use daemon::{
    RpcReply, RpcRequest, daemon_status, start_daemon, stop_all_daemons, stop_daemon,
};
pub use hooks::Cancellation;
pub use trace::trace;

type Json = serde_json::Value;

/// The version of ktx that the addon was built for.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Where a version's runtime lies, computed without looking at the disk.
#[napi(catch_unwind, ts_return_type = "any")]
pub fn layout(env: &Env, options: LayoutOptions) -> Result<Json> {
    options
        .into_layout()
        .map_err(Failure::from)
        .and_then(|(layout, _)| to_json(&layout))
        .map_err(|failure| throw(env, &failure))
}

/// Reads the asset in a directory and verifies what its manifest names.
#[napi(ts_return_type = "Promise<any>")]
pub fn verify_asset(env: &Env, asset_dir: String) -> Result<PromiseRaw<'_, Json>> {
    settle_blocking(env, move || {
        verified(&ktx_asset::verify(asset_dir.as_ref())?)
    })
}

/// Looks at the runtime; changes nothing.
#[napi(ts_return_type = "Promise<any>")]
pub fn status(env: &Env, options: LayoutOptions) -> Result<PromiseRaw<'_, Json>> {
    settle(env, async move {
        let (layout, environment) = options.into_layout()?;
        let Means {
            executor,
            cancellation,
            ..
        } = Means::default();
        let status =
            ktx_runtime::status(&layout, &environment, executor.as_ref(), &cancellation).await?;
        to_json(&status)
    })
}

/// Installs the runtime with `features` (`core`, `local-embeddings`), or finds
/// that it is there; `force` installs even then.
#[napi(ts_return_type = "Promise<any>")]
pub fn install<'env>(
    env: &'env Env,
    options: LayoutOptions,
    features: Vec<String>,
    force: bool,
    hooks: Hooks<'_>,
) -> Result<PromiseRaw<'env, Json>> {
    let means = Means::from(hooks);
    settle(env, async move {
        let (layout, environment) = options.into_layout()?;
        let install = Install {
            layout,
            environment,
            features: convert::features(&features)?,
            force,
            executor: means.executor,
            listener: means.listener,
            cancellation: means.cancellation,
        };
        installed(&ktx_runtime::install(install).await?)
    })
}

/// Checks uv, the asset and the runtime; installs nothing.
#[napi(ts_return_type = "Promise<any>")]
pub fn doctor<'env>(
    env: &'env Env,
    options: LayoutOptions,
    hooks: Hooks<'_>,
) -> Result<PromiseRaw<'env, Json>> {
    let means = Means::from(hooks);
    settle(env, async move {
        let (layout, environment) = options.into_layout()?;
        let checks = ktx_runtime::doctor(
            &layout,
            &environment,
            means.executor.as_ref(),
            &means.cancellation,
        )
        .await?;
        to_json(&checks)
    })
}

/// Removes the runtimes of other versions that nobody uses.
#[napi(ts_return_type = "Promise<any>")]
pub fn prune(env: &Env, options: PruneOptions) -> Result<PromiseRaw<'_, Json>> {
    settle_blocking(env, move || {
        let dry_run = options.dry_run.unwrap_or(false);
        let pruned =
            ktx_runtime::prune(&options.cli_version, options.runtime_root.as_ref(), dry_run)?;
        to_json(&pruned)
    })
}
