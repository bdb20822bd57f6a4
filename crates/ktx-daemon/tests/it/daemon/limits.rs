//! What a call may take, and what is left for others meanwhile.

use std::time::{Duration, Instant};

use ktx_protocol::ktx::v1;
use serde_json::json;
use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::family::{Family, with_family};
use super::support::{
    Daemon, PATIENCE, eventually, in_session, kind, message, quoted, request, serve, text, until,
    value,
};

/// How long an answer may take that needs no Python: it is promised within 50
/// ms, on a machine that does nothing else.
const PROMPT: Duration = Duration::from_millis(250);

#[test]
fn answers_at_once_while_every_place_is_taken() {
    serve(&[], async |daemon| {
        let mut busy = Vec::new();
        for number in 0..16 {
            let call = v1::ExecuteRequest {
                call_id: number.to_string(),
                ..request("print(1, flush=True)\nwhile True: pass")
            };
            let mut output = daemon.stream(call).await;
            assert_eq!(output.line().await, "1");
            busy.push(output);
        }
        let mut client = daemon.client();
        let waiting = tokio::spawn(async move { client.execute(request("'its turn'")).await });
        until("it to wait", async || daemon.status().await.waiting == 1).await;

        let mut health = HealthClient::with_interceptor(daemon.channel.clone(), daemon.bearer());
        for _ in 0..20 {
            let asked = Instant::now();
            health.check(HealthCheckRequest::default()).await.unwrap();
            assert!(!daemon.cancel("nobody").await);
            assert_eq!(daemon.status().await.running, 16);
            assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        }
        let asked = Instant::now();
        assert!(daemon.cancel("0").await);
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
        let done = waiting.await.unwrap().unwrap().into_inner();
        assert_eq!(value(&done), "its turn");
        assert_eq!(daemon.status().await.running, 15);
    });
}

/// Runs twelve calls, some in sessions, that came one after the other while
/// none could end; returns what they wrote at their begin (`+`) and end (`-`).
async fn begins_and_ends(daemon: &Daemon, at_once: u32) -> Vec<(char, usize)> {
    let (go, log) = (
        daemon.world.path("go"),
        daemon.world.path("begins and ends"),
    );
    let code = |number: u32| {
        format!(
            "import os, time\n\
             log = os.open({}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n\
             os.write(log, b'+{number}\\n')\n\
             while not os.path.exists({}): time.sleep(0.005)\n\
             time.sleep(0.02)\n\
             os.write(log, b'-{number}\\n')",
            quoted(&log),
            quoted(&go)
        )
    };
    let mut calls = JoinSet::new();
    for number in 0..12 {
        let mut client = daemon.client();
        let session = [format!("s{number}"), String::new()];
        let call = in_session(&session[usize::from(number % 3 > 0)], code(number));
        calls.spawn(async move { client.execute(call).await });
        until("it to run or wait", async || {
            let status = daemon.status().await;
            status.running + status.waiting > number
        })
        .await;
    }
    let status = daemon.status().await;
    assert_eq!((status.running, status.waiting), (at_once, 12 - at_once));
    fs_err::write(&go, "").unwrap();
    for done in calls.join_all().await {
        assert_eq!(kind(&done.unwrap().into_inner()), "none");
    }
    let log = fs_err::read_to_string(&log).unwrap();
    let event = |line: &str| Some((line.chars().next()?, line[1..].parse().ok()?));
    log.lines().map(|line| event(line).unwrap()).collect()
}

#[test]
fn runs_calls_in_the_order_in_which_they_came() {
    serve(&["--max-concurrency", "1"], async |daemon| {
        let events = begins_and_ends(daemon, 1).await;
        let expected = (0..12).flat_map(|number| [('+', number), ('-', number)]);
        assert_eq!(events, expected.collect::<Vec<_>>());
    });
}

#[test]
fn runs_no_more_calls_at_once_than_it_may() {
    serve(&["--max-concurrency", "3"], async |daemon| {
        let events = begins_and_ends(daemon, 3).await;
        assert_eq!(events.len(), 24);
        let mut running = 0;
        for (event, _) in events {
            running += if event == '+' { 1 } else { -1 };
            assert!((0..=3).contains(&running));
        }
    });
}

#[test]
fn cuts_what_prints_without_end_and_says_so() {
    serve(&[], async |daemon| {
        for (stream, session) in [(1, ""), (2, "s")] {
            let code = format!(
                "import os\nblock = b'x' * 65536\n\
                 for _ in range(1 << 14): os.write({stream}, block)\n'a gigabyte'"
            );
            let ended = daemon.execute(in_session(session, code)).await.unwrap();
            assert_eq!(kind(&ended), "output-limit");
            assert_eq!(message(&ended), "The code wrote more than 64 MiB of output");
            assert!(ended.output_truncated);
            assert_eq!(ended.stdout.len() + ended.stderr.len(), 64 << 20);
        }
        let few = v1::ExecuteRequest {
            max_output_bytes: Some(5),
            ..request("print('12345')")
        };
        let ended = daemon.execute(few).await.unwrap();
        assert_eq!(
            (kind(&ended), text(&ended.stdout)),
            ("output-limit", "12345")
        );
        let enough = v1::ExecuteRequest {
            max_output_bytes: Some(6),
            ..request("print('12345')")
        };
        let done = daemon.execute(enough).await.unwrap();
        assert_eq!((kind(&done), done.output_truncated), ("none", false));
    });
}

#[test]
fn a_request_cannot_raise_the_daemons_limits() {
    let options = ["--max-output", "1000", "--max-memory", "268435456"];
    serve(&options, async |daemon| {
        let call = v1::ExecuteRequest {
            max_output_bytes: Some(1 << 40),
            max_memory_bytes: Some(1 << 40),
            ..request("print('x' * 1000)")
        };
        assert_eq!(
            kind(&daemon.execute(call.clone()).await.unwrap()),
            "output-limit"
        );
        let call = v1::ExecuteRequest {
            code: "bytearray(1 << 29)".to_owned(),
            ..call
        };
        assert_eq!(kind(&daemon.execute(call).await.unwrap()), "memory");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn ends_what_fills_the_memory() {
    serve(&["--max-memory", "268435456"], async |daemon| {
        for code in [
            "bytearray(10 ** 15)",
            "a = []\nwhile True: a.append(bytes(1 << 24))",
            "a = []\nwhile True: a.append([])",
            "a = []\nwhile True: a.append([a])",
        ] {
            let ended = daemon.run(code).await;
            assert_eq!(
                (kind(&ended), message(&ended)),
                ("memory", "MemoryError"),
                "{code}"
            );
        }
        // The limit is a child's too.
        let code = "import subprocess, sys\n\
                    subprocess.run([sys.executable, '-c', 'bytearray(1 << 29)'], stderr=-3).returncode";
        assert_eq!(value(&daemon.run(code).await), 1);
        let small = v1::ExecuteRequest {
            max_memory_bytes: Some(64 << 20),
            ..request("len(bytearray(128 << 20))")
        };
        assert_eq!(kind(&daemon.execute(small).await.unwrap()), "memory");
        assert_eq!(
            value(&daemon.run("len(bytearray(128 << 20))").await),
            128 << 20
        );
    });
}

#[test]
fn takes_and_gives_values_of_many_megabytes() {
    serve(&[], async |daemon| {
        let length = (32 << 20) - 2;
        let text = json!("x".repeat(length)).to_string();
        let call = v1::ExecuteRequest {
            upstream: Some(text.clone().into_bytes()),
            ..request("upstream")
        };
        let done = daemon.execute(call).await.unwrap();
        assert_eq!(kind(&done), "none");
        assert!(done.value == text.as_bytes());
        for session in ["", "s"] {
            let call = v1::ExecuteRequest {
                form: v1::Form::Msgpack.into(),
                ..in_session(session, "bytes(60 << 20)")
            };
            assert_eq!(
                daemon.execute(call).await.unwrap().value.len(),
                (60 << 20) + 5
            );
            let call = in_session(session, "'x' * (64 << 20)");
            let refused = daemon.execute(call).await.unwrap();
            assert_eq!(kind(&refused), "output-limit");
            assert_eq!(message(&refused), "The value takes more than 64 MiB");
        }
        assert_eq!(value(&daemon.run("1").await), 1);
    });
}

#[test]
fn gives_bytes_back_as_they_were() {
    serve(&[], async |daemon| {
        // {"b": bin of four bytes, "n": NaN}
        let mut packed = b"\x82\xa1b\xc4\x04\x00\xff\x80\n\xa1n\xcb".to_vec();
        packed.extend(f64::NAN.to_be_bytes());
        for session in ["", "s"] {
            let call = v1::ExecuteRequest {
                upstream: Some(packed.clone()),
                upstream_form: v1::Form::Msgpack.into(),
                form: v1::Form::Msgpack.into(),
                ..in_session(
                    session,
                    "upstream if upstream['b'] == b'\\x00\\xff\\x80\\n' else 0",
                )
            };
            let done = daemon.execute(call.clone()).await.unwrap();
            assert_eq!(kind(&done), "none");
            assert_eq!(done.value, packed);
            let call = v1::ExecuteRequest {
                form: v1::Form::Repr.into(),
                ..call
            };
            let shown = value(&daemon.execute(call).await.unwrap());
            assert_eq!(shown, "{'b': b'\\x00\\xff\\x80\\n', 'n': nan}");
            let call = v1::ExecuteRequest {
                upstream: Some(b"\xc1".to_vec()),
                upstream_form: v1::Form::Msgpack.into(),
                ..in_session(session, "upstream")
            };
            assert_eq!(kind(&daemon.execute(call).await.unwrap()), "exception");
        }
    });
}

#[test]
fn says_what_has_no_form() {
    serve(&[], async |daemon| {
        for (form, code, reason) in [
            (
                v1::Form::Json,
                "[b'x']",
                "value[0] is of type bytes, which has no JSON form",
            ),
            (
                v1::Form::Msgpack,
                "[1j]",
                "value[0] is of type complex, which has no msgpack form",
            ),
        ] {
            let call = v1::ExecuteRequest {
                form: form.into(),
                ..request(code)
            };
            let failed = daemon.execute(call).await.unwrap();
            assert_eq!(
                (kind(&failed), message(&failed)),
                ("unserializable", reason)
            );
        }
    });
}

/// Calls that are under way when others are refused or cut.
#[test]
fn a_bomb_in_one_session_leaves_the_others_whole() {
    serve(&[], async |daemon| {
        let mut other = daemon
            .stream(in_session("a", with_family("time.sleep(600)")))
            .await;
        let family = Family::of(&mut other).await;
        let bomb = v1::ExecuteRequest {
            timeout_ms: Some(700),
            ..in_session(
                "b",
                "import os, time\nfor _ in range(7): os.fork()\ntime.sleep(600)",
            )
        };
        let started = Instant::now();
        assert_eq!(kind(&daemon.execute(bomb).await.unwrap()), "timeout");
        assert!(started.elapsed() < PATIENCE);
        assert!(family.is_whole());
        drop(other);
        eventually("the family to end", || family.is_gone()).await;
        expect_quiet(daemon).await;
    });
}

async fn expect_quiet(daemon: &Daemon) {
    until("nothing to run", async || {
        daemon.status().await.running == 0
    })
    .await;
    assert_eq!(value(&daemon.run("1").await), 1);
}
