//! Nothing that a call started is left when it returns, and what it does to
//! its parents is nobody else's harm.

use std::time::{Duration, Instant};

use ktx_protocol::ktx::v1;
use serde_json::json;

use super::family::{Family, with_family};
use super::support::{Daemon, in_session, kind, message, request, serve, text, value};

/// How long a call may take that harms those that keep it; these are waited
/// for in turn.
const HARM: Duration = Duration::from_secs(15);

#[test]
fn ends_the_family_of_a_call_and_no_other() {
    serve(&[], async |daemon| {
        let mut other = daemon.stream(request(with_family("time.sleep(600)"))).await;
        let others = Family::of(&mut other).await;
        for (last, expected) in [
            ("7", "none"),
            ("1 / 0", "exception"),
            ("os._exit(5)", "exit"),
            ("os.kill(os.getpid(), 11)", "signal"),
            ("time.sleep(600)", "timeout"),
        ] {
            let call = v1::ExecuteRequest {
                timeout_ms: Some(1000),
                ..request(with_family(last))
            };
            let done = daemon.execute(call).await.unwrap();
            assert_eq!(kind(&done), expected, "{last}");
            assert!(Family::named(text(&done.stdout)).is_gone(), "{last}");
            assert!(others.is_whole(), "{last}");
        }
        assert!(daemon.world.processes().len() >= 3);
    });
}

#[test]
fn a_family_that_keeps_the_pipes_open_holds_nothing_up() {
    serve(&[], async |daemon| {
        let started = Instant::now();
        let done = daemon.run(&with_family("'done'")).await;
        assert_eq!(value(&done), "done");
        assert!(started.elapsed() < Duration::from_secs(3));
    });
}

#[test]
fn ends_processes_that_multiply_beside_other_calls() {
    serve(&[], async |daemon| {
        let mut other = daemon.stream(request(with_family("time.sleep(600)"))).await;
        let others = Family::of(&mut other).await;
        for leave in ["pass", "os.setsid()"] {
            let code = format!(
                "import os, time\n\
                 for _ in range(7):\n\
                 \x20   if os.fork() == 0: {leave}\n\
                 multiplied = 600\n\
                 while True: time.sleep(0.001)"
            );
            let call = v1::ExecuteRequest {
                timeout_ms: Some(700),
                ..request(code)
            };
            let before = daemon.world.processes().len();
            let ended = daemon.execute(call).await.unwrap();
            assert_eq!(kind(&ended), "timeout");
            let left = daemon.world.processes();
            assert!(left.len() <= before + 1, "{leave}: {left:?}");
            assert!(others.is_whole());
        }
        assert_eq!(value(&daemon.run("1").await), 1);
    });
}

/// Sends a signal to the warm parent, or to the guard above it.
fn harm(ancestor: &str, signal: u8) -> String {
    format!(
        "import os, time\n\
         def parent(process):\n\
         \x20   stat = open(f'/proc/{{process}}/stat').read()\n\
         \x20   return int(stat.rpartition(')')[2].split()[1])\n\
         warm = os.getppid()\n\
         guard = parent(warm)\n\
         print(warm, guard, flush=True)\n\
         os.kill({ancestor}, {signal})\n"
    )
}

/// Others run while `harming` does; they finish, and so does everything after.
async fn expect_no_harm(daemon: &Daemon, harming: v1::ExecuteRequest) -> v1::ExecuteResponse {
    let mut waiting = daemon
        .stream(request(
            "import time\nprint(1)\ntime.sleep(0.5)\n'finished'",
        ))
        .await;
    waiting.line().await;
    let session = daemon.stream(in_session("s", "kept = 1; print(1)"));
    let mut session = session.await;
    session.line().await;
    session.rest().await.unwrap();

    let started = Instant::now();
    let harmed = daemon.execute(harming).await.unwrap();
    assert_eq!(value(&waiting.rest().await.unwrap().1), "finished");
    assert_eq!(value(&daemon.run("'next'").await), "next");
    let kept = daemon.execute(in_session("s", "kept")).await;
    assert_eq!(value(&kept.unwrap()), 1);
    assert!(started.elapsed() < HARM, "{:?}", started.elapsed());
    harmed
}

#[test]
fn survives_the_death_of_the_warm_parent() {
    serve(&[], async |daemon| {
        let done = expect_no_harm(daemon, request(harm("warm", 9) + "'alive'")).await;
        assert_eq!(value(&done), "alive");
        let done = expect_no_harm(daemon, request(harm("warm", 9) + "os._exit(3)")).await;
        assert_eq!(message(&done), "Python exited with status 3");
        // Again and again, and by many at once.
        for _ in 0..5 {
            assert_eq!(value(&daemon.run(&(harm("warm", 9) + "1")).await), 1);
        }
        let is_warm = "b'ktx_daemon.nursery' in open(f'/proc/{warm}/cmdline', 'rb').read()";
        let code = harm(&format!("warm if {is_warm} else os.getpid()"), 9) + "2";
        let calls = (0..8).map(|_| {
            let (mut client, code) = (daemon.client(), code.clone());
            tokio::spawn(async move { client.execute(request(code)).await })
        });
        for call in calls.collect::<Vec<_>>() {
            let done = call.await.unwrap().unwrap().into_inner();
            // Some find that another was there before them.
            assert!(
                ["none", "signal", "exception"].contains(&kind(&done)),
                "{done:?}"
            );
        }
        assert_eq!(value(&daemon.run("3").await), 3);
    });
}

#[test]
fn ends_the_family_of_a_call_whose_parent_is_dead() {
    serve(&[], async |daemon| {
        for (last, expected) in [("7", "none"), ("time.sleep(600)", "timeout")] {
            let code = with_family(&format!("os.kill(os.getppid(), 9)\n{last}"));
            let call = v1::ExecuteRequest {
                timeout_ms: Some(1000),
                ..request(code)
            };
            let done = daemon.execute(call).await.unwrap();
            assert_eq!(kind(&done), expected);
            assert!(Family::named(text(&done.stdout)).is_gone());
        }
    });
}

#[test]
fn survives_a_warm_parent_that_is_stopped() {
    serve(&[], async |daemon| {
        let done = expect_no_harm(daemon, request(harm("warm", 19) + "'alive'")).await;
        assert_eq!(value(&done), "alive");
        let call = v1::ExecuteRequest {
            timeout_ms: Some(300),
            ..request(harm("warm", 19) + "time.sleep(600)")
        };
        assert_eq!(kind(&expect_no_harm(daemon, call).await), "timeout");
    });
}

#[test]
fn is_deaf_to_signals_that_can_be_blocked() {
    serve(&[], async |daemon| {
        for ancestor in ["warm", "guard"] {
            for signal in (1..=31).filter(|signal| ![9, 17, 19].contains(signal)) {
                let done = daemon
                    .run(&(harm(ancestor, signal) + "[warm, guard]"))
                    .await;
                let parents = value(&done);
                let again = daemon
                    .run(&(harm("os.getpid()", 0) + "[warm, guard]"))
                    .await;
                assert_eq!(value(&again), parents, "{ancestor} {signal}");
            }
        }
    });
}

#[test]
fn a_dead_guard_takes_its_workers_along() {
    serve(&[], async |daemon| {
        let lost = daemon.run(&(harm("guard", 9) + "time.sleep(600)")).await;
        assert_eq!(kind(&lost), "signal");
        let reason = "Python was ended, because its parent process was ended by SIGKILL";
        assert_eq!(message(&lost), reason);
        assert_eq!(value(&daemon.run("1").await), 1);
        let code = with_family(&harm("guard", 9)) + "time.sleep(600)";
        let lost = daemon.run(&code).await;
        let (family, _) = text(&lost.stdout).split_once('\n').unwrap();
        assert!(Family::named(family).is_gone());
        assert_eq!(value(&daemon.run("[2]").await), json!([2]));
    });
}

#[test]
fn ends_a_guard_that_is_stopped() {
    serve(&[], async |daemon| {
        for last in ["'alive'", "os._exit(3)", "time.sleep(600)"] {
            let started = Instant::now();
            let call = v1::ExecuteRequest {
                timeout_ms: Some(300),
                ..request(with_family(&harm("guard", 19)) + last)
            };
            let done = daemon.execute(call).await.unwrap();
            let (family, _) = text(&done.stdout).split_once('\n').unwrap();
            assert!(Family::named(family).is_gone(), "{last}");
            assert_eq!(value(&daemon.run("1").await), 1);
            assert!(started.elapsed() < HARM, "{last} {:?}", started.elapsed());
        }
    });
}
