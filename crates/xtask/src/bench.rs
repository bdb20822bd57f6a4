//! `cargo xtask bench`: ktx beside what people would run instead, as ratios of medians.
//!
//! What is compared takes turns in one run, so that what else the machine does falls on all of it.

mod daemon;
mod install;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use xshell::{Cmd, Shell};

use crate::figures::Place;
use crate::policy::{Names, Policy};
use crate::project::Project;
use crate::{npm, say, uv};
use table::Row;

#[derive(Args)]
pub(crate) struct Options {
    /// Put the tables into the documents
    #[arg(long)]
    write: bool,
    /// How often each command runs, and how many rounds of calls are made
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Measure this part only
    #[arg(long)]
    only: Option<Part>,
}

/// What is measured together and has a table of its own.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Part {
    /// The command and the installation
    Install,
    /// Calls through the daemon
    Daemon,
}

impl Part {
    fn place(self) -> Place {
        match self {
            Self::Install => Place {
                document: "README.md",
                mark: "bench",
            },
            Self::Daemon => Place {
                document: "docs/speed.md",
                mark: "bench daemon",
            },
        }
    }
}

/// Measures, prints the tables and fails if a limit is exceeded.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.runs > 0, "`--runs` must be at least 1");
    let policy = Policy::load()?;
    let packed = npm::pack_host(&policy, &npm::packs_dir())?;
    let project = Project::with_packages(&npm::paths(&packed))?;
    let bench = Bench {
        runs: options.runs,
        sh: project.shell()?,
        package: policy.root_package(),
        names: Names::of(&policy)?,
        project,
    };
    bench
        .ktx(&["runtime", "install", "--yes"])
        .ignore_stdout()
        .quiet()
        .run()?;

    let mut exceeded = Vec::new();
    for part in [Part::Install, Part::Daemon] {
        if options.only.is_some_and(|only| only != part) {
            continue;
        }
        let rows = match part {
            Part::Install => install::rows(&bench, &policy)?,
            Part::Daemon => daemon::rows(&bench)?,
        };
        let table = table::render(&rows)?;
        say::result(&table);
        if options.write {
            part.place().write(&table)?;
        }
        exceeded.extend(rows.iter().filter_map(Row::exceeded));
    }
    ensure!(
        exceeded.is_empty(),
        "Over the limit: {}",
        exceeded.join(", ")
    );
    Ok(())
}

/// The project in which everything runs.
struct Bench {
    runs: usize,
    sh: Shell,
    /// The npm name of what is measured.
    package: String,
    names: Names,
    project: Project,
}

impl Bench {
    fn ktx(&self, arguments: &[&str]) -> Cmd<'_> {
        let cli_path = self.project.dir().join("node_modules/.bin/ktx");
        self.clean(self.sh.cmd(cli_path)).args(arguments)
    }

    fn node(&self, program: &str) -> Cmd<'_> {
        self.clean(self.sh.cmd("node")).args(["-e", program])
    }

    /// Gives a command the environment of the project's user, in which Python keeps what it
    /// compiled, as it does unless it is told not to.
    fn clean<'sh>(&self, command: Cmd<'sh>) -> Cmd<'sh> {
        self.project
            .clean(command)
            .env_remove("PYTHONDONTWRITEBYTECODE")
    }

    /// Runs each of the measures as often as asked, in turns.
    fn medians<const N: usize>(
        &self,
        measures: [&dyn Fn() -> Result<Duration>; N],
    ) -> Result<[Duration; N]> {
        let mut durations: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
        // The first round fills caches and does not count.
        for round in 0..=self.runs {
            for (measure, durations) in measures.iter().zip(&mut durations) {
                let duration = measure()?;
                if round > 0 {
                    durations.push(duration);
                }
            }
        }
        Ok(durations.map(median))
    }
}

fn timed(command: Cmd<'_>) -> Result<Duration> {
    let begun = Instant::now();
    uv::read(command)?;
    Ok(begun.elapsed())
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::median;

    #[test]
    fn takes_the_middle() {
        let durations = [3, 1, 2].map(Duration::from_secs).to_vec();
        assert_eq!(median(durations), Duration::from_secs(2));
    }
}
