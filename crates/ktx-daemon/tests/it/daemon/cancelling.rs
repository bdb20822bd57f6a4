//! Calls that take too long, or that nobody waits for any more: Python and all
//! that it started are gone then.

use std::time::{Duration, Instant};

use ktx_protocol::ktx::v1;
use tonic::{Code, Request};

use super::family::{Family, with_family};
use super::support::{
    Daemon, Output, PATIENCE, World, client, connect, eventually, in_session, kind, message,
    quoted, request, serve, text, until, value,
};

/// A call that tells of its family in a file and sleeps.
struct Sleeper {
    told: std::path::PathBuf,
}

impl Sleeper {
    fn new(world: &World) -> Self {
        Self {
            told: world.path("told"),
        }
    }

    fn request(&self) -> v1::ExecuteRequest {
        let tell = format!(
            "import sys\n\
             class Tee:\n\
             \x20   def write(self, text): open({}, 'a').write(text)\n\
             \x20   def flush(self): pass\n\
             sys.stdout = Tee()\n",
            quoted(&self.told)
        );
        request(tell + &with_family("time.sleep(600)"))
    }

    /// Its family, when it sleeps.
    async fn family(&self) -> Family {
        let told = || fs_err::read_to_string(&self.told).unwrap_or_default();
        eventually("the code to run", || told().ends_with('\n')).await;
        let told = told();
        fs_err::remove_file(&self.told).unwrap();
        Family::named(&told)
    }
}

/// The family ends soon, and the daemon has nothing to do any more.
async fn expect_end(daemon: &Daemon, family: &Family) {
    eventually("the family to end", || family.is_gone()).await;
    until("the call to end", async || {
        daemon.status().await.running == 0
    })
    .await;
    assert_eq!(value(&daemon.run("1").await), 1);
}

#[test]
fn ends_code_at_its_timeout_and_keeps_its_output() {
    serve(&[], async |daemon| {
        for code in [
            "print('partial', end='')\nwhile True: pass",
            "import sys, time\nsys.stdout.write('partial')\ntime.sleep(600)",
            "import ctypes, os\nos.write(1, b'partial')\nctypes.PyDLL(None).sleep(600)",
            "import signal, time\n\
             for n in (2, 15): signal.signal(n, signal.SIG_IGN)\n\
             print('partial', end='')\ntime.sleep(600)",
            "import atexit, time\natexit.register(time.sleep, 600)\nprint('partial', end='')",
            "import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()\n\
             print('partial', end='')",
            "import os\nos.write(1, b'partial')\nos.kill(os.getpid(), 19)",
            "print('partial', end='', flush=True)\nprint(10 ** 10 ** 10)",
        ] {
            for session in ["", "s"] {
                let call = v1::ExecuteRequest {
                    timeout_ms: Some(250),
                    ..in_session(session, code)
                };
                // A session does not wait for threads and exit handlers.
                if !session.is_empty() && (code.contains("atexit") || code.contains("threading")) {
                    continue;
                }
                let started = Instant::now();
                let ended = daemon.execute(call).await.unwrap();
                assert!(started.elapsed() < PATIENCE);
                assert_eq!(kind(&ended), "timeout", "{code}");
                assert_eq!(message(&ended), "The code ran longer than 250 ms");
                assert_eq!(text(&ended.stdout), "partial", "{code}");
                assert!(
                    (250.0..5000.0).contains(&ended.duration_ms),
                    "{}",
                    ended.duration_ms
                );
            }
        }
    });
}

#[test]
fn cancels_a_call_by_its_id() {
    serve(&[], async |daemon| {
        let sleeper = Sleeper::new(&daemon.world);
        for session in ["", "s"] {
            let call = v1::ExecuteRequest {
                call_id: "call".to_owned(),
                session: session.to_owned(),
                ..sleeper.request()
            };
            let mut client = daemon.client();
            let running = tokio::spawn(async move { client.execute(call).await });
            let family = sleeper.family().await;

            let twin = v1::ExecuteRequest {
                call_id: "call".to_owned(),
                ..request("1")
            };
            let refused = daemon.execute(twin.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Code::AlreadyExists);
            assert!(!daemon.cancel("another").await);
            assert!(family.is_whole());

            assert!(daemon.cancel("call").await);
            let cancelled = running.await.unwrap().unwrap_err();
            assert_eq!(cancelled.code(), Code::Cancelled);
            assert!(family.is_gone());
            assert!(!daemon.cancel("call").await);
            assert_eq!(value(&daemon.execute(twin).await.unwrap()), 1);
        }
        assert_eq!(daemon.status().await.sessions, 0);
    });
}

#[test]
fn cancels_a_call_that_waits() {
    serve(&["--max-concurrency", "1"], async |daemon| {
        let mut busy = daemon
            .stream(request("print(1)\nimport time\ntime.sleep(600)"))
            .await;
        busy.line().await;
        let ran = daemon.world.path("ran");
        for session in ["", "s"] {
            let call = v1::ExecuteRequest {
                call_id: "waiting".to_owned(),
                ..in_session(session, format!("open({}, 'w')", quoted(&ran)))
            };
            let mut client = daemon.client();
            let waiting = tokio::spawn(async move { client.execute(call).await });
            until("it to wait", async || daemon.status().await.waiting == 1).await;
            assert!(daemon.cancel("waiting").await);
            assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::Cancelled);
            assert_eq!(daemon.status().await.waiting, 0);
        }
        drop(busy);
        until("the other to end", async || {
            daemon.status().await.running == 0
        })
        .await;
        assert_eq!(value(&daemon.run("1").await), 1);
        assert!(!ran.exists());
    });
}

#[test]
fn ends_a_call_that_its_client_gives_up() {
    serve(&[], async |daemon| {
        let sleeper = Sleeper::new(&daemon.world);
        for session in ["", "s"] {
            let call = v1::ExecuteRequest {
                session: session.to_owned(),
                ..sleeper.request()
            };
            let mut client = daemon.client();
            let running = tokio::spawn(async move { client.execute(call).await });
            let family = sleeper.family().await;
            running.abort();
            expect_end(daemon, &family).await;
        }
    });
}

#[test]
fn ends_the_calls_of_a_client_that_is_gone() {
    serve(&[], async |daemon| {
        let sleeper = Sleeper::new(&daemon.world);
        // All of its tasks vanish at once, and say good-bye to nobody.
        let life = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let (endpoint, bearer) = (daemon.world.endpoint(), daemon.bearer());
        let call = sleeper.request();
        life.spawn(async move {
            let mut client = client(connect(&endpoint).await, bearer);
            let mut other = client.clone();
            let waiting = other.execute_stream(in_session("s", "import time; time.sleep(600)"));
            let (done, waiting) = tokio::join!(client.execute(call), waiting);
            panic!("{done:?} {waiting:?}");
        });
        let family = sleeper.family().await;
        until("both to run", async || daemon.status().await.running == 2).await;
        life.shutdown_background();
        expect_end(daemon, &family).await;
    });
}

#[test]
fn ends_a_call_at_the_deadline_of_its_client() {
    serve(&[], async |daemon| {
        let sleeper = Sleeper::new(&daemon.world);
        let mut call = Request::new(sleeper.request());
        call.set_timeout(Duration::from_millis(700));
        let mut client = daemon.client();
        let running = tokio::spawn(async move { client.execute(call).await });
        let family = sleeper.family().await;
        let code = running.await.unwrap().unwrap_err().code();
        assert!(
            [Code::DeadlineExceeded, Code::Cancelled].contains(&code),
            "{code}"
        );
        expect_end(daemon, &family).await;
    });
}

#[test]
fn ends_a_streamed_call_at_the_deadline_of_its_client() {
    serve(&[], async |daemon| {
        for session in ["", "s"] {
            let mut call = Request::new(in_session(session, with_family("time.sleep(600)")));
            call.set_timeout(Duration::from_secs(2));
            let mut output = Output::of(&mut daemon.client(), call).await;
            let family = Family::of(&mut output).await;
            let late = output.rest().await.unwrap_err();
            assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
            expect_end(daemon, &family).await;
        }
        // The time is the client's, and none where nobody reads it.
        for time in ["5S", "99999999H", "x", ""] {
            let mut call = Request::new(request("'done'"));
            call.metadata_mut()
                .insert("grpc-timeout", time.parse().unwrap());
            let mut output = Output::of(&mut daemon.client(), call).await;
            assert_eq!(value(&output.rest().await.unwrap().1), "done", "{time}");
        }
    });
}

#[test]
fn a_call_that_is_over_cannot_be_cancelled() {
    serve(&[], async |daemon| {
        for number in 0..20 {
            let call = v1::ExecuteRequest {
                call_id: number.to_string(),
                ..in_session("s", "x = globals().get('x', 0) + 1; x")
            };
            assert_eq!(value(&daemon.execute(call).await.unwrap()), number + 1);
            assert!(!daemon.cancel(&number.to_string()).await);
        }
    });
}
