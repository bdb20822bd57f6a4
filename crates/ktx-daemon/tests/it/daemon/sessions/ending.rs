//! How sessions end, and what becomes of those who go on using them.

use std::time::{Duration, Instant};

use ktx_protocol::ktx::v1;
use tonic::Code;

use super::{bound, close, list, open, run};
use crate::daemon::support::{
    PATIENCE, eventually, in_session, kind, quoted, serve, text, until, value,
};

#[test]
fn is_lost_with_its_process() {
    serve(&[], async |daemon| {
        for (code, expected) in [
            ("print('x', flush=True)\nwhile True: pass", "timeout"),
            ("import os; print('x'); os._exit(0)", "exit"),
            ("import os; print('x'); os.kill(os.getpid(), 9)", "signal"),
            ("import os; print('x'); os.closerange(3, 1000)", "exit"),
        ] {
            let session = open(daemon, "s").await.unwrap();
            assert_eq!(
                value(&daemon.execute(bound(&session, "x = 1; x")).await.unwrap()),
                1
            );
            let ending = v1::ExecuteRequest {
                timeout_ms: (expected == "timeout").then_some(300),
                ..bound(&session, code)
            };
            let lost = daemon.execute(ending).await.unwrap();
            assert_eq!(
                (kind(&lost), text(&lost.stdout)),
                (expected, "x\n"),
                "{code}"
            );
            let ran = daemon.world.path("ran");
            let code = format!("open({}, 'w').close()", quoted(&ran));
            let refused = daemon.execute(bound(&session, &code)).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            assert!(!ran.exists());
            assert_eq!(list(daemon).await, []);
            // Whoever asks for no id asks for whichever there is.
            let code = "'x' in globals()";
            assert_eq!(value(&run(daemon, "s", code).await), false);
            close(daemon, "s", "").await;
        }
        let never = v1::Session {
            name: "never".to_owned(),
            id: "1-1".to_owned(),
            ..v1::Session::default()
        };
        let refused = daemon.execute(bound(&never, "1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    });
}

#[test]
fn notices_that_it_was_lost_between_calls() {
    serve(&[], async |daemon| {
        let session = open(daemon, "s").await.unwrap();
        let code =
            "import os, threading\nthreading.Timer(0.05, os._exit, [0]).start()\nos.getpid()";
        let pid = value(&daemon.execute(bound(&session, code)).await.unwrap());
        let gone = || !std::path::Path::new(&format!("/proc/{pid}")).exists();
        eventually("the session to end", gone).await;
        let refused = daemon.execute(bound(&session, "1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(value(&run(daemon, "s", "'os' in globals()").await), false);
    });
}

#[test]
fn expires_when_nobody_uses_it() {
    serve(&["--session-idle-timeout", "1"], async |daemon| {
        let idle = open(daemon, "idle").await.unwrap();
        let left = daemon.world.path("left");
        let code = format!(
            "import atexit, os\natexit.register(os.mkdir, {})",
            quoted(&left)
        );
        daemon.execute(bound(&idle, &code)).await.unwrap();
        // One that is used lives on.
        let busy = daemon
            .stream(in_session("busy", "import time\ntime.sleep(3)\nx = 1"))
            .await;
        until("the idle one to go", async || list(daemon).await.len() == 1).await;
        eventually("its exit handlers to run", || left.exists()).await;
        let refused = daemon.execute(bound(&idle, "1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let mut busy = busy;
        assert_eq!(kind(&busy.rest().await.unwrap().1), "none");
        assert_eq!(value(&run(daemon, "busy", "x").await), 1);
    });
}

#[test]
fn ends_as_a_script_when_it_is_closed() {
    serve(&[], async |daemon| {
        let left = daemon.world.path("left");
        let code = format!(
            "import atexit, subprocess\n\
             file = open({}, 'w')\n\
             file.write('flushed')\n\
             atexit.register(file.write, ' at exit')\n\
             subprocess.Popen(['sleep', '600'], start_new_session=True)\n\
             None",
            quoted(&left)
        );
        run(daemon, "s", &code).await;
        assert!(close(daemon, "s", "").await);
        assert_eq!(fs_err::read_to_string(&left).unwrap(), "flushed at exit");
        let processes = daemon.world.processes();
        assert!(
            !processes.iter().any(|one| one.contains("sleep")),
            "{processes:?}"
        );
    });
}

#[test]
fn a_closed_session_ends_its_calls() {
    serve(&[], async |daemon| {
        let session = open(daemon, "s").await.unwrap();
        let code = "print(1)\nimport time\ntime.sleep(600)";
        let mut running = daemon.stream(bound(&session, code)).await;
        running.line().await;
        let mut client = daemon.client();
        let request = bound(&session, "1");
        let waiting = tokio::spawn(async move { client.execute(request).await });
        until("both to be there", async || {
            daemon.status().await.calls == 2
        })
        .await;
        let started = Instant::now();
        assert!(close(daemon, "s", &session.id).await);
        assert!(started.elapsed() < PATIENCE);
        assert_eq!(running.rest().await.unwrap_err().code(), Code::Cancelled);
        let waiting = waiting.await.unwrap().unwrap_err();
        assert_eq!(waiting.code(), Code::FailedPrecondition);
        assert_eq!(list(daemon).await, []);
    });
}

#[test]
fn a_session_that_will_not_end_is_ended() {
    serve(&[], async |daemon| {
        let code = "import atexit, os, signal, time\n\
                    atexit.register(time.sleep, 600)\n\
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                    os.getpid()";
        let pid = value(&run(daemon, "s", code).await);
        let started = Instant::now();
        assert!(close(daemon, "s", "").await);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}
