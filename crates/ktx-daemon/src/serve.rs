//! A daemon's life: it listens, tells its starter where, serves until it is
//! told to leave or nobody has needed it for long, and leaves nothing behind.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use ktx_os::process::Identity;
use ktx_protocol::endpoint::Endpoint;
use ktx_protocol::startup::{PUBLISHED, Ready, Token};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::call::MAX_OUTPUT;
use crate::error::Error;
use crate::household::Household;
use crate::interpreter::Interpreter;
use crate::listen::Listener;
use crate::service;
use crate::supervisor::{Settings, Supervisor};

/// How long a starter may take to write down where the daemon is.
const PUBLICATION: Duration = Duration::from_mins(1);

/// How long workers may take to end.
const FAREWELL: Duration = Duration::from_secs(8);

/// How long clients may take to read their last answers, and to let go of
/// their connections.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen: `unix:/absolute/path`, or an address and a port, 0
    /// for one that the system chooses
    #[arg(long, value_name = "ENDPOINT")]
    listen: Endpoint,
    /// File with the token that callers have to carry: 64 hexadecimal digits,
    /// readable by its owner only. Without it a new one is made
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificate chain (PEM), without which nothing but this machine is served
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Leave when nothing was run for so long; 0 is never
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    idle_timeout: u64,
    /// End sessions in which nothing was run for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    session_idle_timeout: u64,
    /// Calls that run at once; by default 4 for each processor and at least 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_concurrency: Option<u32>,
    /// Memory that each process of a call may take; by default half of the
    /// machine's
    #[arg(long, value_name = "BYTES")]
    max_memory: Option<u64>,
    /// Output that a call may write
    #[arg(long, value_name = "BYTES", default_value_t = MAX_OUTPUT)]
    max_output: u64,
    /// Log file, put aside at 10 MiB; by default standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Take an environment without a lease file for one that is being removed
    #[arg(long)]
    leased: bool,
    /// Go on in a session of its own, say on standard output where it listens,
    /// and wait for the word that others can know
    #[arg(long, hide = true)]
    detach: bool,
    /// What a detached process is started with
    #[arg(long, hide = true)]
    published: bool,
}

/// Serves with the interpreter of this program's environment.
pub fn run(
    options: &Options,
    executable: PathBuf,
    interpreter: Interpreter,
) -> Result<ExitCode, Error> {
    crate::channel::withhold_inherited();
    if options.detach {
        return detach(&executable).map_err(Error::system("start in the background"));
    }
    let identity = tls_identity(options)?;
    if !options.listen.is_local() && (identity.is_none() || options.token_file.is_none()) {
        return Err(Error::Exposed {
            endpoint: options.listen.to_string(),
        });
    }
    let token = token(options)?;
    // Before any Python starts: the interpreter finds whole packages or none.
    let _lease = interpreter.lease(options.leased)?;
    crate::log::start(options.log.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start"))?;
    let household =
        Household::new(executable, interpreter).map_err(Error::system("contain workers"))?;
    let status = runtime.block_on(serve(options, household, &token, identity));
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    status
}

async fn serve(
    options: &Options,
    household: Household,
    token: &Token,
    identity: Option<tonic::transport::Identity>,
) -> Result<ExitCode, Error> {
    let (listener, endpoint) = Listener::bind(&options.listen).await?;
    let _socket = Socket(endpoint.socket_path().map(Into::into));
    let supervisor = Supervisor::start(household, options.settings())
        .map_err(Error::system("start the first worker"))?;
    let serving = {
        let (supervisor, token) = (Arc::clone(&supervisor), token.clone());
        tokio::spawn(async move { service::serve(listener, supervisor, &token, identity).await })
    };
    crate::signals::watch(&supervisor.leaving)?;
    tracing::info!(%endpoint, pid = std::process::id(), "listening");
    announce(endpoint, token, options.token_file.is_none())?;
    let is_published = !options.published
        || tokio::select! {
            is_published = publication() => is_published,
            () = supervisor.leaving.cancelled() => true,
        };
    if is_published {
        if options.published {
            let_go_of_streams().map_err(Error::system("let go of the starter's streams"))?;
        }
        options.stay(&supervisor).await;
    } else {
        tracing::error!("the starter is gone before others could know of this daemon");
        supervisor.leaving.cancel();
    }
    let farewell = Arc::clone(&supervisor).leave();
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("a worker did not end in time");
    }
    match tokio::time::timeout(LAST_ANSWERS, serving).await {
        Ok(Ok(Err(error))) => tracing::error!(%error, "the server failed"),
        Ok(_) => {}
        Err(_) => tracing::info!("a client did not let go"),
    }
    tracing::info!("gone");
    Ok(if is_published {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Options {
    fn settings(&self) -> Settings {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = self.max_concurrency.map(|number| number as usize);
        Settings {
            max_concurrency: concurrency.unwrap_or((4 * processors).max(16)),
            max_memory: self.max_memory,
            max_output: self.max_output,
            session_idle: Duration::from_secs(self.session_idle_timeout),
        }
    }

    /// Waits until it is time to leave.
    async fn stay(&self, supervisor: &Supervisor) {
        let session_idle = Duration::from_secs(self.session_idle_timeout.max(1));
        let limit = Some(Duration::from_secs(self.idle_timeout)).filter(|limit| !limit.is_zero());
        loop {
            let idle = supervisor.idle().unwrap_or_default();
            let left = limit.map(|limit| limit.saturating_sub(idle));
            let has_sessions = !supervisor.sessions.list().is_empty();
            if left.is_some_and(|left| left.is_zero()) && !has_sessions {
                tracing::info!("nothing was run for {} s", self.idle_timeout);
                supervisor.leaving.cancel();
                return;
            }
            // What begins meanwhile expires later than what is there now.
            let wake = left
                .filter(|left| !left.is_zero())
                .map_or(session_idle, |left| left.min(session_idle));
            tokio::select! {
                () = supervisor.leaving.cancelled() => return,
                () = tokio::time::sleep(wake) => supervisor.expire_sessions(),
            }
        }
    }
}

/// Starts this program again, in a session of its own and as nobody's child,
/// so that its starter need not wait for it.
fn detach(executable: &std::path::Path) -> io::Result<ExitCode> {
    let mut command = Command::new(executable);
    let arguments = std::env::args_os().skip(1);
    command
        .args(arguments.filter(|argument| argument != "--detach"))
        .arg("--published");
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;

        command.current_dir("/");
        // SAFETY: the closure only makes a system call, which is safe after a
        // fork.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                Ok(())
            });
        }
    }
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt;

        use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS};

        command
            .current_dir(std::env::temp_dir())
            .creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    }
    command.spawn()?;
    Ok(ExitCode::SUCCESS)
}

/// Says where this daemon is.
fn announce(endpoint: Endpoint, token: &Token, shows_token: bool) -> Result<(), Error> {
    let identity = Identity::own().map_err(Error::system("identify this process"))?;
    let ready = Ready {
        pid: identity.pid,
        start_time: identity.start_time,
        endpoint,
        token: token.clone(),
    };
    let write = || -> io::Result<()> {
        let mut line = serde_json::to_value(&ready)?;
        if let Some(line) = line.as_object_mut().filter(|_| !shows_token) {
            line.remove("token");
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    };
    write().map_err(Error::system("say where the daemon listens"))
}

/// Waits for the starter to write down where this daemon is; returns whether
/// it did.
async fn publication() -> bool {
    let mut line = String::new();
    let mut input = BufReader::new(tokio::io::stdin());
    let read = tokio::time::timeout(PUBLICATION, input.read_line(&mut line)).await;
    matches!(read, Ok(Ok(_))) && line == PUBLISHED
}

/// Whoever started this waits for the end of the streams that it lent.
#[cfg(unix)]
fn let_go_of_streams() -> io::Result<()> {
    let null = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.file())?;
    rustix::stdio::dup2_stdout(null.file())?;
    rustix::stdio::dup2_stderr(null.file())?;
    Ok(())
}

/// The standard library keeps these handles for as long as the process lives.
#[cfg(windows)]
fn let_go_of_streams() -> io::Result<()> {
    use windows_sys::Win32::System::Console::{
        GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
    };

    for stream in [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE] {
        // SAFETY: the handle is this process's own and is used nowhere after
        // it was taken out of its place.
        unsafe {
            let handle = GetStdHandle(stream);
            if SetStdHandle(stream, std::ptr::null_mut()) == 0 {
                return Err(io::Error::last_os_error());
            }
            windows_sys::Win32::Foundation::CloseHandle(handle);
        }
    }
    Ok(())
}

/// The token of the file, or a new one.
fn token(options: &Options) -> Result<Token, Error> {
    let Some(path) = &options.token_file else {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)
            .map_err(|error| Error::system("make a token")(io::Error::other(error)))?;
        return Ok(Token::new(bits));
    };
    let invalid = |reason: String| Error::Setting {
        path: path.clone(),
        reason,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let metadata = fs_err::metadata(path).map_err(|error| invalid(error.to_string()))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(invalid("others may read it; run: chmod 600".to_owned()));
        }
    }
    let text = fs_err::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
    text.trim()
        .parse()
        .map_err(|error: ktx_protocol::startup::NotAToken| invalid(error.to_string()))
}

fn tls_identity(options: &Options) -> Result<Option<tonic::transport::Identity>, Error> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        fs_err::read(path).map_err(|error| Error::Setting {
            path: path.clone(),
            reason: error.to_string(),
        })
    };
    let (certificate, key) = (read(certificate)?, read(key)?);
    Ok(Some(tonic::transport::Identity::from_pem(certificate, key)))
}

/// A socket that is removed when nobody listens on it any more.
struct Socket(Option<PathBuf>);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs_err::remove_file(path);
        }
    }
}
