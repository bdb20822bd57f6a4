//! A daemon of a test's own, and clients of it.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ktx_protocol::ktx::v1;
use ktx_protocol::ktx::v1::execute_event::Event;
use ktx_protocol::ktx::v1::python_client::PythonClient;
use ktx_protocol::startup::{Ready, Token};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Request, Status, Streaming};

use crate::support::Environment;

/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test may take.
const BOUND: Duration = Duration::from_mins(1);

/// Starts a daemon with `options`, gives it to `test`, and ends it. Whatever
/// was done to it, it leaves nothing behind.
pub(crate) fn serve(options: &[&str], test: impl AsyncFnOnce(&mut Daemon)) {
    run(async {
        let mut daemon = Daemon::start(options).await;
        test(&mut daemon).await;
        daemon.leave().await;
    });
}

/// Runs a test to its end.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { tokio::time::timeout(BOUND, test).await };
    runtime.block_on(bounded).expect("the test ends in time");
    runtime.shutdown_background();
}

/// Where a daemon lives: its environment, and a directory of this user's alone
/// for all that it writes.
pub(crate) struct World {
    pub(crate) environment: Environment,
    directory: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            environment: Environment::with_packages(),
            directory: tempfile::tempdir().unwrap(),
        };
        for name in ["socket", "temporary"] {
            let path = world.path(name);
            std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("socket/daemon")
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Where everything temporary goes.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path("temporary")
    }

    pub(crate) fn log(&self) -> String {
        fs_err::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `ktx-daemon serve`, which is not told where to listen yet.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.environment.daemon());
        command
            .arg("serve")
            .arg("--log")
            .arg(self.path("log"))
            .env("TMPDIR", self.temporary())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0);
        command
    }

    /// Waits until no process is left that this world's daemon started, and no
    /// file that it made for them.
    pub(crate) async fn is_empty(&self) {
        eventually("all processes to end", || self.processes().is_empty()).await;
        let left = || fs_err::read_dir(self.temporary()).unwrap().count();
        eventually("temporary files to go", || left() == 0).await;
    }

    /// The processes that a daemon of this world is, or that come from one:
    /// their number and command. All inherit where their temporary files go.
    pub(crate) fn processes(&self) -> Vec<String> {
        let inherited = format!("TMPDIR={}\0", self.temporary().display());
        let inherited = inherited.as_bytes();
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc").into_iter().flatten().flatten() {
            let variables = fs_err::read(entry.path().join("environ")).unwrap_or_default();
            if variables
                .windows(inherited.len())
                .any(|part| part == inherited)
            {
                let command = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.push(format!("{} {command}", entry.file_name().display()));
            }
        }
        found
    }
}

/// A daemon that listens.
pub(crate) struct Daemon {
    pub(crate) world: World,
    pub(crate) process: Child,
    pub(crate) token: Token,
    /// A connection, for those that need no other.
    pub(crate) channel: Channel,
}

impl Daemon {
    async fn start(options: &[&str]) -> Self {
        Self::start_in(World::new(), options).await
    }

    pub(crate) async fn start_in(world: World, options: &[&str]) -> Self {
        let mut command = world.command();
        command.args(["--listen", &world.endpoint()]).args(options);
        let mut process = command.spawn().unwrap();
        let ready = ready::<Ready>(&mut process).await;
        assert_eq!(ready.endpoint.to_string(), world.endpoint());
        assert_eq!(Some(ready.pid), process.id());
        Self {
            channel: connect(&world.endpoint()).await,
            world,
            process,
            token: ready.token,
        }
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Channel {
        connect(&self.world.endpoint()).await
    }

    /// What carries the token.
    pub(crate) fn bearer(&self) -> Bearer {
        Bearer(format!("Bearer {}", self.token.as_str()))
    }

    pub(crate) fn client(&self) -> Client {
        client(self.channel.clone(), self.bearer())
    }

    /// What comes of `code` in a process of its own.
    pub(crate) async fn run(&self, code: &str) -> v1::ExecuteResponse {
        self.execute(request(code)).await.unwrap()
    }

    /// What comes of `request`.
    pub(crate) async fn execute(
        &self,
        request: v1::ExecuteRequest,
    ) -> Result<v1::ExecuteResponse, Status> {
        let response = self.client().execute(request).await?;
        Ok(response.into_inner())
    }

    /// A call whose output is read as it comes.
    pub(crate) async fn stream(&self, request: v1::ExecuteRequest) -> Output {
        Output::of(&mut self.client(), request).await
    }

    /// What the daemon says of itself.
    pub(crate) async fn status(&self) -> v1::StatusResponse {
        let response = self.client().status(v1::StatusRequest {}).await;
        response.unwrap().into_inner()
    }

    pub(crate) async fn cancel(&self, call_id: &str) -> bool {
        let call_id = call_id.to_owned();
        let response = self.client().cancel(v1::CancelRequest { call_id }).await;
        response.unwrap().into_inner().found
    }

    /// Sends a signal to the daemon itself.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let number = i32::try_from(self.process.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(number).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Waits for the end of the daemon.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("the daemon ends").unwrap()
    }

    /// Ends the daemon if it has not ended yet; it leaves nothing behind.
    async fn leave(mut self) {
        if self.process.try_wait().unwrap().is_none() {
            self.signal(rustix::process::Signal::TERM);
        }
        if self.ended().await.success() {
            assert!(!self.world.socket().exists());
        }
        self.world.is_empty().await;
    }
}

pub(crate) type Authenticated = InterceptedService<Channel, Bearer>;

pub(crate) type Client = PythonClient<Authenticated>;

/// What clients carry as `authorization`.
#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(&self.0).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub(crate) async fn connect(endpoint: &str) -> Channel {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

pub(crate) fn client(channel: Channel, bearer: Bearer) -> Client {
    PythonClient::with_interceptor(channel, bearer)
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX)
}

/// What a daemon says when it listens.
pub(crate) async fn ready<T: DeserializeOwned>(process: &mut Child) -> T {
    if let Some(said) = first_line(&mut process.stdout.take().unwrap()).await {
        return said;
    }
    let mut reason = String::new();
    let mut stderr = process.stderr.take().unwrap();
    stderr.read_to_string(&mut reason).await.unwrap();
    panic!("the daemon ended: {reason}");
}

/// The first line, which is JSON; `None` if there is none.
pub(crate) async fn first_line<T: DeserializeOwned>(stdout: &mut ChildStdout) -> Option<T> {
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let line = line.expect("the daemon speaks").unwrap()?;
    Some(serde_json::from_str(&line).unwrap())
}

/// A call of `code` in a process of its own.
pub(crate) fn request(code: impl Into<String>) -> v1::ExecuteRequest {
    v1::ExecuteRequest {
        code: code.into(),
        ..v1::ExecuteRequest::default()
    }
}

/// A call of `code` in the session `name`.
pub(crate) fn in_session(name: &str, code: impl Into<String>) -> v1::ExecuteRequest {
    v1::ExecuteRequest {
        session: name.to_owned(),
        ..request(code)
    }
}

/// The value of a call that succeeded.
pub(crate) fn value(response: &v1::ExecuteResponse) -> Value {
    assert!(response.success, "{response:?}");
    serde_json::from_slice(&response.value).unwrap()
}

/// The kind of failure of a call; `none` if it succeeded.
pub(crate) fn kind(response: &v1::ExecuteResponse) -> &str {
    let error = response.error.as_ref();
    assert_eq!(response.success, error.is_none());
    error.map_or("none", |error| &error.kind)
}

/// The message of a call's failure.
pub(crate) fn message(response: &v1::ExecuteResponse) -> &str {
    response.error.as_ref().map_or("", |error| &error.message)
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The output of a call, as it comes.
pub(crate) struct Output {
    events: Streaming<v1::ExecuteEvent>,
    /// What was written to standard output and not taken yet.
    pending: Vec<u8>,
}

impl Output {
    pub(crate) async fn of(
        client: &mut Client,
        request: impl IntoRequest<v1::ExecuteRequest>,
    ) -> Self {
        let events = client.execute_stream(request).await.unwrap().into_inner();
        Self {
            events,
            pending: Vec::new(),
        }
    }

    /// The next thing that comes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Status> {
        let event = tokio::time::timeout(2 * PATIENCE, self.events.message()).await;
        Ok(event
            .expect("something comes")?
            .and_then(|event| event.event))
    }

    /// The next line on standard output, which the code has written now.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return text(&line[..end]).to_owned();
            }
            match self.next().await.unwrap() {
                Some(Event::Stdout(bytes)) => self.pending.extend(bytes),
                other => panic!("no line but {other:?}"),
            }
        }
    }

    /// What else is written to standard output, and the outcome.
    pub(crate) async fn rest(&mut self) -> Result<(Vec<u8>, v1::ExecuteResponse), Status> {
        loop {
            match self.next().await? {
                Some(Event::Stdout(bytes)) => self.pending.extend(bytes),
                Some(Event::Stderr(_)) => {}
                Some(Event::Outcome(outcome)) => {
                    assert_eq!(self.next().await?, None);
                    return Ok((std::mem::take(&mut self.pending), outcome));
                }
                None => panic!("there is no outcome"),
            }
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    until(what, async || condition()).await;
}

/// Waits until `condition`, which has to be asked for, holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// `path` as Python writes it.
pub(crate) fn quoted(path: &Path) -> String {
    Value::from(path.to_str().unwrap()).to_string()
}
