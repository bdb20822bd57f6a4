//! `cargo xtask test`: every check and every test, on a machine with Rust, Node and Python.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use xshell::Shell;

use crate::addon::Addon;
use crate::policy::Policy;
use crate::steps::{Step, Steps, capture, step, tests};
use crate::suites::{self, Suite};
use crate::target::Target;
use crate::tools::PythonTools;
use crate::{docs, faults, lock, npm, repo, say, tidy, tools};

const VITEST_MARKS: &[&str] = &["Test Files ", "Tests ", "Duration "];

const RUSTFMT: Step = step("rustfmt");
const CLIPPY: Step = step("clippy");
const DENY: Step = step("deny");
const TIDY: Step = step("tidy");
const RUFF: Step = step("ruff");
const LOCK: Step = step("lock");
const PROTOCOL: Step = step("protocol");
const BUILD: Step = step("build");
const TYPES: Step = step("types");
const LINT: Step = step("lint");
const NEXTEST: Step = tests("nextest", &["Summary ["]);
const DOCTEST: Step = tests("doctest", &["test result: "]);
const PYTEST: Step = tests("pytest", &[" in "]);
const VITEST: Step = tests("vitest", VITEST_MARKS);
const E2E: Step = tests("e2e", VITEST_MARKS);
const FAULTS: Step = tests("faults", &["rows held"]);
const DOCS: Step = tests("docs", &["was not run", " ran"]);
const ALL: [Step; 17] = [
    RUSTFMT, CLIPPY, DENY, TIDY, RUFF, LOCK, PROTOCOL, BUILD, TYPES, LINT, NEXTEST, DOCTEST,
    PYTEST, VITEST, E2E, FAULTS, DOCS,
];

#[derive(Args)]
pub(crate) struct Options {
    /// Run these steps only
    #[arg(value_name = "STEP", value_parser = ALL.map(|step| step.name))]
    steps: Vec<String>,
    /// Name the steps that would run; run none
    #[arg(long)]
    dry_run: bool,
}

/// Runs the steps; tests run after everything that only looks at the code.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let steps = Steps::new(&options.steps);
    if options.dry_run {
        ALL.iter()
            .filter(|step| steps.includes(step.name))
            .for_each(|step| say::result(step.name));
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let policy = Policy::load()?;
    let python_tools = PythonTools::ensure()?;
    tools::ensure_node_modules()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            check_rust(&steps);
            steps.run(LOCK, || {
                lock::run(&lock::Options::check()).map(|()| String::new())
            });
        });
        build_and_check_packages(&steps, &policy, &python_tools);
    });
    run_tests(&steps, &policy, &python_tools);
    Ok(if steps.finish(started) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn check_rust(steps: &Steps) {
    steps.command(RUSTFMT, cargo(&["fmt", "--all", "--check"]));
    steps.run(TIDY, tidy::report);
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ];
    steps.command(CLIPPY, cargo(&lints));
    steps.run(DENY, || {
        let mut deny = Command::new(tools::ensure_cargo_deny()?);
        deny.current_dir(repo::root())
            .args(["--locked", "check", "licenses", "bans", "sources"]);
        capture(DENY.name, deny)
    });
}

fn build_and_check_packages(steps: &Steps, policy: &Policy, python_tools: &PythonTools) {
    steps.run(RUFF, || ruff(python_tools));
    let mut protocol = npm_script("protocol");
    protocol
        .current_dir(repo::path("npm/ktx"))
        .args(["--", "--check"]);
    steps.command(PROTOCOL, protocol);
    steps.run(BUILD, || {
        npm::pack_host(policy, &npm::packs_dir())?;
        Addon::at_output(&Target::host(policy)?).check_declarations()?;
        Ok(String::new())
    });
    steps.command(TYPES, npm_script("typecheck"));
    steps.command(LINT, npm_script("lint"));
}

fn run_tests(steps: &Steps, policy: &Policy, python_tools: &PythonTools) {
    steps.run(NEXTEST, || {
        capture(NEXTEST.name, suites::nextest(python_tools)?)
    });
    steps.command(
        DOCTEST,
        cargo(&["test", "--doc", "--workspace", "--locked", "--quiet"]),
    );
    steps.run(PYTEST, || {
        capture(PYTEST.name, suites::pytest(python_tools)?)
    });
    steps.run(VITEST, || {
        capture(VITEST.name, suites::vitest(Suite::Package, python_tools)?)
    });
    steps.run(E2E, || {
        capture(E2E.name, suites::vitest(Suite::EndToEnd, python_tools)?)
    });
    steps.run(FAULTS, faults::after_tests);
    steps.run(DOCS, || docs::run_commands(policy, &npm::packs_dir()));
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repo::root()).args(arguments);
    command
}

fn npm_script(name: &str) -> Command {
    let sh = Shell::new().expect("the working directory exists");
    let mut command = Command::from(tools::npm(&sh).args(["run", "--silent", name]));
    command.current_dir(repo::root());
    command
}

fn ruff(python_tools: &PythonTools) -> Result<String> {
    let mut output = String::new();
    for arguments in [
        ["check", "python"].as_slice(),
        &["format", "--check", "python"],
    ] {
        let mut command = Command::new(python_tools.program("ruff"));
        command
            .current_dir(repo::root())
            .args(arguments)
            .arg("--no-cache");
        output.push_str(&capture(RUFF.name, command)?);
    }
    Ok(output)
}
