//! Runs named checks, some at the same time, and ends with what each of them said.

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{repo, say};

/// Which steps run, and what came of them.
pub(crate) struct Steps {
    only: Vec<String>,
    outcomes: Mutex<Vec<Outcome>>,
}

struct Outcome {
    name: &'static str,
    duration: Duration,
    error: Option<String>,
    /// The runner's own last words.
    closing: String,
}

/// A step, with how many of the last lines of its output belong in the summary.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) closing_lines: usize,
}

/// A step whose output matters only when it fails.
pub(crate) const fn step(name: &'static str) -> Step {
    Step {
        name,
        closing_lines: 0,
    }
}

/// A step that runs tests and ends with their count.
pub(crate) const fn tests(name: &'static str, closing_lines: usize) -> Step {
    Step {
        name,
        closing_lines,
    }
}

impl Steps {
    /// Runs all steps, or only those named.
    pub(crate) fn new(only: &[String]) -> Self {
        Self {
            only: only.to_vec(),
            outcomes: Mutex::new(Vec::new()),
        }
    }

    /// Whether a step is to run.
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Runs a step that is a function; a failure is recorded and does not stop the others.
    pub(crate) fn run(&self, step: Step, work: impl FnOnce() -> Result<String>) {
        if !self.includes(step.name) {
            return;
        }
        let started = Instant::now();
        let result = work();
        let duration = started.elapsed();
        let (output, error) = match result {
            Ok(output) => (output, None),
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        let outcome = Outcome {
            name: step.name,
            duration,
            error,
            closing: last_lines(&output, step.closing_lines),
        };
        say::output(&outcome.to_string());
        let mut outcomes = self
            .outcomes
            .lock()
            .expect("no step panics while it records its outcome");
        outcomes.push(outcome);
    }

    /// Runs a step that is a command.
    pub(crate) fn command(&self, step: Step, command: impl Into<Command>) {
        if self.includes(step.name) {
            let command = command.into();
            self.run(step, || capture(step.name, command));
        }
    }

    /// Prints every outcome and fails if a step did.
    pub(crate) fn finish(self, started: Instant) -> Result<()> {
        let outcomes = self
            .outcomes
            .into_inner()
            .expect("no step panics while it records its outcome");
        say::result("");
        for outcome in &outcomes {
            let mark = if outcome.error.is_some() {
                "FAILED"
            } else {
                "ok"
            };
            say::result(&format!(
                "{mark:<7} {:<10} {:>6.1} s",
                outcome.name,
                outcome.duration.as_secs_f64()
            ));
        }
        for outcome in outcomes
            .iter()
            .filter(|outcome| !outcome.closing.is_empty())
        {
            say::result(&format!("\n{}:\n{}", outcome.name, outcome.closing));
        }
        let failed: Vec<&str> = outcomes
            .iter()
            .filter(|outcome| outcome.error.is_some())
            .map(|outcome| outcome.name)
            .collect();
        say::result(&format!(
            "\nDone in {:.0} s",
            started.elapsed().as_secs_f64()
        ));
        if !failed.is_empty() {
            say::result(&format!("Failed: {}", failed.join(", ")));
        }
        say::result(&format!(
            "{} passed, {} failed",
            outcomes.len() - failed.len(),
            failed.len()
        ));
        if outcomes.is_empty() {
            bail!("No step ran");
        }
        if !failed.is_empty() {
            bail!("{} of {} steps failed", failed.len(), outcomes.len());
        }
        Ok(())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.duration.as_secs_f64();
        match &self.error {
            None => write!(formatter, "ok      {} ({seconds:.1} s)", self.name),
            Some(error) => write!(formatter, "FAILED  {} ({seconds:.1} s)\n{error}", self.name),
        }
    }
}

/// Runs a command, keeps its output in a log, and gives it back; a failure carries all of it.
pub(crate) fn capture(name: &str, mut command: Command) -> Result<String> {
    let logs_dir = repo::output_dir().join("logs");
    fs_err::create_dir_all(&logs_dir)?;
    let path = logs_dir.join(format!("{name}.log"));
    let (log, _) = fs_err::File::create(&path)?.into_parts();
    // One file for both streams keeps their lines in order.
    let status = command
        .env("NO_COLOR", "1")
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("FORCE_COLOR")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    let output = String::from_utf8_lossy(&fs_err::read(&path)?).into_owned();
    if !status.success() {
        bail!("{command:?} ended with {status}\n{}", output.trim_end());
    }
    Ok(output)
}

fn last_lines(output: &str, count: usize) -> String {
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(count)..] {
        let _ = writeln!(text, "{line}");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn keeps_the_last_lines_that_say_something() {
        assert_eq!(last_lines("a\nb\n\nc\n\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 3), "a");
        assert_eq!(last_lines("a\n", 0), "");
    }
}
