//! Failures as values until they reach JavaScript, where each becomes an
//! `Error` with `code` and, where there are such, `hint` and `logPath`.

use std::path::PathBuf;
use std::pin::Pin;

use ktx_asset::{AssetError, UnknownFeature};
use ktx_env::EnvError;
use ktx_os::code::Code;
use ktx_runtime::RuntimeError;
use ktx_service::ServiceError;
use napi::bindgen_prelude::PromiseRaw;
use napi::{Env, Error, JsValue, Status};
use serde_json::Value;
use tokio::task::JoinError;

/// What went wrong, as JavaScript sees it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    hints: Vec<String>,
    log_path: Option<PathBuf>,
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self {
            code: error.code().as_str(),
            message: ktx_env::explain(&error),
            hints: error.hints(),
            log_path: error.log_path().map(Into::into),
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        Self {
            code: error.code().as_str(),
            message: ktx_env::explain(&error),
            hints: error.hints(),
            log_path: error.log_path().map(Into::into),
        }
    }
}

impl From<AssetError> for Failure {
    fn from(error: AssetError) -> Self {
        RuntimeError::from(error).into()
    }
}

impl From<EnvError> for Failure {
    fn from(error: EnvError) -> Self {
        Self {
            code: error.code().as_str(),
            message: ktx_env::explain(&error),
            hints: error.hints(),
            log_path: None,
        }
    }
}

impl From<UnknownFeature> for Failure {
    fn from(error: UnknownFeature) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(&error.to_string())
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let message = match error.try_into_panic() {
            Ok(panic) => panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| {
                    panic
                        .downcast_ref::<&str>()
                        .map(|message| (*message).to_owned())
                })
                .unwrap_or_else(|| "panic".to_owned()),
            Err(error) => error.to_string(),
        };
        Self::internal(&message)
    }
}

impl Failure {
    /// A value that an option cannot have.
    pub(crate) fn usage(message: String) -> Self {
        Self {
            code: Code::Usage.as_str(),
            message,
            hints: Vec::new(),
            log_path: None,
        }
    }

    /// A defect of ktx itself.
    fn internal(reason: &str) -> Self {
        Self {
            code: "KTX_PANIC",
            message: format!("Internal error: {reason}"),
            hints: vec!["Report it with the output of: ktx runtime doctor --json".to_owned()],
            log_path: None,
        }
    }
}

/// Runs `work` on the runtime's threads. A panic in it is a failure like any
/// other.
pub(crate) fn settle(
    env: &Env,
    work: impl Future<Output = Result<Value, Failure>> + Send + 'static,
) -> napi::Result<PromiseRaw<'_, Value>> {
    // One type for all, so that the runtime is compiled once and not for each.
    settle_boxed(env, Box::pin(work))
}

/// As [`settle`], for work that blocks its thread.
pub(crate) fn settle_blocking(
    env: &Env,
    work: impl FnOnce() -> Result<Value, Failure> + Send + 'static,
) -> napi::Result<PromiseRaw<'_, Value>> {
    let work: Box<dyn FnOnce() -> Result<Value, Failure> + Send> = Box::new(work);
    settle(env, async move {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(error.into()))
    })
}

type Work = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

fn settle_boxed(env: &Env, work: Work) -> napi::Result<PromiseRaw<'_, Value>> {
    let guarded = async move {
        Ok(tokio::spawn(work)
            .await
            .unwrap_or_else(|error| Err(error.into())))
    };
    env.spawn_future_with_callback(guarded, |env, outcome: Result<Value, Failure>| {
        outcome.map_err(|failure| throw(env, &failure))
    })
}

/// The failure as an error that napi throws or rejects with.
pub(crate) fn throw(env: &Env, failure: &Failure) -> Error {
    let describe = || {
        let mut error =
            env.create_error(Error::new(Status::GenericFailure, failure.message.clone()))?;
        error.set("code", failure.code)?;
        if !failure.hints.is_empty() {
            error.set("hint", failure.hints.join("\n"))?;
        }
        if let Some(path) = &failure.log_path {
            error.set("logPath", path.to_string_lossy().into_owned())?;
        }
        Ok(Error::from(error.to_unknown()))
    };
    describe().unwrap_or_else(|error: Error| error)
}
