//! `cargo xtask faults`: does to ktx what it must survive, and prints what was seen.
//!
//! The rows are in `tests/faults`: a row says what is done, what must hold, and does it. This verb
//! packs what is tried, runs the rows and draws the table.

mod fuzz;
mod row;
mod sanitizers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod strike;
mod suites;

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::row::Row;
use crate::figures::{self, Place};
use crate::policy::Policy;
use crate::steps::capture;
use crate::suites::{Suite, vitest_with};
use crate::tools::PythonTools;
use crate::{npm, repo, say, tools, uv, uv_pins};

/// Where the table of a full run stands.
const TABLE: Place = Place {
    document: "docs/faults.md",
    mark: "faults",
};

/// Where its sums stand.
const SUMS: Place = Place {
    document: "README.md",
    mark: "faults",
};

#[derive(Args)]
pub(crate) struct Options {
    /// Do what fits into the tests that always run; the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Do all of it, at every place and as often as the table says
    #[arg(long)]
    full: bool,
    /// Do this row only; may be given more than once
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Put the table and its sums into the documents
    #[arg(long, requires = "full", conflicts_with = "only")]
    write: bool,
}

/// How much is done.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Amount {
    Quick,
    Full,
}

/// Packs, does the rows and fails if one of them does not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    npm::pack_host(&policy, &npm::packs_dir())?;
    let amount = if options.full {
        Amount::Full
    } else {
        Amount::Quick
    };
    let mut rows = done(amount, &options.only)?;
    let mut suites_ran = Ok(());
    if options.full {
        if suites::are_wanted(&options.only)? {
            suites_ran = run_suites();
            rows.extend(suites::rows()?);
        }
        rows.extend(fuzz::rows(&options.only)?);
        rows.extend(sanitizers::rows(&options.only)?);
    }
    rows.retain(|row| options.only.is_empty() || options.only.contains(&row.name));
    for name in &options.only {
        ensure!(
            rows.iter().any(|row| row.name == *name),
            "There is no row `{name}`{}",
            if options.full {
                ""
            } else {
                "; some are done with `--full` only"
            }
        );
    }
    let table = judged(&mut rows)?;
    // A test may fail that no row names.
    suites_ran?;
    say::result(&table);
    if options.write {
        TABLE.write(&table)?;
        SUMS.write(&format!("{}\n{}", row::sums(&rows), origin(&rows)?))?;
    }
    Ok(())
}

/// Does the quick rows once the suites of tests have run, and gives the table.
pub(crate) fn after_tests() -> Result<String> {
    let mut rows = done(Amount::Quick, &[])?;
    rows.extend(suites::rows()?);
    judged(&mut rows)
}

/// Runs every suite, whichever fails.
fn run_suites() -> Result<()> {
    let tools = PythonTools::ensure()?;
    let ran = [
        capture("nextest", crate::suites::nextest(&tools)?),
        capture("pytest", crate::suites::pytest(&tools)?),
        capture("vitest", crate::suites::vitest(Suite::Package, &tools)?),
        capture("e2e", crate::suites::vitest(Suite::EndToEnd, &tools)?),
    ];
    ran.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

/// Does the rows that are in files of their own, with the packages that are packed.
fn done(amount: Amount, only: &[String]) -> Result<Vec<Row>> {
    tools::ensure_node_modules()?;
    let report_path = repo::output_dir().join("faults.json");
    if report_path.exists() {
        fs_err::remove_file(&report_path)?;
    }
    let mut vitest = vitest_with(
        &["--config", "tests/faults.config.ts"],
        &PythonTools::ensure()?,
    )?;
    vitest
        .args(["--reporter=default", "--reporter=json"])
        .arg(format!("--outputFile.json={}", report_path.display()))
        .env("KTX_XTASK", std::env::current_exe()?)
        .env(
            "KTX_FAULTS",
            match amount {
                Amount::Quick => "quick",
                Amount::Full => "full",
            },
        );
    if !only.is_empty() {
        vitest.args(["--testNamePattern", &format!("^({})$", only.join("|"))]);
    }
    let ended = capture("rows", vitest);
    let report = fs_err::read_to_string(&report_path)
        .with_context(|| format!("The rows were not done: {ended:?}"))?;
    row::read(&report)
}

/// Sorts the rows and gives their table, if every one holds; else what does not.
fn judged(rows: &mut [Row]) -> Result<String> {
    row::sort(rows);
    let table = format!("{}\n{}", row::table(rows), origin(rows)?);
    let failures: Vec<String> = rows.iter().filter_map(Row::failure).collect();
    ensure!(
        failures.is_empty(),
        "{table}\n{} of {} rows do not hold\n\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n\n")
    );
    Ok(table)
}

/// How many rows held, on which day and machine, and with which versions.
fn origin(rows: &[Row]) -> Result<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let sh = tools::shell()?;
    let python = uv::read(
        PythonTools::ensure()?
            .command(&sh, "python")
            .arg("--version"),
    )?;
    Ok(format!(
        "{} of {} rows held on {}: ktx {}, uv {}, {}, {}.\n",
        rows.iter().filter(|row| row.held().is_some()).count(),
        rows.len(),
        now.split('T').next().unwrap_or_default(),
        repo::VERSION,
        uv_pins::load()?.version,
        python.trim(),
        figures::machine()?
    ))
}
