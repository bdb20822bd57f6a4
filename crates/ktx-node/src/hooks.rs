//! What JavaScript hands in to be called: progress, a replaced executor, and
//! the means to cancel.

use std::sync::Arc;

use async_trait::async_trait;
use ktx_env::Event;
use ktx_os::command::{Command, CommandError, Executor, Lines, Output, System};
use napi::Status;
use napi::bindgen_prelude::{ClassInstance, Promise};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use tokio_util::sync::CancellationToken;

use crate::convert::{ExecReply, ExecRequest, ProgressEvent};

type OnProgress = ThreadsafeFunction<ProgressEvent, (), ProgressEvent, Status, false, true>;
type Exec = ThreadsafeFunction<ExecRequest, Promise<ExecReply>, ExecRequest, Status, false>;

/// Callbacks of an operation.
#[napi(object, object_to_js = false)]
pub struct Hooks<'a> {
    /// Told of every event. Must not throw.
    #[napi(ts_type = "(event: ProgressEvent) => void")]
    pub on_progress: Option<OnProgress>,
    /// Runs commands in place of the system. Must neither throw nor reject.
    #[napi(ts_type = "(request: ExecRequest) => Promise<ExecReply>")]
    pub exec: Option<Exec>,
    /// Ends the operation early.
    #[napi(ts_type = "Cancellation")]
    pub cancellation: Option<ClassInstance<'a, Cancellation>>,
}

/// Ends the operations that it is handed to.
#[napi]
#[derive(Default)]
pub struct Cancellation {
    pub(crate) token: CancellationToken,
}

#[napi]
impl Cancellation {
    /// One that is not cancelled.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the operations; what they began is undone before they settle.
    #[napi]
    pub fn cancel(&self) {
        self.token.cancel();
    }
}

/// What an operation works with.
pub(crate) struct Means {
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) listener: Arc<dyn Fn(Event) + Send + Sync>,
    pub(crate) cancellation: CancellationToken,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            executor: Arc::new(System),
            listener: Arc::new(|_| {}),
            cancellation: CancellationToken::new(),
        }
    }
}

impl From<Hooks<'_>> for Means {
    fn from(hooks: Hooks<'_>) -> Self {
        let mut means = Self::default();
        if let Some(on_progress) = hooks.on_progress {
            means.listener = Arc::new(move |event: Event| {
                // An environment that is going away hears no more events.
                let _ = on_progress.call(event.into(), ThreadsafeFunctionCallMode::NonBlocking);
            });
        }
        if let Some(exec) = hooks.exec {
            let thread = THREAD.with(|thread| thread.0.clone());
            means.executor = Arc::new(Replaced { exec, thread });
        }
        if let Some(cancellation) = hooks.cancellation {
            means.cancellation = cancellation.token.clone();
        }
        means
    }
}

thread_local! {
    static THREAD: Thread = Thread(CancellationToken::new());
}

/// A thread of JavaScript, which ends with everything that was to run on it. What napi had not
/// called by then is never answered, not even with an error.
struct Thread(CancellationToken);

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Commands run by a function of the caller.
struct Replaced {
    exec: Exec,
    /// Cancelled when the thread of that function has ended.
    thread: CancellationToken,
}

#[async_trait]
impl Executor for Replaced {
    async fn run(
        &self,
        command: &Command,
        cancellation: &CancellationToken,
        line: &Lines<'_>,
    ) -> Result<Output, CommandError> {
        let program = || command.program.clone();
        let request = ExecRequest {
            command: program(),
            args: command.arguments.clone(),
            cwd: command
                .directory
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned()),
            env: command
                .environment
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        let reply = async { self.exec.call_async_catch(request).await?.await };
        let reply = tokio::select! {
            reply = reply => reply,
            () = tokio::time::sleep(command.timeout) => return Err(CommandError::Timeout {
                program: program(),
                seconds: command.timeout.as_secs(),
                output: Output::default(),
            }),
            () = cancellation.cancelled() => return Err(CommandError::Cancelled { program: program() }),
            () = self.thread.cancelled() => return Err(CommandError::Cancelled { program: program() }),
        };
        let failed = |reason: String, output| CommandError::Failed {
            program: program(),
            reason,
            output,
        };
        match reply {
            Ok(reply) => {
                reply.stderr.lines().for_each(line);
                let output = Output {
                    stdout: reply.stdout,
                    stderr: reply.stderr,
                };
                if reply.ok {
                    Ok(output)
                } else {
                    Err(failed(reply.message.unwrap_or_default(), output))
                }
            }
            Err(error) => Err(failed(error.reason.clone(), Output::default())),
        }
    }
}
