//! The life of daemons. Calls to them are made by JavaScript, which speaks
//! their protocol anyway.

use std::path::Path;
use std::time::Duration;

use ktx_os::environment::Environment;
use ktx_runtime::{DaemonPaths, Layout, RuntimeManifest};
use ktx_service::{
    Daemons, Found, Installation, Look, Place, Scope, Settings, Start, Status, Stop, StopStatus,
};
use napi::Env;
use napi::bindgen_prelude::{ClassInstance, Promise, PromiseRaw};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::convert::{LayoutOptions, to_json};
use crate::failure::{Failure, settle_blocking};
use crate::hooks::Cancellation;

type Call = ThreadsafeFunction<RpcRequest, Promise<RpcReply>, RpcRequest, napi::Status, false>;

/// Which daemon, and how it runs if it is started.
#[napi(object, object_to_js = false)]
pub struct DaemonOptions {
    /// The project that it belongs to; the user's by default.
    pub project_dir: Option<String>,
    /// Ends one that runs, and starts another.
    pub force: Option<bool>,
    /// It leaves when nothing was run for so long; 0 is never.
    pub idle_timeout_ms: Option<f64>,
    /// Memory that each process of a call may take.
    pub max_memory_bytes: Option<f64>,
    /// Calls that run at once.
    pub max_concurrency: Option<u32>,
}

/// Makes calls to daemons. Must neither throw nor reject.
#[napi(object, object_to_js = false)]
pub struct Dialer {
    /// `grpc.health.v1.Health/Check`.
    #[napi(ts_type = "(request: RpcRequest) => Promise<RpcReply>")]
    pub health: Call,
    /// `protocol.DomainPluginService/Shutdown`.
    #[napi(ts_type = "(request: RpcRequest) => Promise<RpcReply>")]
    pub shutdown: Call,
}

/// Whom to call.
#[napi(object, object_from_js = false)]
pub struct RpcRequest {
    /// `unix:/path/to/socket`, or an address and a port.
    pub endpoint: String,
    /// What the call has to carry.
    pub token: String,
}

/// What became of a call.
#[napi(object, object_to_js = false)]
pub struct RpcReply {
    /// Whether the daemon answered as it should.
    pub ok: bool,
    /// Why it did not.
    pub message: Option<String>,
}

/// Finds the daemon of an installed runtime, or starts it.
#[napi(ts_return_type = "Promise<any>")]
pub fn start_daemon<'env>(
    env: &'env Env,
    options: LayoutOptions,
    daemon: DaemonOptions,
    dialer: Dialer,
    cancellation: Option<ClassInstance<'_, Cancellation>>,
) -> napi::Result<PromiseRaw<'env, Value>> {
    let cancellation = cancellation.map_or_else(CancellationToken::new, |it| it.token.clone());
    settle_blocking(env, move || {
        let (layout, environment) = options.into_layout()?;
        let start = daemon.into_start(&layout, environment, dialer, cancellation)?;
        let find = || -> Result<_, Failure> {
            let (layout, manifest) = ktx_runtime::recorded(&layout)?;
            Ok(installation(&layout, &manifest))
        };
        let started = ktx_service::start(&start, find)?;
        let mut result = shown(&started.daemon)?;
        result.insert("status".to_owned(), to_json(&started.status)?);
        result.insert("stateFile".to_owned(), to_json(&started.state_path)?);
        result.insert("layout".to_owned(), to_json(&live(&layout))?);
        Ok(Value::Object(result))
    })
}

/// Looks at the daemon; changes nothing. Without `dialer` it is only seen
/// whether its process is there.
#[napi(ts_return_type = "Promise<any>")]
pub fn daemon_status(
    env: &Env,
    options: LayoutOptions,
    daemon: DaemonOptions,
    dialer: Option<Dialer>,
) -> napi::Result<PromiseRaw<'_, Value>> {
    settle_blocking(env, move || {
        let (layout, _) = options.into_layout()?;
        let scope = daemon.scope()?;
        let recorded = ktx_runtime::recorded(&layout);
        let layout = live(&layout);
        let installation = recorded
            .ok()
            .map(|(layout, manifest)| installation(&layout, &manifest));
        let caller = dialer.map(Caller::new);
        let look = Look {
            daemons: &daemons(&layout),
            version: &layout.cli_version,
            scope: &scope,
            installation: installation.as_ref(),
            dialer: caller
                .as_ref()
                .map(|caller| caller as &dyn ktx_service::Dialer),
        };
        let status = ktx_service::status(&look)?;
        let mut result = status.daemon.as_ref().map_or(Ok(Map::new()), shown)?;
        let Status {
            kind,
            detail,
            state_path,
            log_path,
            ..
        } = status;
        result.insert("kind".to_owned(), to_json(&kind)?);
        result.insert("detail".to_owned(), detail.into());
        if let Some(path) = state_path {
            result.insert("stateFile".to_owned(), to_json(&path)?);
        }
        if let Some(path) = log_path {
            result.insert("logPath".to_owned(), to_json(&path)?);
        }
        result.insert("layout".to_owned(), to_json(&layout)?);
        Ok(Value::Object(result))
    })
}

/// Ends the daemons of this version and of the user or the project, in
/// whatever environment they run.
#[napi(ts_return_type = "Promise<any>")]
pub fn stop_daemon(
    env: &Env,
    options: LayoutOptions,
    daemon: DaemonOptions,
    dialer: Dialer,
) -> napi::Result<PromiseRaw<'_, Value>> {
    settle_blocking(env, move || {
        let (layout, _) = options.into_layout()?;
        let stop = stopper(&layout, dialer);
        let stopped = ktx_service::stop(&stop, &layout.cli_version, &daemon.scope()?)?;
        Ok(json!({
            "status": to_json(&StopStatus::of_all(&stopped))?,
            "layout": to_json(&live(&layout))?,
            "stopped": to_json(&stopped)?,
        }))
    })
}

/// Ends every daemon under the runtime root, of every version and project.
#[napi(ts_return_type = "Promise<any>")]
pub fn stop_all_daemons(
    env: &Env,
    options: LayoutOptions,
    dialer: Dialer,
) -> napi::Result<PromiseRaw<'_, Value>> {
    settle_blocking(env, move || {
        let (layout, _) = options.into_layout()?;
        to_json(&ktx_service::stop_all(&stopper(&layout, dialer))?)
    })
}

impl DaemonOptions {
    fn scope(&self) -> Result<Scope, Failure> {
        Ok(Scope::of(self.project_dir.as_deref().map(Path::new))?)
    }

    fn into_start(
        self,
        layout: &Layout,
        environment: Environment,
        dialer: Dialer,
        cancellation: CancellationToken,
    ) -> Result<Start, Failure> {
        let idle = self.idle_timeout_ms.map(|milliseconds| {
            Duration::try_from_secs_f64(milliseconds / 1000.0)
                .map_err(|error| Failure::usage(format!("`idleTimeoutMs`: {error}")))
        });
        let memory = self.max_memory_bytes.map(|bytes| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a fraction of a byte is of no account, and the rest is checked"
            )]
            if bytes.is_finite() && bytes >= 1.0 {
                Ok(bytes as u64)
            } else {
                let message = format!("`maxMemoryBytes` is {bytes}, not a number of bytes");
                Err(Failure::usage(message))
            }
        });
        Ok(Start {
            daemons: daemons(layout),
            scope: self.scope()?,
            force: self.force.unwrap_or(false),
            settings: Settings {
                idle_timeout: idle.transpose()?,
                max_memory: memory.transpose()?,
                max_concurrency: self.max_concurrency,
            },
            environment,
            dialer: Box::new(Caller::new(dialer)),
            cancellation,
        })
    }
}

/// Calls made by JavaScript, waited for on a thread of its own.
struct Caller {
    dialer: Dialer,
    runtime: Handle,
}

impl Caller {
    /// Called on a thread of the runtime.
    fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            runtime: Handle::current(),
        }
    }

    fn call(&self, function: &Call, request: RpcRequest, bound: Duration) -> Result<(), String> {
        let reply = async { function.call_async_catch(request).await?.await };
        let reply = async { tokio::time::timeout(bound, reply).await };
        match self.runtime.block_on(reply) {
            Ok(Ok(RpcReply { ok: true, .. })) => Ok(()),
            Ok(Ok(RpcReply { message, .. })) => Err(message.unwrap_or_default()),
            Ok(Err(error)) => Err(error.reason.clone()),
            Err(_) => Err(format!("no answer within {} ms", bound.as_millis())),
        }
    }
}

impl ktx_service::Dialer for Caller {
    fn health(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String> {
        self.call(&self.dialer.health, request(endpoint, token), bound)
    }

    fn shutdown(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String> {
        self.call(&self.dialer.shutdown, request(endpoint, token), bound)
    }
}

fn request(endpoint: &str, token: &str) -> RpcRequest {
    RpcRequest {
        endpoint: endpoint.to_owned(),
        token: token.to_owned(),
    }
}

/// The layout with the paths of the live environment, if there is one.
fn live(layout: &Layout) -> Layout {
    ktx_runtime::recorded(layout).map_or_else(|_| layout.clone(), |(layout, _)| layout)
}

fn installation(layout: &Layout, manifest: &RuntimeManifest) -> Installation {
    Installation {
        version: manifest.cli_version.clone(),
        wheel_sha256: manifest.asset.wheel.sha256.clone(),
        features: manifest
            .features
            .iter()
            .map(|feature| feature.name().to_owned())
            .collect(),
        environment: layout.venv_dir.clone(),
        executable: manifest.python.daemon_executable.clone(),
    }
}

fn stopper(layout: &Layout, dialer: Dialer) -> Stop {
    Stop {
        daemons: daemons(layout),
        dialer: Box::new(Caller::new(dialer)),
    }
}

fn daemons(layout: &Layout) -> Daemons {
    Daemons {
        directory: layout.daemons_dir(),
        place: |daemons_dir, key| {
            let paths = DaemonPaths::new(daemons_dir, key);
            Place {
                directory: paths.directory,
                state_path: paths.state_path,
                log_path: paths.log_path,
                version_path: paths.version_path,
                lock_path: paths.lock_path,
            }
        },
    }
}

/// A daemon as JavaScript sees it: what may be shown, and what may not apart.
fn shown(daemon: &Found) -> Result<Map<String, Value>, Failure> {
    let access = json!({
        "endpoint": daemon.state.endpoint.to_string(),
        "token": daemon.token.as_str(),
    });
    let mut object = Map::new();
    object.insert("state".to_owned(), to_json(&daemon.state)?);
    object.insert("access".to_owned(), access);
    Ok(object)
}
