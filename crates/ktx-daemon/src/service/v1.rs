//! `ktx.v1.Python`: output as it comes, sessions and cancellation.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use ktx_protocol::ktx::v1;
use ktx_protocol::ktx::v1::execute_event::Event;
use ktx_protocol::ktx::v1::python_server::Python;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::{cancelled, on_drop, status, too_late};
use crate::call::{self, Chunk, Ended, Sink};
use crate::outcome::Outcome;
use crate::request::{self, Form};
use crate::session::Description;
use crate::supervisor::{Order, Supervisor, Target};

/// Pieces of output on their way to a client before the code has to wait.
const PIECES: usize = 8;

/// The digits that gRPC allows for a number of seconds, or other units.
const MAX_DIGITS: usize = 8;

/// The longest name of a session, in characters.
const MAX_NAME: usize = 128;

pub(crate) struct V1(pub(crate) Arc<Supervisor>);

#[tonic::async_trait]
impl Python for V1 {
    async fn execute(
        &self,
        request: Request<v1::ExecuteRequest>,
    ) -> Result<Response<v1::ExecuteResponse>, Status> {
        let (cancellation, _dropped) = on_drop();
        let order = order(request.into_inner(), Sink::Outcome, cancellation)?;
        match self.0.execute(order).await.map_err(|why| status(&why))? {
            Ended::Outcome(outcome) => Ok(Response::new(response(outcome))),
            Ended::Cancelled => Err(cancelled()),
        }
    }

    type ExecuteStreamStream =
        Pin<Box<dyn Stream<Item = Result<v1::ExecuteEvent, Status>> + Send + 'static>>;

    async fn execute_stream(
        &self,
        request: Request<v1::ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let (sender, chunks) = mpsc::channel(PIECES);
        let (cancellation, dropped) = on_drop();
        let left = time_left(request.metadata());
        let end = cancellation.clone();
        let order = order(request.into_inner(), Sink::Reader(sender), cancellation)?;
        order
            .request
            .validate()
            .map_err(|error| status(&error.into()))?;
        let supervisor = Arc::clone(&self.0);
        let (last, outcome) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut running = pin!(supervisor.execute(order));
            let (ended, is_late) = tokio::select! {
                ended = &mut running => (ended, false),
                () = sleep(left.unwrap_or_default()), if left.is_some() => {
                    end.cancel();
                    (running.await, true)
                }
            };
            let event = match ended {
                Ok(Ended::Outcome(mut outcome)) => {
                    for chunk in std::mem::take(&mut outcome.unread) {
                        let _ = last.send(Ok(output(chunk))).await;
                    }
                    Ok(Event::Outcome(response(outcome)))
                }
                Ok(Ended::Cancelled) if is_late => Err(too_late()),
                Ok(Ended::Cancelled) => Err(cancelled()),
                Err(why) => Err(status(&why)),
            };
            // Nobody may be listening any more.
            let _ = last.send(event).await;
        });
        let events = ReceiverStream::new(chunks)
            .map(|chunk| Ok(output(chunk)))
            .chain(ReceiverStream::new(outcome))
            .map(move |event| {
                // The end of the stream is the end of what keeps the call.
                let _ = &dropped;
                event.map(|event| v1::ExecuteEvent { event: Some(event) })
            });
        Ok(Response::new(Box::pin(events)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let found = self.0.cancel(&request.into_inner().call_id);
        Ok(Response::new(v1::CancelResponse { found }))
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        let name = match request.into_inner().name {
            name if name.is_empty() => None,
            name => Some(checked_name(name)?),
        };
        let opened = self.0.open_session(name.as_deref(), None).await;
        let (session, created) = opened.map_err(|why| status(&why))?;
        Ok(Response::new(described(session.describe(), created)))
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        let v1::CloseSessionRequest { name, id } = request.into_inner();
        let id = Some(id).filter(|id| !id.is_empty());
        let found = self.0.sessions.close(&name, id.as_deref()).await;
        Ok(Response::new(v1::CloseSessionResponse { found }))
    }

    async fn list_sessions(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let sessions = self.0.sessions.list().into_iter();
        let sessions = sessions.map(|session| described(session, false)).collect();
        Ok(Response::new(v1::ListSessionsResponse { sessions }))
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let statistics = self.0.statistics();
        let sessions = self.0.sessions.list().len();
        Ok(Response::new(v1::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            running: statistics.running,
            waiting: statistics.waiting,
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            calls: statistics.calls,
            uptime_seconds: statistics.uptime.as_secs(),
        }))
    }
}

/// How long a call may take whose answer is a stream: the server sees to the
/// time of those that are answered at once, and of the first word of others.
fn time_left(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > MAX_DIGITS {
        return None;
    }
    let number = number.parse().ok()?;
    let seconds = |each: u64| Some(Duration::from_secs(number * each));
    match unit {
        "H" => seconds(3600),
        "M" => seconds(60),
        "S" => seconds(1),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn order(
    request: v1::ExecuteRequest,
    sink: Sink,
    cancellation: CancellationToken,
) -> Result<Order, Status> {
    let session = if request.session.is_empty() {
        if !request.session_id.is_empty() {
            return Err(Status::invalid_argument("`session_id` without `session`"));
        }
        None
    } else {
        Some(Target {
            name: checked_name(request.session)?,
            id: Some(request.session_id).filter(|id| !id.is_empty()),
        })
    };
    let upstream_form = form(request.upstream_form)?;
    if upstream_form == Form::Repr {
        return Err(Status::invalid_argument(
            "`upstream_form` cannot be FORM_REPR",
        ));
    }
    let cwd = request.cwd.map(std::path::PathBuf::from);
    if cwd.as_ref().is_some_and(|cwd| !cwd.is_absolute()) {
        return Err(Status::invalid_argument("`cwd` is not an absolute path"));
    }
    Ok(Order {
        request: request::Request {
            code: request.code,
            upstream: request.upstream.map(|bytes| (upstream_form, bytes)),
            timeout: request.timeout_ms.map(Duration::from_millis),
            cwd,
            args: request.args,
            env: request.env.into_iter().collect(),
            filename: request.filename,
            form: form(request.form)?,
            max_output: request.max_output_bytes,
            max_memory: request.max_memory_bytes,
        },
        session,
        call_id: request.call_id,
        sink,
        cancellation,
    })
}

fn form(number: i32) -> Result<Form, Status> {
    match v1::Form::try_from(number) {
        Ok(v1::Form::Json) => Ok(Form::Json),
        Ok(v1::Form::Msgpack) => Ok(Form::Msgpack),
        Ok(v1::Form::Repr) => Ok(Form::Repr),
        Err(_) => Err(Status::invalid_argument(format!(
            "There is no form {number}"
        ))),
    }
}

fn checked_name(name: String) -> Result<String, Status> {
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "A session's name has 1 to {MAX_NAME} characters that can be shown"
        )));
    }
    Ok(name)
}

fn described(session: Description, created: bool) -> v1::Session {
    v1::Session {
        name: session.name,
        id: session.id,
        created,
        calls: session.calls,
        busy: session.busy,
    }
}

fn output(Chunk { stream, bytes }: Chunk) -> Event {
    match stream {
        call::Stream::Stdout => Event::Stdout(bytes),
        call::Stream::Stderr => Event::Stderr(bytes),
    }
}

fn response(outcome: Outcome) -> v1::ExecuteResponse {
    let (value, error) = match outcome.result {
        Ok(value) => (value, None),
        Err(failure) => (
            Vec::new(),
            Some(v1::Failure {
                kind: failure.kind.as_str().to_owned(),
                message: failure.message,
                traceback: failure.traceback.unwrap_or_default(),
                exit_status: failure.exit_status,
                signal: failure.signal,
            }),
        ),
    };
    v1::ExecuteResponse {
        success: error.is_none(),
        value,
        stdout: outcome.stdout,
        stderr: outcome.stderr,
        error,
        duration_ms: outcome.duration_ms,
        output_truncated: outcome.output_truncated,
    }
}
