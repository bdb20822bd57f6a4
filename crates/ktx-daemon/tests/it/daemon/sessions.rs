//! Sessions: what they keep, and for whom.

mod ending;

use ktx_protocol::ktx::v1;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::support::{
    Daemon, eventually, in_session, kind, message, quoted, request, serve, text, until, value,
};

async fn open(daemon: &Daemon, name: &str) -> Result<v1::Session, Status> {
    let name = name.to_owned();
    let request = v1::OpenSessionRequest { name };
    let opened = daemon.client().open_session(request).await?;
    Ok(opened.into_inner())
}

async fn close(daemon: &Daemon, name: &str, id: &str) -> bool {
    let (name, id) = (name.to_owned(), id.to_owned());
    let request = v1::CloseSessionRequest { name, id };
    let closed = daemon.client().close_session(request).await.unwrap();
    closed.into_inner().found
}

async fn list(daemon: &Daemon) -> Vec<v1::Session> {
    let request = v1::ListSessionsRequest {};
    let listed = daemon.client().list_sessions(request).await;
    listed.unwrap().into_inner().sessions
}

/// A call that is meant for this session and no other.
fn bound(session: &v1::Session, code: &str) -> v1::ExecuteRequest {
    v1::ExecuteRequest {
        session_id: session.id.clone(),
        ..in_session(&session.name, code)
    }
}

/// What comes of `code` in the session `name`.
async fn run(daemon: &Daemon, name: &str, code: &str) -> v1::ExecuteResponse {
    daemon.execute(in_session(name, code)).await.unwrap()
}

#[test]
fn gives_each_that_asks_for_none_by_name_one_of_its_own() {
    serve(&[], async |daemon| {
        let mut opening = JoinSet::new();
        for _ in 0..8 {
            let mut client = daemon.client();
            opening.spawn(async move {
                let name = String::new();
                let request = v1::OpenSessionRequest { name };
                client.open_session(request).await.unwrap().into_inner().id
            });
        }
        let mut ids = opening.join_all().await;
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8);
        assert_eq!(list(daemon).await.len(), 8);
    });
}

#[test]
fn keeps_what_the_code_did() {
    serve(&[], async |daemon| {
        let mut first = in_session(
            "s",
            "import json, os\n\
             def f(x): return x / y\n\
             y = 0\n\
             json.left = 'module'\n\
             os.environ['A'] = 'a'\n\
             os.mkdir('d'); os.chdir('d')\n\
             _result = upstream",
        );
        first.upstream = Some(b"[1]".to_vec());
        first.env = [("B".to_owned(), "b".to_owned())].into();
        first.args = vec!["argument".to_owned()];
        assert_eq!(value(&daemon.execute(first).await.unwrap()), json!([1]));

        let code = "import os, sys\n\
                    [json.left, os.environ['A'], os.environ['B'], os.path.basename(os.getcwd()), sys.argv]";
        let kept = run(daemon, "s", code).await;
        assert_eq!(value(&kept), json!(["module", "a", "b", "d", ["-c"]]));
        let code = "['_result' in globals(), 'upstream' in globals()]";
        assert_eq!(value(&run(daemon, "s", code).await), json!([false, false]));
        // A failure names the call that the function is from, and ends nothing.
        let raised = run(daemon, "s", "f(1)").await.error.unwrap();
        assert_eq!(raised.message, "ZeroDivisionError: division by zero");
        assert!(
            raised.traceback.contains("def f(x): return x / y"),
            "{}",
            raised.traceback
        );
        assert_eq!(kind(&run(daemon, "s", "1 +").await), "syntax");
        assert_eq!(value(&run(daemon, "s", "y").await), 0);

        let missing = "NameError: name 'y' is not defined";
        assert_eq!(message(&run(daemon, "t", "y").await), missing);
        assert_eq!(message(&daemon.run("y").await), missing);
    });
}

#[test]
fn captures_logging_that_an_earlier_call_set_up() {
    serve(&[], async |daemon| {
        run(
            daemon,
            "s",
            "import logging, sys\nlogging.basicConfig(stream=sys.stdout)",
        )
        .await;
        let done = run(daemon, "s", "logging.warning('a'); print('b')").await;
        assert_eq!(text(&done.stdout), "WARNING:root:a\nb\n");
        let done = run(
            daemon,
            "s",
            "import os\nlogging.error('c'); os.system('echo d')",
        )
        .await;
        assert_eq!(text(&done.stdout), "ERROR:root:c\nd\n");
        assert_eq!(text(&run(daemon, "s", "1").await.stdout), "");
    });
}

#[test]
fn counts_output_between_calls_to_the_next_one() {
    serve(&[], async |daemon| {
        let written = daemon.world.path("written");
        let code = format!(
            "import threading, time\n\
             def later():\n\
             \x20   go.wait()\n\
             \x20   print('between', flush=True)\n\
             \x20   open({}, 'w').close()\n\
             go = threading.Event()\n\
             threading.Thread(target=later).start()\n\
             threading.Timer(0.05, go.set).start()\n\
             print('first')",
            quoted(&written)
        );
        assert_eq!(text(&run(daemon, "s", &code).await.stdout), "first\n");
        eventually("the thread to write", || written.exists()).await;
        assert_eq!(
            text(&run(daemon, "s", "print('second')").await.stdout),
            "between\nsecond\n"
        );
    });
}

#[test]
fn opens_finds_and_lists_sessions() {
    serve(&[], async |daemon| {
        let first = open(daemon, "b").await.unwrap();
        assert!(first.created);
        let found = open(daemon, "b").await.unwrap();
        assert_eq!((found.created, &found.id), (false, &first.id));
        let unnamed = open(daemon, "").await.unwrap();
        let another = open(daemon, "").await.unwrap();
        assert!(unnamed.created && another.created);
        assert_ne!(unnamed.name, another.name);
        run(daemon, "a", "1").await;
        run(daemon, "a", "2").await;

        let names = |sessions: Vec<v1::Session>| -> Vec<_> {
            sessions
                .into_iter()
                .map(|one| (one.name, one.calls))
                .collect()
        };
        let expected = [("a", 2), ("b", 0), (&unnamed.name, 0), (&another.name, 0)];
        let expected = expected.map(|(name, calls)| (name.to_owned(), calls));
        assert_eq!(names(list(daemon).await), expected);
        assert_eq!(daemon.status().await.sessions, 4);

        assert!(!close(daemon, "b", "another").await);
        assert!(close(daemon, "b", &first.id).await);
        assert!(!close(daemon, "b", "").await);
        assert_eq!(list(daemon).await.len(), 3);
        let reopened = open(daemon, "b").await.unwrap();
        assert!(reopened.created);
        assert_ne!(reopened.id, first.id);
    });
}

#[test]
fn runs_the_calls_of_a_session_one_after_the_other() {
    serve(&[], async |daemon| {
        let mut calls = JoinSet::new();
        // None of them is there before the others want it.
        for number in 0..16 {
            let mut client = daemon.client();
            calls.spawn(async move {
                let code = format!(
                    "import time\n\
                     log = globals().setdefault('log', [])\n\
                     log.append('in')\n\
                     print({number})\n\
                     time.sleep(0.005)\n\
                     log.append('out')\n\
                     {number}"
                );
                let done = client
                    .execute(in_session("s", code))
                    .await
                    .unwrap()
                    .into_inner();
                assert_eq!(value(&done), number);
                assert_eq!(text(&done.stdout), format!("{number}\n"));
            });
        }
        calls.join_all().await;
        let log = run(daemon, "s", "log").await;
        assert_eq!(value(&log), json!(["in", "out"].repeat(16)));
        assert_eq!(list(daemon).await[0].calls, 17);
    });
}

#[test]
fn a_busy_session_holds_no_other_up() {
    serve(&["--max-concurrency", "2"], async |daemon| {
        let mut busy = daemon
            .stream(in_session("a", "print(1)\nimport time\ntime.sleep(600)"))
            .await;
        busy.line().await;
        // These wait for the session, and not in the place of anybody else.
        let mut waiting = JoinSet::new();
        for _ in 0..4 {
            let mut client = daemon.client();
            waiting.spawn(async move { client.execute(in_session("a", "1")).await });
        }
        until("all to wait", async || daemon.status().await.calls == 5).await;
        assert_eq!(value(&run(daemon, "b", "2").await), 2);
        assert_eq!(value(&daemon.run("3").await), 3);
        let busy = list(daemon)
            .await
            .into_iter()
            .map(|one| (one.name, one.busy));
        let expected = [("a".to_owned(), true), ("b".to_owned(), false)];
        assert_eq!(busy.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn exits_end_the_call_and_not_the_session() {
    serve(&[], async |daemon| {
        let code = "import sys\nx = 1\nsys.exit(3)";
        let exited = run(daemon, "s", code).await.error.unwrap();
        assert_eq!((&*exited.kind, exited.exit_status), ("exit", Some(3)));
        assert_eq!(kind(&run(daemon, "s", "sys.exit(0)").await), "none");
        assert_eq!(value(&run(daemon, "s", "x").await), 1);
        // A child of the code reports nothing in its parent's name.
        let code = "import os\nif os.fork() == 0: sys.exit(5)\nos.wait()[1] >> 8";
        assert_eq!(value(&run(daemon, "s", code).await), 5);
        assert_eq!(value(&run(daemon, "s", "x").await), 1);
    });
}

#[test]
fn has_the_memory_that_its_first_call_gives_it() {
    serve(&[], async |daemon| {
        let first = v1::ExecuteRequest {
            max_memory_bytes: Some(256 << 20),
            ..in_session("s", "kept = 1")
        };
        daemon.execute(first).await.unwrap();
        let filled = run(daemon, "s", "x = bytearray(1 << 29)").await;
        assert_eq!((kind(&filled), message(&filled)), ("memory", "MemoryError"));
        assert_eq!(value(&run(daemon, "s", "kept").await), 1);
        assert_eq!(
            value(
                &daemon
                    .execute(request("len(bytearray(1 << 29))"))
                    .await
                    .unwrap()
            ),
            1 << 29
        );
    });
}

#[test]
fn refuses_more_sessions_than_there_may_be() {
    serve(&[], async |daemon| {
        for number in 0..256 {
            open(daemon, &format!("s{number}")).await.unwrap();
        }
        let refused = open(daemon, "one more").await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let refused = daemon
            .execute(in_session("one more", "1"))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(value(&run(daemon, "s255", "1").await), 1);
        assert_eq!(value(&daemon.run("2").await), 2);
        close(daemon, "s0", "").await;
        assert_eq!(value(&run(daemon, "one more", "3").await), 3);
    });
}
