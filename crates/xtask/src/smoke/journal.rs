//! What was tested, how long it took and what was seen.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};

use crate::say;

/// One check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) name: String,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) duration: Duration,
    /// What was seen.
    pub(crate) detail: String,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
}

/// All checks; none of them failed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Smoked {
    pub(crate) outcomes: Vec<Outcome>,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) duration: Duration,
}

impl Smoked {
    /// The checks for people.
    pub(crate) fn table(&self) -> String {
        let width = self.outcomes.iter().map(|outcome| outcome.name.len()).max();
        let mut lines: Vec<String> = self
            .outcomes
            .iter()
            .map(|outcome| outcome.line(width.unwrap_or_default()))
            .collect();
        let skipped = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.skipped.is_some());
        let skipped = skipped.count();
        lines.push(format!(
            "{} passed, 0 failed, {skipped} skipped in {:.0} s",
            self.outcomes.len() - skipped,
            self.duration.as_secs_f64()
        ));
        lines.join("\n")
    }
}

impl Outcome {
    fn line(&self, width: usize) -> String {
        let (mark, said) = match &self.skipped {
            Some(reason) => ("skipped", reason),
            None => ("ok", &self.detail),
        };
        let seconds = self.duration.as_secs_f64();
        format!("{mark:<7} {:<width$} {seconds:>5.1} s  {said}", self.name)
    }
}

/// Where the checks are written down as they are made.
pub(super) struct Journal {
    started: Instant,
    outcomes: RefCell<Vec<Outcome>>,
}

impl Journal {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            outcomes: RefCell::new(Vec::new()),
        }
    }

    /// Makes a check, whose value says what was seen; a failure names it.
    pub(super) async fn check<T: Seen>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let value = work
            .await
            .with_context(|| format!("The smoke test `{name}`"))?;
        self.add(Outcome {
            name: name.to_owned(),
            duration: begun.elapsed(),
            detail: value.seen(),
            skipped: None,
        });
        Ok(value)
    }

    /// Says why a check is not made.
    pub(super) fn skip(&self, name: &str, reason: String) {
        self.add(Outcome {
            name: name.to_owned(),
            duration: Duration::ZERO,
            detail: String::new(),
            skipped: Some(reason),
        });
    }

    pub(super) fn finish(self) -> Smoked {
        Smoked {
            outcomes: self.outcomes.into_inner(),
            duration: self.started.elapsed(),
        }
    }

    fn add(&self, outcome: Outcome) {
        say::detail(&outcome.line(12));
        self.outcomes.borrow_mut().push(outcome);
    }
}

/// What a check tells of what it saw.
pub(super) trait Seen {
    fn seen(&self) -> String;
}

impl Seen for String {
    fn seen(&self) -> String {
        self.clone()
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 10.0).round() / 10.0)
}
