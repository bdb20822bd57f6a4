//! Output as it comes, to readers of every speed.

use ktx_protocol::ktx::v1;
use ktx_protocol::ktx::v1::execute_event::Event;
use tonic::Code;

use super::family::{Family, with_family};
use super::support::{
    Daemon, Output, eventually, in_session, kind, message, quoted, request, serve, until, value,
};

#[test]
fn brings_output_while_the_code_runs() {
    serve(&[], async |daemon| {
        for session in ["", "s"] {
            let seen = daemon.world.path("seen");
            let code = format!(
                "import os, sys, time\n\
                 print('first', flush=True)\n\
                 while not os.path.exists({seen}): time.sleep(0.005)\n\
                 os.rmdir({seen})\n\
                 print('error', file=sys.stderr)\n\
                 os.system('echo second')\n\
                 42",
                seen = quoted(&seen)
            );
            let mut output = daemon.stream(in_session(session, code)).await;
            assert_eq!(output.line().await, "first");
            fs_err::create_dir(&seen).unwrap();
            let mut streams = [Vec::new(), Vec::new()];
            let outcome = loop {
                match output.next().await.unwrap().unwrap() {
                    Event::Stdout(bytes) => streams[0].extend(bytes),
                    Event::Stderr(bytes) => streams[1].extend(bytes),
                    Event::Outcome(outcome) => break outcome,
                }
            };
            assert_eq!(output.next().await.unwrap(), None);
            assert_eq!(streams, [&b"second\n"[..], b"error\n"]);
            assert_eq!(value(&outcome), 42);
            assert!(outcome.stdout.is_empty() && outcome.stderr.is_empty());
        }
    });
}

/// Code that writes `count` mebibytes that can be told from each other, and
/// then makes a directory.
fn writer(count: u8, done: &std::path::Path) -> String {
    format!(
        "import os\n\
         for number in range({count}):\n\
         \x20   block = memoryview(bytes([number]) * (1 << 20))\n\
         \x20   while block: block = block[os.write(1, block):]\n\
         os.mkdir({})\n\
         'written'",
        quoted(done)
    )
}

/// What that code writes.
fn written(count: u8) -> Vec<u8> {
    (0..count)
        .flat_map(|number| vec![number; 1 << 20])
        .collect()
}

#[test]
fn a_slow_reader_gets_everything_and_holds_the_code_up() {
    serve(&[], async |daemon| {
        for session in ["", "s"] {
            let done = daemon.world.path("done");
            let mut output = daemon.stream(in_session(session, writer(16, &done))).await;
            // Others, even beside it on its connection, are quick.
            for number in 0..20 {
                assert_eq!(value(&daemon.run(&number.to_string()).await), number);
            }
            assert!(!done.exists());
            let (bytes, outcome) = output.rest().await.unwrap();
            assert!(bytes == written(16), "{}", bytes.len());
            assert_eq!(value(&outcome), "written");
            fs_err::remove_dir(&done).unwrap();
        }
    });
}

#[test]
fn ends_code_whose_reader_leaves() {
    serve(&[], async |daemon| {
        for code in ["time.sleep(600)", "while True: print('x' * 1000)"] {
            for session in ["", "s"] {
                let call = in_session(session, with_family(code));
                let mut output = daemon.stream(call).await;
                let family = Family::of(&mut output).await;
                assert!(family.is_whole());
                drop(output);
                eventually("the family to end", || family.is_gone()).await;
                until("the call to end", async || {
                    daemon.status().await.running == 0
                })
                .await;
            }
        }
        assert_eq!(daemon.status().await.sessions, 0);
    });
}

/// A call that writes without end to a reader that reads nothing, and has
/// written all that there is room for.
async fn stuck(daemon: &Daemon, session: &str, timeout_ms: Option<u64>) -> Output {
    let started = daemon.world.path("started");
    let code = format!(
        "import os, time\n\
         os.set_blocking(1, False)\n\
         tries = 0\n\
         while tries < 20:\n\
         \x20   try:\n\
         \x20       os.write(1, b'x' * 65536)\n\
         \x20       tries = 0\n\
         \x20   except BlockingIOError:\n\
         \x20       time.sleep(0.01)\n\
         \x20       tries += 1\n\
         os.set_blocking(1, True)\n\
         os.mkdir({})\n\
         while True: os.write(1, b'x' * 65536)",
        quoted(&started)
    );
    let call = v1::ExecuteRequest {
        timeout_ms,
        call_id: "stuck".to_owned(),
        ..in_session(session, code)
    };
    let output = daemon.stream(call).await;
    eventually("the code to run", || started.exists()).await;
    fs_err::remove_dir(&started).unwrap();
    output
}

#[test]
fn a_reader_that_reads_nothing_keeps_nobody_from_running() {
    serve(&["--max-concurrency", "1"], async |daemon| {
        for session in ["", "s"] {
            let mut output = stuck(daemon, session, Some(1500)).await;
            // It is its turn when the time of the other is up.
            assert_eq!(value(&daemon.run("1").await), 1);
            let (bytes, outcome) = output.rest().await.unwrap();
            assert_eq!(kind(&outcome), "timeout");
            assert!(bytes.iter().all(|&byte| byte == b'x'));
        }
    });
}

#[test]
fn cancels_a_call_whose_reader_reads_nothing() {
    serve(&["--max-concurrency", "1"], async |daemon| {
        for session in ["", "s"] {
            let mut output = stuck(daemon, session, None).await;
            assert!(daemon.cancel("stuck").await);
            until("the call to end", async || {
                daemon.status().await.running == 0
            })
            .await;
            assert_eq!(value(&daemon.run("1").await), 1);
            assert_eq!(output.rest().await.unwrap_err().code(), Code::Cancelled);
        }
    });
}

#[test]
fn cuts_output_at_the_limit_and_says_so() {
    serve(&[], async |daemon| {
        let call = v1::ExecuteRequest {
            max_output_bytes: Some(100_000),
            ..request("import os\nwhile True: os.write(1, b'x' * 4096)")
        };
        let (bytes, outcome) = daemon.stream(call).await.rest().await.unwrap();
        assert_eq!(bytes, vec![b'x'; 100_000]);
        assert_eq!(kind(&outcome), "output-limit");
        assert_eq!(
            message(&outcome),
            "The code wrote more than 100000 bytes of output"
        );
        assert!(outcome.output_truncated);
    });
}
