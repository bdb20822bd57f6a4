//! `cargo xtask faults`: does to ktx what it must survive, and prints what was seen.
//!
//! The rows are in `tests/faults`: a row says what is done, what must hold, and does it. This verb
//! packs what is tried, runs the rows and draws the table.

mod row;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod strike;

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::row::{Outcome, Row};
use crate::figures::{self, Place};
use crate::policy::Policy;
use crate::tools::PythonTools;
use crate::{npm, repo, say, tools};

/// Where the table of a full run stands.
const PLACE: Place = Place {
    document: "docs/faults.md",
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
    /// Put the table into the documents
    #[arg(long, requires = "full", conflicts_with = "only")]
    write: bool,
}

/// Packs, does the rows and fails if one of them does not hold.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    npm::pack_host(&policy, &repo::output_dir().join("packs"))?;
    let rows = rows(options)?;
    say::result(&table(&rows)?);
    let failures: Vec<String> = rows.iter().filter_map(Row::failure).collect();
    ensure!(
        failures.is_empty(),
        "{} of {} rows do not hold\n\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n\n")
    );
    if options.write {
        PLACE.write(&table(&rows)?)?;
    }
    Ok(())
}

/// Does the rows with the packages that are packed.
fn rows(options: &Options) -> Result<Vec<Row>> {
    let uv_path = PythonTools::ensure()?.program("uv");
    tools::ensure_node_modules()?;
    let report_path = repo::output_dir().join("faults.json");
    let sh = tools::shell()?;
    let mut vitest = Command::from(
        sh.cmd(tools::node_program("vitest"))
            .args(["run", "--config", "tests/faults.config.ts"])
            .args(["--reporter=default", "--reporter=json"])
            .arg("--outputFile.json")
            .arg(&report_path),
    );
    if !options.only.is_empty() {
        vitest.args([
            "--testNamePattern",
            &format!("^({})$", options.only.join("|")),
        ]);
    }
    if report_path.exists() {
        fs_err::remove_file(&report_path)?;
    }
    let status = vitest
        .env("KTX_TEST_UV", &uv_path)
        .env("KTX_TEST_PACKS", repo::output_dir().join("packs"))
        .env("KTX_XTASK", std::env::current_exe()?)
        .env("KTX_FAULTS", if options.full { "full" } else { "quick" })
        .status()?;
    let report = fs_err::read_to_string(&report_path)
        .with_context(|| format!("The rows were not done; vitest ended with {status}"))?;
    let (done, known) = row::read(&report)?;
    for name in &options.only {
        if !known.contains(name) {
            bail!("There is no row `{name}`; there are: {}", known.join(", "));
        }
    }
    ensure!(!done.is_empty(), "No row was done");
    Ok(done)
}

/// The table, with the machine.
fn table(rows: &[Row]) -> Result<String> {
    let mut table =
        String::from("| area | fault | times | required | seen |\n|---|---|---|---|---|\n");
    for row in rows {
        table.push_str(&row.line());
    }
    let held = rows
        .iter()
        .filter(|row| matches!(row.outcome, Outcome::Held { .. }));
    writeln!(
        table,
        "\n{} of {} rows held, on {}.",
        held.count(),
        rows.len(),
        figures::machine()?
    )?;
    Ok(table)
}
