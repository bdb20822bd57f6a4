//! The targets of `fuzz/`: what ktx reads from others, in forms that an engine finds by what each
//! of them makes the reader do.
//!
//! The engine is libFuzzer, which is written in C++: zig compiles it and links, so that a machine
//! needs no more for this than for everything else. rustc marks the edges of the code with the
//! flags of `cargo fuzz`; no nightly compiler is needed for them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use regex::Regex;

use super::row::Outcome;
use crate::policy::Policy;
use crate::target::Target;
use crate::tools::{self, PythonTools};
use crate::{repo, say};

/// How long each target runs, in seconds.
const SECONDS: u32 = 60;

/// How many of them run at once.
const AT_ONCE: usize = 2;

/// What lets the engine see which way the code went.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Memory that is as good as a disk, where the system has that: what is read from files is written
/// to files thousands of times a second.
const MEMORY: &str = "/dev/shm";

/// What must hold of every target.
pub(super) const REQUIRED: &str = "no panic, no hang, nothing accepted that is not what it must be";

/// A target, and what a row says of it.
pub(super) struct Fuzzed {
    /// What the target is called; the row is called so with `fuzz-` before it.
    pub(super) name: &'static str,
    pub(super) area: &'static str,
    /// What is read.
    pub(super) what: &'static str,
}

/// All there are.
pub(super) const TARGETS: [Fuzzed; 9] = [
    fuzzed("asset-manifest", "asset", "the asset's manifest"),
    fuzzed("asset-lock", "asset", "the dependency lock"),
    fuzzed("index-page", "uv", "a page of a package index"),
    fuzzed("wheel-archive", "uv", "the wheel that uv is taken from"),
    fuzzed("runtime-manifest", "status", "the runtime's manifest"),
    fuzzed("wheel-records", "status", "the records of a wheel"),
    fuzzed("daemon-state", "daemon", "the state of a daemon"),
    fuzzed("ready-line", "daemon", "what a daemon says at its start"),
    fuzzed("worker-frame", "exec", "what a worker reports"),
];

const fn fuzzed(name: &'static str, area: &'static str, what: &'static str) -> Fuzzed {
    Fuzzed { name, area, what }
}

/// Builds the targets and runs each for a while.
pub(super) fn run(targets: &[Fuzzed]) -> Result<Vec<Outcome>> {
    if !cfg!(target_os = "linux") {
        let reason = "the targets are linked for Linux only";
        return Ok(targets
            .iter()
            .map(|_| Outcome::NotDone(reason.to_owned()))
            .collect());
    }
    let triple = Target::native(&Policy::load()?)?.triple;
    build(&triple)?;
    let programs_dir = target_dir().join(triple).join("release");
    let memory = Path::new(MEMORY);
    let scratch = if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    };
    let mut outcomes = Vec::new();
    for some in targets.chunks(AT_ONCE) {
        let names: Vec<&str> = some.iter().map(|target| target.name).collect();
        say::step(&format!("Fuzzing {}", names.join(" and ")));
        let running = some
            .iter()
            .map(|target| start(target, &programs_dir, scratch.path()))
            .collect::<Result<Vec<Child>>>()?;
        for child in running {
            let ended = child.wait_with_output()?;
            let said = String::from_utf8_lossy(&ended.stderr);
            outcomes.push(if ended.status.success() {
                held(&said)?
            } else {
                Outcome::Failed(format!("It ended with {}\n{}", ended.status, end(&said)))
            });
        }
    }
    Ok(outcomes)
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
fn target_dir() -> std::path::PathBuf {
    repo::cargo_target_dir().join("fuzz")
}

/// Starts a target on its seeds. What it finds on the way goes with `scratch`; what it fails with
/// is kept.
fn start(target: &Fuzzed, programs_dir: &Path, scratch: &Path) -> Result<Child> {
    let program = target.name.replace('-', "_");
    let found_dir = scratch.join(&program);
    fs_err::create_dir(&found_dir)?;
    let kept_dir = repo::output_dir().join("fuzz");
    fs_err::create_dir_all(&kept_dir)?;
    let prefix = kept_dir.join(format!("{}-", target.name));
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
    let edges = number(r"\bcov: (\d+)")?;
    Ok(Outcome::Held {
        times: number(r"stat::number_of_executed_units:\s+(\d+)")?,
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
                .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
                .collect();
            names.sort();
            names
        };
        let mut rows = TARGETS.map(|target| target.name);
        rows.sort_unstable();
        assert_eq!(names("fuzz/targets"), rows);
        assert_eq!(names("fuzz/seeds"), rows);
    }
}
