//! How a daemon ends, and that nothing of it is left then.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ktx_protocol::protocol::Empty;
use ktx_protocol::protocol::domain_plugin_service_client::DomainPluginServiceClient;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::family::{Family, with_family};
use super::support::{Daemon, Output, in_session, kind, quoted, request, serve, until, value};

/// How long a daemon may take to leave that does what it is told.
const SOON: Duration = Duration::from_secs(4);

/// What a daemon is busy with: calls with families, one of them in a session,
/// a session that lies idle, and a call that waits.
struct Work {
    outputs: Vec<Output>,
    families: Vec<Family>,
    waiting: JoinHandle<Result<(), Status>>,
}

impl Work {
    async fn of(daemon: &Daemon) -> Self {
        let mut outputs = Vec::new();
        let mut families = Vec::new();
        let busy = "if upstream is None: time.sleep(600)";
        for (session, upstream) in [("", "null"), ("busy", "null"), ("idle", "1")] {
            let mut call = in_session(session, with_family(busy));
            call.upstream = Some(upstream.into());
            let mut output = daemon.stream(call).await;
            families.push(Family::of(&mut output).await);
            outputs.push(output);
        }
        let mut client = daemon.client();
        let call = in_session("busy", "1");
        let waiting = tokio::spawn(async move { client.execute(call).await.map(drop) });
        until("all to be there", async || daemon.status().await.calls == 4).await;
        let idle = outputs.pop().unwrap().rest().await.unwrap();
        assert_eq!(kind(&idle.1), "none");
        assert!(families.iter().all(Family::is_whole));
        Self {
            outputs,
            families,
            waiting,
        }
    }

    /// Its callers are told, and nothing of it is left.
    async fn expect_end(self) {
        for mut output in self.outputs {
            let code = output.rest().await.unwrap_err().code();
            assert!(
                [Code::Cancelled, Code::Unavailable, Code::Unknown].contains(&code),
                "{code}"
            );
        }
        assert!(self.waiting.await.unwrap().is_err());
        assert!(self.families.iter().all(Family::is_gone));
    }
}

#[test]
fn leaves_nothing_when_it_is_told_to_end() {
    for signal in [None, Some(Signal::TERM), Some(Signal::INT)] {
        serve(&[], async |daemon| {
            let work = Work::of(daemon).await;
            let started = Instant::now();
            if let Some(signal) = signal {
                daemon.signal(signal);
            } else {
                let channel = daemon.connect().await;
                let mut plugin =
                    DomainPluginServiceClient::with_interceptor(channel, daemon.bearer());
                plugin.shutdown(Empty {}).await.unwrap();
            }
            assert_eq!(daemon.ended().await.code(), Some(0));
            assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
            assert!(!daemon.world.socket().exists());
            assert_eq!(daemon.world.processes(), [""; 0]);
            work.expect_end().await;
        });
    }
}

#[test]
fn runs_the_exit_handlers_of_idle_sessions() {
    serve(&[], async |daemon| {
        let left = daemon.world.path("left");
        let code = format!(
            "import atexit, os; atexit.register(os.mkdir, {})",
            quoted(&left)
        );
        daemon.execute(in_session("s", code)).await.unwrap();
        daemon.signal(Signal::TERM);
        daemon.ended().await;
        assert!(left.exists());
    });
}

#[test]
fn waits_for_no_client_that_does_not_answer() {
    serve(&[], async |daemon| {
        let silent = UnixStream::connect(daemon.world.socket()).unwrap();
        // One that has begun to speak HTTP/2, and never answers.
        let mut deaf = UnixStream::connect(daemon.world.socket()).unwrap();
        deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .unwrap();
        assert!(deaf.read(&mut [0; 9]).unwrap() > 0);
        assert_eq!(value(&daemon.run("1").await), 1);
        let started = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().await.code(), Some(0));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        drop((silent, deaf));
    });
}

#[test]
fn waits_for_no_reader_that_does_not_read() {
    serve(&[], async |daemon| {
        let code = "import os\nwhile True: os.write(1, b'x' * 65536)";
        let unread = daemon.stream(request(code)).await;
        until("it to run", async || daemon.status().await.running == 1).await;
        let started = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().await.code(), Some(0));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        drop(unread);
    });
}

#[test]
fn takes_everything_along_when_it_is_killed() {
    serve(&[], async |daemon| {
        let work = Work::of(daemon).await;
        let started = Instant::now();
        daemon.signal(Signal::KILL);
        assert_eq!(daemon.ended().await.code(), None);
        daemon.world.is_empty().await;
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        work.expect_end().await;
    });
}

#[test]
fn takes_everything_along_when_it_is_killed_and_its_children_are_stopped() {
    serve(&[], async |daemon| {
        let code = "import os, time\n\
                    print(os.getpid(), flush=True)\n\
                    if os.fork() == 0: os.setsid()\n\
                    os.kill(os.getpid(), 19)";
        let mut output = daemon.stream(request(code)).await;
        output.line().await;
        daemon.signal(Signal::KILL);
        daemon.world.is_empty().await;
    });
}

#[test]
fn leaves_when_nobody_has_needed_it_for_long() {
    serve(
        &["--idle-timeout", "1", "--session-idle-timeout", "1"],
        async |daemon| {
            let started = Instant::now();
            // Neither while a call runs nor while a session is open.
            let call = in_session("s", "import time; time.sleep(1.5); 'done'");
            assert_eq!(value(&daemon.execute(call).await.unwrap()), "done");
            assert_eq!(daemon.ended().await.code(), Some(0));
            assert!(started.elapsed() > Duration::from_millis(2500));
            assert!(!daemon.world.socket().exists());
        },
    );
}

#[test]
fn stays_when_it_is_never_to_leave() {
    serve(&["--idle-timeout", "0"], async |daemon| {
        let code = "import time; time.sleep(1.2)";
        daemon.run(code).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(daemon.process.try_wait().unwrap(), None);
        assert_eq!(value(&daemon.run("1").await), 1);
    });
}
