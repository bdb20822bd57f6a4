//! Runs named checks, some at the same time, and ends with what each of them said.

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

/// A step, with what marks the lines of its output that belong in the summary.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    closing_marks: &'static [&'static str],
}

/// A step whose output matters only when it fails.
pub(crate) const fn step(name: &'static str) -> Step {
    tests(name, &[])
}

/// A step that runs tests and counts them in lines with these marks.
pub(crate) const fn tests(name: &'static str, closing_marks: &'static [&'static str]) -> Step {
    Step {
        name,
        closing_marks,
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
        let closing = closing_lines(error.as_ref().unwrap_or(&output), step.closing_marks);
        let outcome = Outcome {
            name: step.name,
            duration,
            error,
            closing,
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

    /// Prints every outcome, ends with their count, and says whether all steps passed.
    pub(crate) fn finish(self, started: Instant) -> bool {
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
            let seconds = outcome.duration.as_secs_f64();
            say::result(&format!("{mark:<7} {:<10} {seconds:>6.1} s", outcome.name));
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
        let passed = outcomes.len() - failed.len();
        say::result(&format!("{passed} passed, {} failed", failed.len()));
        failed.is_empty() && passed > 0
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

/// The last lines that hold one of the marks; of each mark the last.
fn closing_lines(output: &str, marks: &[&str]) -> String {
    let lines: Vec<&str> = marks
        .iter()
        .filter_map(|mark| output.lines().rev().find(|line| line.contains(mark)))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::closing_lines;

    #[test]
    fn keeps_the_last_line_with_each_mark() {
        let output = " Tests 1 failed\n Test Files  2 passed\n Tests  3 passed\n\nDone\n";
        let marks = ["Test Files ", "Tests "];
        assert_eq!(
            closing_lines(output, &marks),
            " Test Files  2 passed\n Tests  3 passed"
        );
        assert_eq!(closing_lines(output, &["Summary"]), "");
    }
}
