//! `cargo xtask demo`: from this checkout to Python running on a machine that has no uv.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::policy::Policy;
use crate::project::Project;
use crate::{npm, say};

const COMMANDS: [&[&str]; 8] = [
    &["runtime", "status"],
    &["runtime", "install", "--yes"],
    &["runtime", "doctor"],
    &["runtime", "install", "--yes"],
    &["exec", "-c", "print(6*7)"],
    &["runtime", "start"],
    &["exec", "-c", "print(6*7)"],
    &["runtime", "stop"],
];

#[derive(Args)]
pub(crate) struct Options {
    /// Say what would be done; do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Builds, packs, installs and runs.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.dry_run {
        say::result("Build and pack the npm packages of this machine");
        say::result(
            "Install them with npm in an empty project, with an empty home and no uv on PATH",
        );
        for arguments in COMMANDS {
            say::result(&format!("npx ktx {}", arguments.join(" ")));
        }
        return Ok(());
    }
    let started = Instant::now();
    let policy = Policy::load()?;
    let packed = npm::pack_host(&policy, &npm::packs_dir())?;
    say::step("Installing the packages in an empty project, with an empty home and no uv on PATH");
    let project = Project::with_packages(&npm::paths(&packed))?;
    let shown = COMMANDS
        .iter()
        .try_for_each(|arguments| show(&project, arguments));
    // After a failure the daemon still runs.
    shown.and(project.stop_daemons())?;
    say::result(&format!(
        "\nDone in {:.0} s",
        started.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn show(project: &Project, arguments: &[&str]) -> Result<()> {
    let sh = project.shell()?;
    say::result(&format!("\n$ npx ktx {}", arguments.join(" ")));
    let begun = Instant::now();
    let output = project.ktx(&sh).args(arguments).quiet().read()?;
    say::result(&output);
    say::detail(&format!("{:.1} s", begun.elapsed().as_secs_f64()));
    if arguments[0] == "exec" {
        ensure!(output == "42", "Python printed `{output}`; expected `42`");
    }
    Ok(())
}
