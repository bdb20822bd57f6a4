//! What calls have of each other: nothing.

use serde_json::json;
use tokio::task::JoinSet;

use super::support::{Daemon, client, kind, message, request, serve, text, value};

#[test]
fn shares_nothing_between_calls() {
    serve(&[], async |daemon| {
        let directory = daemon.world.path("socket");
        let mut first = request(
            "import builtins, json, os, random, sys, threading\n\
             here = os.getcwd()\n\
             left = 'global'\n\
             json.left = builtins.left = 'attribute'\n\
             sys.modules['left'] = json\n\
             sys.path.append('/left')\n\
             os.environ['LEFT'] = 'variable'\n\
             os.chdir(os.environ['DIRECTORY'])\n\
             os.umask(0o777)\n\
             random.seed(1)\n\
             sys.setrecursionlimit(77)\n\
             [here, random.random()]",
        );
        let variable = directory.to_str().unwrap().to_owned();
        first.env = [("DIRECTORY".to_owned(), variable)].into();
        let first = value(&daemon.execute(first).await.unwrap());
        let second = daemon
            .run(
                "import builtins, json, os, random, sys\n\
                 [os.getcwd(), random.random(), [\n\
                 \x20   'left' in globals(), hasattr(json, 'left'), hasattr(builtins, 'left'),\n\
                 \x20   'left' in sys.modules, '/left' in sys.path, 'LEFT' in os.environ,\n\
                 \x20   'DIRECTORY' in os.environ, os.umask(0) == 0o777, sys.getrecursionlimit() == 77,\n\
                 \x20   len(os.listdir()) > 0]]",
            )
            .await;
        let second = value(&second);
        assert_ne!(first[0], second[0]);
        assert_ne!(first[1], second[1]);
        assert_eq!(second[2], json!(vec![false; 10]));
    });
}

#[test]
fn gives_every_call_random_numbers_of_its_own() {
    serve(&[], async |daemon| {
        let code = "import os, random, tempfile, uuid\n\
                    [random.random(), os.urandom(8).hex(), str(uuid.uuid4()), next(tempfile._get_candidate_names())]";
        let first = value(&daemon.run(code).await);
        let second = value(&daemon.run(code).await);
        for index in 0..4 {
            assert_ne!(first[index], second[index]);
        }
    });
}

/// Writes in every way there is, all of it marked.
fn chatter(mark: usize) -> String {
    format!(
        "import ctypes, logging, os, subprocess, sys, threading, time\n\
         mark = '<{mark}>'\n\
         line = (mark + '\\n').encode()\n\
         logging.basicConfig(stream=sys.stdout, format='%(message)s')\n\
         for _ in range(3):\n\
         \x20   print(mark)\n\
         \x20   os.system('echo \"' + mark + '\"')\n\
         \x20   sys.stdout.buffer.write(line)\n\
         \x20   sys.stdout.flush()\n\
         \x20   os.write(1, line)\n\
         \x20   logging.warning(mark)\n\
         \x20   subprocess.run(['echo', mark])\n\
         \x20   subprocess.run(['sh', '-c', 'echo \"$0\" >&2', mark])\n\
         \x20   ctypes.CDLL(None).puts(mark.encode())\n\
         \x20   ctypes.CDLL(None).fflush(None)\n\
         \x20   thread = threading.Thread(target=print, args=[mark])\n\
         \x20   thread.start()\n\
         \x20   thread.join()\n\
         \x20   time.sleep(0.01)\n\
         mark"
    )
}

#[test]
fn never_mixes_the_output_of_calls_that_run_at_once() {
    serve(&[], async |daemon| {
        let mut calls = JoinSet::new();
        for mark in 0..16 {
            let mut client = client(daemon.connect().await, daemon.bearer());
            calls.spawn(async move {
                let mut call = request(chatter(mark));
                if mark % 4 == 0 {
                    call.session = format!("session {mark}");
                }
                (mark, client.execute(call).await.unwrap().into_inner())
            });
        }
        for (mark, done) in calls.join_all().await {
            assert_eq!(value(&done), format!("<{mark}>"));
            let line = format!("<{mark}>\n");
            assert_eq!(text(&done.stdout), line.repeat(3 * 8));
            assert_eq!(text(&done.stderr), line.repeat(3));
        }
    });
}

/// Code that ends its own process or spoils what it works with; what the call
/// fails with, and what it had written by then.
#[rustfmt::skip]
const LOSSES: &[(&str, &str, &str, &str)] = &[
    ("import os; print('x'); os._exit(7)", "exit", "Python exited with status 7", "x\n"),
    ("import os; print('x'); os._exit(0)", "exit", "Python exited with status 0", "x\n"),
    ("import sys; print('x'); sys.exit(3)", "exit", "Python exited with status 3", "x\n"),
    ("import sys; print('x'); sys.exit(0)", "none", "", "x\n"),
    ("import ctypes; print('x'); ctypes.string_at(0)", "signal", "Python was ended by SIGSEGV", "x\n"),
    ("import os; print('x'); os.abort()", "signal", "Python was ended by SIGABRT", "x\n"),
    ("import os; print('x'); os.kill(0, 9)", "signal", "Python was ended by SIGKILL", "x\n"),
    ("import os; print('x'); os.closerange(3, 10000)", "exit", "Python exited with status 0", "x\n"),
    ("import os; print('x'); os.close(1); os.close(2)", "none", "", "x\n"),
    ("import sys; print('x'); sys.stdout = sys.stderr = None", "none", "", "x\n"),
    ("import sys\nprint('x', flush=True); sys.modules.clear()", "none", "", "x\n"),
    ("import os, sys\nprint('x'); os.close(0); os.read(0, 1)", "exception",
     "OSError: [Errno 9] Bad file descriptor", "x\n"),
    ("def f(): f()\nprint('x'); f()", "exception",
     "RecursionError: maximum recursion depth exceeded", "x\n"),
    ("import threading\nprint('x')\nthreading.Thread(target=lambda: 1 / 0).start()", "none", "", "x\n"),
];

#[test]
fn only_the_call_is_lost_that_ends_its_process() {
    serve(&[], async |daemon| {
        let code = "print(1)\nimport time\ntime.sleep(600)";
        let mut bystander = daemon.stream(request(code)).await;
        bystander.line().await;
        for (code, expected, reason, written) in LOSSES {
            let lost = daemon.run(code).await;
            assert_eq!(
                (kind(&lost), message(&lost)),
                (*expected, *reason),
                "{code}"
            );
            assert_eq!(text(&lost.stdout), *written, "{code}");
        }
        assert_eq!(value(&daemon.run("1").await), 1);
        assert_eq!(daemon.status().await.running, 1);
    });
}

#[test]
fn says_with_which_status_or_signal_it_ended() {
    serve(&[], async |daemon| {
        let exited = daemon.run("import sys; sys.exit(3)").await.error.unwrap();
        assert_eq!((exited.exit_status, exited.signal), (Some(3), None));
        let exited = daemon.run("import os; os._exit(4)").await.error.unwrap();
        assert_eq!((exited.exit_status, exited.signal), (Some(4), None));
        let ended = daemon.run("import os; os.kill(os.getpid(), 11)").await;
        let ended = ended.error.unwrap();
        assert_eq!((ended.exit_status, ended.signal), (None, Some(11)));
        let raised = daemon.run("1 / 0").await.error.unwrap();
        assert_eq!((raised.exit_status, raised.signal), (None, None));
    });
}

#[test]
fn finds_nothing_on_standard_input() {
    serve(&[], async |daemon| {
        let code = "import os, subprocess, sys\n\
                    [sys.stdin.read(), os.read(0, 9).decode(), subprocess.check_output('cat').decode()]";
        assert_eq!(value(&daemon.run(code).await), json!(["", "", ""]));
        assert_eq!(
            message(&daemon.run("input()").await),
            "EOFError: EOF when reading a line"
        );
    });
}

#[test]
fn keeps_bytes_that_are_no_text() {
    serve(&[], async |daemon| {
        let done = daemon
            .run("import os; os.write(1, bytes(range(256))) + os.write(2, b'\\xff')")
            .await;
        assert_eq!(done.stdout, (0..=255).collect::<Vec<u8>>());
        assert_eq!(done.stderr, b"\xff");
    });
}

#[test]
fn has_no_descriptors_of_others() {
    serve(&[], async |daemon| {
        let mut running = daemon
            .stream(request("print(1)\nimport time\ntime.sleep(600)"))
            .await;
        running.line().await;
        // Besides the standard streams its channel and, here, the list itself.
        let code = "import os\nos.listdir('/proc/self/fd')";
        let own = value(&daemon.run(code).await);
        assert_eq!(own.as_array().unwrap().len(), 5, "{own}");
        let code = "import subprocess\n\
                    subprocess.check_output(['ls', '/proc/self/fd'], close_fds=False).split()";
        let programs = daemon.run(&format!("{code}.__len__()")).await;
        assert_eq!(value(&programs), 4);
        expect_plain_signals(daemon).await;
    });
}

/// The code starts like a new interpreter: nothing blocked, nothing ignored
/// but what Python itself ignores.
async fn expect_plain_signals(daemon: &Daemon) {
    let code = "import signal\n\
                ignored = [s for s in signal.valid_signals() if signal.getsignal(s) == signal.SIG_IGN]\n\
                [list(signal.pthread_sigmask(signal.SIG_BLOCK, [])), sorted(map(int, ignored)),\n\
                signal.set_wakeup_fd(-1)]";
    assert_eq!(value(&daemon.run(code).await), json!([[], [13, 25], -1]));
}
