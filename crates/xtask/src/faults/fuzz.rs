//! The targets of `fuzz/`: what ktx reads from others, in forms that an engine finds by what each
//! of them makes the reader do.
//!
//! The engine is libFuzzer, which is written in C++: zig compiles it and links, so that a machine
//! needs no more for this than for everything else. rustc marks the edges of the code with the
//! flags of `cargo fuzz`; no nightly compiler is needed for them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use regex::Regex;

use super::row::{Outcome, Row};
use crate::policy::Policy;
use crate::target::Target;
use crate::tools::{self, PythonTools};
use crate::{repo, say};

/// How long each target runs, in seconds.
const SECONDS: u32 = 30;

/// How many of them run at once.
const AT_ONCE: usize = 2;

/// What lets the engine see which way the code went.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// A target, and what its row says.
struct Fuzzed {
    /// What the row is called; the target has underscores for dashes, and no `fuzz-`.
    name: &'static str,
    area: &'static str,
    /// What is read.
    what: &'static str,
}

const TARGETS: [Fuzzed; 9] = [
    fuzzed("fuzz-asset-manifest", "asset", "the asset's manifest"),
    fuzzed("fuzz-asset-lock", "asset", "the dependency lock"),
    fuzzed("fuzz-index-page", "uv", "a page of a package index"),
    fuzzed(
        "fuzz-wheel-archive",
        "uv",
        "the wheel that uv is taken from",
    ),
    fuzzed("fuzz-runtime-manifest", "status", "the runtime's manifest"),
    fuzzed("fuzz-wheel-records", "status", "the records of a wheel"),
    fuzzed("fuzz-daemon-state", "daemon", "the state of a daemon"),
    fuzzed(
        "fuzz-ready-line",
        "daemon",
        "what a daemon says at its start",
    ),
    fuzzed("fuzz-worker-frame", "exec", "what a worker reports"),
];

const fn fuzzed(name: &'static str, area: &'static str, what: &'static str) -> Fuzzed {
    Fuzzed { name, area, what }
}

impl Fuzzed {
    fn target(&self) -> String {
        self.name.trim_start_matches("fuzz-").replace('-', "_")
    }

    fn row(&self, outcome: Outcome) -> Row {
        let fault = format!("{} in forms that reach new code", self.what);
        let required = "no panic, no hang; what is taken is what it must be";
        Row::new(self.name, self.area, &fault, required, outcome)
    }
}

/// Builds the targets and runs each for a while, or those among `only` if that names any row.
pub(super) fn rows(only: &[String]) -> Result<Vec<Row>> {
    let is_asked = |target: &&Fuzzed| only.is_empty() || only.iter().any(|it| it == target.name);
    let targets: Vec<&Fuzzed> = TARGETS.iter().filter(is_asked).collect();
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    if !cfg!(target_os = "linux") {
        let reason = "the targets are linked for Linux only";
        let row = |target: &&Fuzzed| target.row(Outcome::NotDone(reason.to_owned()));
        return Ok(targets.iter().map(row).collect());
    }
    let triple = Target::host(&Policy::load()?)?.triple;
    build(&triple)?;
    let programs_dir = target_dir().join(triple).join("release");
    let scratch = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for some in targets.chunks(AT_ONCE) {
        let mut running = Vec::new();
        for target in some {
            say::step(&format!("Running {} for {SECONDS} s", target.name));
            running.push((target, start(target, &programs_dir, scratch.path())?));
        }
        for (target, child) in running {
            let ended = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&ended.stderr);
            rows.push(target.row(if ended.status.success() {
                held(&said)?
            } else {
                Outcome::Failed(format!("It ended with {}\n{}", ended.status, end(&said)))
            }));
        }
    }
    Ok(rows)
}

fn build(triple: &str) -> Result<()> {
    say::step("Building the fuzz targets (once; takes minutes)");
    let sh = tools::shell()?;
    let cross = PythonTools::cross()?;
    let cache_dir = tools::zig_cache_dir();
    cross
        .command(&sh, "cargo-zigbuild")
        .args([
            "zigbuild",
            "--quiet",
            "--release",
            "--locked",
            "--bins",
            "--target",
            triple,
        ])
        .arg("--manifest-path")
        .arg(repo::path("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir())
        .env("RUSTFLAGS", COVERAGE)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_ZIGBUILD_PYTHON_PATH", cross.program("python"))
        .env("CARGO_ZIGBUILD_CACHE_DIR", &cache_dir)
        .env("ZIG_GLOBAL_CACHE_DIR", &cache_dir)
        .env("ZIG_LOCAL_CACHE_DIR", &cache_dir)
        .quiet()
        .run()?;
    Ok(())
}

/// Not the one of everything else: what is built with other flags is built anew.
fn target_dir() -> PathBuf {
    repo::cargo_target_dir().join("fuzz")
}

/// Starts a target on its seeds. What it finds on the way goes with `scratch`; what it fails with
/// is kept.
fn start(target: &Fuzzed, programs_dir: &Path, scratch: &Path) -> Result<Child> {
    let program = target.target();
    let found_dir = scratch.join(&program);
    fs_err::create_dir(&found_dir)?;
    let kept_dir = repo::output_dir().join("fuzz");
    fs_err::create_dir_all(&kept_dir)?;
    let prefix = kept_dir.join(format!("{program}-"));
    Command::new(programs_dir.join(&program))
        .arg(format!("-max_total_time={SECONDS}"))
        .arg(format!("-artifact_prefix={}", prefix.display()))
        // Seconds for one input, and megabytes for all of them.
        .args(["-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(found_dir)
        .arg(repo::path("fuzz/seeds").join(&program))
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("Could not start the target `{program}`"))
}

/// What the engine counted.
fn held(said: &str) -> Result<Outcome> {
    let number = |pattern: &str| -> Result<u64> {
        let pattern = Regex::new(pattern)?;
        let last = pattern
            .captures_iter(said)
            .last()
            .with_context(|| format!("The engine says nothing like `{pattern}`"))?;
        Ok(last[1].parse()?)
    };
    let edges = number(" cov: ([0-9]+)")?;
    Ok(Outcome::Held {
        times: number("stat::number_of_executed_units: +([0-9]+)")?,
        seen: format!("{edges} edges of the code reached, 0 crashes"),
    })
}

/// What was said last, which names the input that is kept.
fn end(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, end, held};
    use crate::faults::row::Outcome;
    use crate::repo;

    #[test]
    fn takes_the_last_of_what_the_engine_counts() {
        let said = "#2\tINITED cov: 5 ft: 6\n#9\tNEW    cov: 71 ft: 9\n\
            stat::number_of_executed_units: 4711\n";
        let Outcome::Held { times, seen } = held(said).unwrap() else {
            panic!("it held")
        };
        assert_eq!(times, 4711);
        assert_eq!(seen, "71 edges of the code reached, 0 crashes");
        assert!(held("").is_err());
        assert_eq!(end("a\nb"), "a\nb");
    }

    #[test]
    fn every_target_is_a_row_and_has_seeds() {
        let names = |dir: &str| -> Vec<String> {
            let mut names: Vec<String> = fs_err::read_dir(repo::path(dir))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .map(|name| name.trim_end_matches(".rs").to_owned())
                .collect();
            names.sort();
            names
        };
        let mut rows = TARGETS.map(|target| target.target());
        rows.sort();
        assert_eq!(names("fuzz/targets"), rows);
        assert_eq!(names("fuzz/seeds"), rows);
    }
}
