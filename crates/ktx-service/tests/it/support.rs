//! A runtime root and an environment of a test's own, what asks daemons, and
//! what is seen of their processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fs_err as fs;
use ktx_os::environment::Environment;
use ktx_os::process::Identity;
use ktx_protocol::endpoint::is_socket_name;
use ktx_protocol::protocol::Empty;
use ktx_protocol::protocol::domain_plugin_service_client::DomainPluginServiceClient;
use ktx_service::{
    Daemons, Dialer, Installation, Look, Place, Scope, ServiceError, Settings, Start, Started,
    Status, Stop, Stopped,
};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, metadata::MetadataValue};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::packages::install_msgpack;

/// How long anything may take that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The version that the world's environment is of.
pub(crate) const VERSION: &str = "0.1.0";

/// One test's world. Every process that it started is gone when it is dropped.
pub(crate) struct World {
    directory: PathBuf,
    /// Removes the directory; another process's if there is none.
    owned: Option<TempDir>,
    pub(crate) environment: Environment,
}

impl World {
    /// A world in which `ktx-daemon` can run.
    pub(crate) fn new() -> Self {
        let world = Self::without_python();
        let root = world.root();
        let made = Command::new("python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&root)
            .status()
            .unwrap();
        assert!(made.success());
        // Copied by another process: while this one has a program open for
        // writing, a test on another thread that forks would keep it so.
        copy(daemon(), &root.join("bin/ktx-daemon"));
        let lib = root.join("lib");
        let site_packages = first_in(&lib).join("site-packages");
        copy(
            &workspace().join("python/ktx_daemon"),
            &site_packages.join("ktx_daemon"),
        );
        install_msgpack(&root.join("bin/python"));
        fs::write(root.join(".ktx-lease"), "").unwrap();
        world
    }

    /// A world with a program in place of `ktx-daemon`.
    pub(crate) fn with_fake(script: &str) -> Self {
        let world = Self::without_python();
        world.replace_daemon(script);
        world
    }

    fn without_python() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("temporary")).unwrap();
        let mut world = Self::at(directory.path());
        world.owned = Some(directory);
        world
    }

    /// The world of another process.
    pub(crate) fn at(directory: &Path) -> Self {
        let mut environment = Environment::default();
        environment.set("PATH", "/usr/bin:/bin");
        let temporary = directory.join("temporary");
        environment.set("TMPDIR", temporary.to_str().unwrap());
        Self {
            directory: directory.to_owned(),
            owned: None,
            environment,
        }
    }

    /// Puts a shell script in the place of `ktx-daemon`.
    pub(crate) fn replace_daemon(&self, script: &str) {
        let path = self.root().join("bin/ktx-daemon");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let source = self.path("script");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(&source, &path).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The environment's directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("an environment")
    }

    pub(crate) fn installation(&self) -> Installation {
        Installation {
            version: VERSION.to_owned(),
            wheel_sha256: "ab".repeat(32),
            features: vec!["core".to_owned()],
            environment: self.root(),
            executable: self.root().join("bin/ktx-daemon"),
        }
    }

    pub(crate) fn daemons(&self) -> Daemons {
        Daemons {
            directory: self.path("runtime/daemons"),
            place: |directory, key| {
                let own = directory.join(key);
                Place {
                    state_path: own.join("daemon.json"),
                    log_path: own.join("daemon.log"),
                    version_path: own.join("version"),
                    lock_path: directory.join(format!("{key}.lock")),
                    directory: own,
                }
            },
        }
    }

    /// What starts the user's daemon.
    pub(crate) fn starter(&self) -> Start {
        Start {
            daemons: self.daemons(),
            scope: Scope::User,
            force: false,
            settings: Settings::default(),
            environment: self.environment.clone(),
            dialer: Box::new(Grpc),
            cancellation: CancellationToken::new(),
        }
    }

    pub(crate) fn start_with(&self, start: &Start) -> Result<Started, ServiceError> {
        ktx_service::start(start, || Ok(self.installation()))
    }

    pub(crate) fn start(&self) -> Started {
        self.start_with(&self.starter()).unwrap()
    }

    pub(crate) fn stopper(&self) -> Stop {
        Stop {
            daemons: self.daemons(),
            dialer: Box::new(Grpc),
        }
    }

    pub(crate) fn stop(&self) -> Vec<Stopped> {
        ktx_service::stop(&self.stopper(), VERSION, &Scope::User).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        ktx_service::status(&Look {
            daemons: &self.daemons(),
            version: VERSION,
            scope: &Scope::User,
            installation: Some(&self.installation()),
            dialer: Some(&Grpc),
        })
        .unwrap()
    }

    /// `text` without what differs from run to run.
    pub(crate) fn filtered(&self, text: &str) -> String {
        text.replace(self.directory.to_str().unwrap(), "[world]")
    }

    /// The processes that a daemon of this world is, or that come from one:
    /// all inherit where their temporary files go.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let inherited = format!("TMPDIR={}\0", self.path("temporary").display());
        let inherited = inherited.as_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let variables = fs::read(entry.path().join("environ")).unwrap_or_default();
            let is_ours = variables
                .windows(inherited.len())
                .any(|part| part == inherited);
            if is_ours && let Ok(number) = entry.file_name().to_str().unwrap().parse() {
                found.extend(Pid::from_raw(number));
            }
        }
        found
    }

    /// Waits until no process is left.
    pub(crate) fn is_empty(&self) {
        eventually("all processes to end", || self.processes().is_empty());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.owned.is_none() {
            return;
        }
        // What a test leaves running is its own, for it knows of this world.
        for process in self.processes() {
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
    }
}

/// Asks daemons over gRPC.
pub(crate) struct Grpc;

/// Runs a call to its end. The connection ends with the runtime.
fn ask(bound: Duration, call: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let call = async { tokio::time::timeout(bound, call).await };
    runtime
        .block_on(call)
        .unwrap_or_else(|_| Err("no answer".to_owned()))
}

async fn connect(endpoint: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| error.to_string())?;
    endpoint
        .connect()
        .await
        .map_err(|error| format!("{error:?}"))
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

impl Dialer for Grpc {
    fn health(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String> {
        ask(bound, async {
            let mut client = HealthClient::new(connect(endpoint).await?);
            let request = with_token(token, HealthCheckRequest::default());
            let reply = client.check(request).await;
            let reply = reply.map_err(|status| status.to_string())?;
            if reply.into_inner().status == 1 {
                Ok(())
            } else {
                Err("it does not serve".to_owned())
            }
        })
    }

    fn shutdown(&self, endpoint: &str, token: &str, bound: Duration) -> Result<(), String> {
        ask(bound, async {
            let mut client = DomainPluginServiceClient::new(connect(endpoint).await?);
            let reply = client.shutdown(with_token(token, Empty {})).await;
            reply.map(drop).map_err(|status| status.to_string())
        })
    }
}

/// Answers for a daemon that speaks no gRPC: healthy, and never shut down.
pub(crate) struct Unheard;

impl Dialer for Unheard {
    fn health(&self, _: &str, _: &str, _: Duration) -> Result<(), String> {
        Ok(())
    }

    fn shutdown(&self, _: &str, _: &str, _: Duration) -> Result<(), String> {
        Err("nobody listens".to_owned())
    }
}

/// A daemon that speaks the handshake and nothing else, hears no request to
/// end, and has a companion in its group that does not either.
pub(crate) const DEAF: &str = r#"
if [ "$1" = serve ]; then
    exec 3<&0
    setsid "$0" run "$3" <&3 3<&- &
    exit 0
fi
trap '' TERM
start=$(cut -d ' ' -f 22 /proc/$$/stat)
token=$(printf 'ab%.0s' $(seq 32))
(exec sleep 1000) <&- >&- 2>&- &
echo '{"pid":'$$',"startTime":'$start',"endpoint":"'$2'","token":"'$token'"}'
read published || exit 0
exec >&- 2>&- <&-
wait
"#;

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn is_alive(pid: u32) -> bool {
    Identity::of(pid).unwrap().is_some()
}

/// The names in a directory, in order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// How many sockets there are in a directory.
pub(crate) fn sockets(directory: &Path) -> usize {
    let names = names(directory);
    let is_socket = |name: &&String| is_socket_name(name.as_ref());
    names.iter().filter(is_socket).count()
}

/// The built `ktx-daemon`, or the one that `KTX_TEST_DAEMON` names.
fn daemon() -> &'static Path {
    static DAEMON: OnceLock<PathBuf> = OnceLock::new();
    DAEMON.get_or_init(|| {
        if let Some(path) = std::env::var_os("KTX_TEST_DAEMON") {
            return path.into();
        }
        let own = std::env::current_exe().unwrap();
        let profile_dir = own.ancestors().nth(2).unwrap();
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "ktx-daemon",
                "--target-dir",
            ])
            .arg(profile_dir.parent().unwrap())
            .current_dir(workspace())
            .status()
            .unwrap();
        assert!(built.success());
        profile_dir.join("ktx-daemon")
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn first_in(directory: &Path) -> PathBuf {
    directory.join(names(directory).into_iter().next().unwrap())
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-R").args([from, to]).status();
    assert!(copied.unwrap().success());
}
