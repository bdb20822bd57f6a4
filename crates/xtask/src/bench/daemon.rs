//! Calls through the daemon, beside what programs for Node would use instead.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use xshell::{Shell, cmd};

use super::table::Row;
use super::{Bench, timed};
use crate::tools::PythonTools;
use crate::{say, uv};

/// The programs that make the calls; they run in the project.
const PROGRAMS: [(&str, &str); 3] = [
    (CALLS, include_str!("calls.mjs")),
    ("alternatives.mjs", include_str!("alternatives.mjs")),
    ("server.py", include_str!("server.py")),
];
const CALLS: &str = "calls.mjs";
/// What they are compared with and comes from npm.
const PACKAGES: [&str; 2] = ["pythonia@1.2.6", "python-shell@5.0.0"];

const ISOLATED_CALL: &str = "call in a process of its own";
const SESSION_CALL: &str = "call in a session";
const SESSION_CALLS: &str = "calls in 16 sessions at once";
const LIMIT: &str = "limit";
const FAST_API: &str = "FastAPI server, which keeps one process";

const ISOLATED_LIMIT: Duration = Duration::from_millis(5);
const SESSION_LIMIT: Duration = Duration::from_micros(250);
const LEAST_CALLS_PER_SECOND: f64 = 10_000.0;
const DAEMON_MEMORY_LIMIT: f64 = 15.0;
const WARM_PARENT_MEMORY_LIMIT: f64 = 20.0;

/// Measures the daemon, and leaves none behind.
pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>> {
    let rows = measure(bench);
    let stopped = bench.project.stop_daemons();
    rows.and_then(|rows| stopped.map(|()| rows))
}

fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let server_tools = PythonTools::bench()?;
    bench.project.install(&PACKAGES)?;
    for (name, text) in PROGRAMS {
        fs_err::write(bench.project.dir().join(name), bench.names.in_text(text))?;
    }
    say::step("Calls, and first calls after a start");
    let settings = json!({ "rounds": bench.runs, "serverPython": server_tools.program("python") });
    let node = bench.sh.cmd("node").arg(CALLS).arg(settings.to_string());
    let calls: Calls = serde_json::from_str(&uv::read(bench.clean(node))?)?;
    let mut rows = calls.rows();
    rows.extend(memory(calls.pid)?);
    rows.push(command(bench)?);
    if let Some(pinned) = pinned(bench)? {
        rows.push(Row::of_durations(
            [
                "call in a session, all on one processor",
                "the same on all of them",
            ],
            pinned,
            milliseconds(calls.session_ms),
            None,
        ));
    }
    Ok(rows)
}

/// What `calls.mjs` prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    pid: u32,
    first_result_ms: f64,
    interpreter_ms: f64,
    isolated_ms: f64,
    spawn_ms: f64,
    python_shell_ms: f64,
    session_ms: f64,
    pythonia_ms: f64,
    fast_api_ms: f64,
    sessions_per_second: f64,
    fast_api_per_second: f64,
}

/// What it prints when it measures nothing but calls in a session.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionCalls {
    session_ms: f64,
}

impl Calls {
    fn rows(&self) -> Vec<Row> {
        let isolated = milliseconds(self.isolated_ms);
        let session = milliseconds(self.session_ms);
        let start_limit = 3 * milliseconds(self.interpreter_ms) + Duration::from_millis(50);
        vec![
            Row::of_durations(
                [ISOLATED_CALL, "starting the same interpreter with `-I -c`"],
                isolated,
                milliseconds(self.spawn_ms),
                Some(0.4),
            ),
            Row::of_durations([ISOLATED_CALL, LIMIT], isolated, ISOLATED_LIMIT, Some(1.0)),
            Row::of_durations(
                [ISOLATED_CALL, "python-shell"],
                isolated,
                milliseconds(self.python_shell_ms),
                None,
            ),
            Row::of_durations([SESSION_CALL, LIMIT], session, SESSION_LIMIT, Some(1.0)),
            Row::of_durations(
                [SESSION_CALL, "pythonia, which keeps one process"],
                session,
                milliseconds(self.pythonia_ms),
                None,
            ),
            Row::of_durations(
                [SESSION_CALL, FAST_API],
                session,
                milliseconds(self.fast_api_ms),
                None,
            ),
            Row::of_rates(
                [SESSION_CALLS, LIMIT],
                self.sessions_per_second,
                LEAST_CALLS_PER_SECOND,
                Some(1.0),
            ),
            Row::of_rates(
                [SESSION_CALLS, FAST_API],
                self.sessions_per_second,
                self.fast_api_per_second,
                None,
            ),
            Row::of_durations(
                [
                    "start of the daemon to the first result",
                    "limit: 3 starts of the interpreter and 50 ms",
                ],
                milliseconds(self.first_result_ms),
                start_limit,
                Some(1.0),
            ),
        ]
    }
}

/// The command, with the daemon that the calls left running.
fn command(bench: &Bench) -> Result<Row> {
    say::step("`ktx exec` with a running daemon");
    let [node, exec] = bench.medians([&|| timed(bench.node("0")), &|| {
        timed(bench.ktx(&["exec", "-c", "1"]))
    }])?;
    Ok(Row::of_durations(
        ["`ktx exec -c 1` with a running daemon", "`node -e 0`"],
        exec,
        node,
        Some(1.4),
    ))
}

/// Calls in a session where a processor is shared with nothing but what they need, and none is
/// woken up for them; `None` where that cannot be arranged.
fn pinned(bench: &Bench) -> Result<Option<Duration>> {
    let sh = &bench.sh;
    let has_taskset = cmd!(sh, "taskset --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok();
    if !has_taskset {
        return Ok(None);
    }
    say::step("Calls on one processor");
    // The daemon runs where whoever started it runs.
    bench.project.stop_daemons()?;
    let settings = json!({ "rounds": bench.runs, "onlySession": true });
    let node = sh
        .cmd("taskset")
        .args(["--cpu-list", &first_processor()?, "node", CALLS])
        .arg(settings.to_string());
    let calls: SessionCalls = serde_json::from_str(&uv::read(bench.clean(node))?)?;
    Ok(Some(milliseconds(calls.session_ms)))
}

/// The first of the processors that this process may use; the others may be closed to it.
fn first_processor() -> Result<String> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| list.trim().split(['-', ',']).next())
        .map(str::to_owned)
        .context("The system does not say which processors may be used")
}

/// The resident memory of the processes that are there when nothing is left to do: the daemon with
/// its guard, and the process that workers are forked from.
fn memory(daemon: u32) -> Result<Vec<Row>> {
    if cfg!(windows) {
        return Ok(Vec::new());
    }
    let sh = Shell::new()?;
    let listing = cmd!(sh, "ps -axo pid=,ppid=,rss=").quiet().read()?;
    let processes = parse_processes(&listing)?;
    let daemon = processes
        .iter()
        .find(|process| process.pid == daemon)
        .context("The daemon has ended")?;
    let child_of = |parent: &Process, what: &'static str| {
        processes
            .iter()
            .find(|process| process.parent == parent.pid)
            .context(what)
    };
    let guard = child_of(daemon, "The daemon has no guard")?;
    let warm_parent = child_of(guard, "The daemon has no warm parent")?;
    Ok(vec![
        Row::of_megabytes(
            "resident memory of the idle daemon and its guard",
            daemon.megabytes + guard.megabytes,
            DAEMON_MEMORY_LIMIT,
        ),
        Row::of_megabytes(
            "resident memory of the process that workers are forked from",
            warm_parent.megabytes,
            WARM_PARENT_MEMORY_LIMIT,
        ),
    ])
}

struct Process {
    pid: u32,
    parent: u32,
    megabytes: f64,
}

/// Reads lines of a process's number, its parent's, and its resident kilobytes.
fn parse_processes(listing: &str) -> Result<Vec<Process>> {
    listing
        .lines()
        .map(|line| {
            let numbers: Vec<u32> = line
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let [pid, parent, kilobytes] = numbers[..] else {
                bail!("`{line}` is not a line about a process");
            };
            Ok(Process {
                pid,
                parent,
                megabytes: f64::from(kilobytes) * 1024.0 / 1e6,
            })
        })
        .collect()
}

fn milliseconds(number: f64) -> Duration {
    Duration::from_secs_f64(number / 1000.0)
}
