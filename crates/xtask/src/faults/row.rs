//! A row of the table, as the tests report it.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The areas in the order of the table.
const AREAS: [&str; 9] = [
    "install", "asset", "uv", "status", "prune", "daemon", "exec", "cli", "release",
];

/// What was done to ktx and what came of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) told: Told,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// All that must hold did.
    Held { times: u64, seen: String },
    /// Something did not hold, and what.
    Failed(String),
    /// It cannot be done on this machine, and why.
    NotDone(String),
}

/// What the tests say of a row; `times` and `seen` only if it held.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    area: String,
    fault: String,
    required: String,
    missing: Option<String>,
    times: Option<u64>,
    seen: Option<String>,
}

/// vitest's report.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    test_results: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    message: String,
    assertion_results: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    title: String,
    #[serde(default)]
    failure_messages: Vec<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    fault: Option<Told>,
}

/// Reads the rows that were tried.
pub(super) fn read(report: &str) -> Result<Vec<Row>> {
    let report: Report = serde_json::from_str(report).context("vitest's report")?;
    let mut rows = Vec::new();
    for file in report.test_results {
        ensure!(
            !file.assertion_results.is_empty(),
            "`{}` has no rows: {}",
            file.name,
            file.message
        );
        rows.extend(file.assertion_results.into_iter().filter_map(Row::of_test));
    }
    Ok(rows)
}

/// Puts rows in the order of the table.
pub(super) fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| AREAS.iter().position(|area| *area == row.told.area));
}

/// The table, a line for each row.
pub(super) fn table(rows: &[Row]) -> String {
    let lines: String = rows.iter().map(Row::line).collect();
    format!("| area | fault | times | required | seen |\n|---|---|---|---|---|\n{lines}")
}

/// How many rows each area has and how often what they say was done.
pub(super) fn sums(rows: &[Row]) -> String {
    let line = |area: &str| {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.told.area == area).collect();
        let held: Vec<u64> = rows.iter().filter_map(|row| row.held()).collect();
        format!(
            "| {area} | {} | {} | {} |\n",
            rows.len(),
            held.len(),
            held.iter().sum::<u64>()
        )
    };
    let lines: String = AREAS.into_iter().map(line).collect();
    format!("| area | rows | of them held | times |\n|---|---|---|---|\n{lines}")
}

impl Row {
    /// A row that this verb does itself.
    pub(super) fn new(
        name: &str,
        area: &'static str,
        fault: &str,
        required: &str,
        outcome: Outcome,
    ) -> Self {
        Self {
            name: name.to_owned(),
            told: Told {
                area: area.to_owned(),
                fault: fault.to_owned(),
                required: required.to_owned(),
                missing: None,
                times: None,
                seen: None,
            },
            outcome,
        }
    }

    /// `None` for a row that was not asked for.
    fn of_test(test: Test) -> Option<Self> {
        let told = test.meta.fault?;
        let outcome = match (&told.missing, told.times, &told.seen) {
            (Some(reason), ..) => Outcome::NotDone(reason.clone()),
            (None, Some(times), Some(seen)) if test.failure_messages.is_empty() => Outcome::Held {
                times,
                seen: seen.clone(),
            },
            _ => Outcome::Failed(test.failure_messages.join("\n")),
        };
        Some(Self {
            name: test.title,
            told,
            outcome,
        })
    }

    /// How often it was done, if all that must hold did.
    pub(super) fn held(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Held { times, .. } => Some(times),
            Outcome::Failed(_) | Outcome::NotDone(_) => None,
        }
    }

    /// Its line of the table.
    fn line(&self) -> String {
        let Told {
            area,
            fault,
            required,
            ..
        } = &self.told;
        let (times, seen) = match &self.outcome {
            Outcome::Held { times, seen } => (times.to_string(), seen.as_str()),
            Outcome::Failed(_) => (String::new(), "**does not hold**"),
            Outcome::NotDone(reason) => ("0".to_owned(), reason.as_str()),
        };
        format!("| {area} | {fault} | {times} | {required} | {seen} |\n")
    }

    /// What did not hold, under the row's name.
    pub(super) fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed(message) => Some(format!("{}:\n{message}", self.name)),
            Outcome::Held { .. } | Outcome::NotDone(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Row, sums};

    #[test]
    fn adds_up_what_held() {
        let held = |times| Outcome::Held {
            times,
            seen: String::new(),
        };
        let row = |area, outcome| Row::new("name", area, "fault", "required", outcome);
        let rows = [
            row("uv", held(3)),
            row("cli", Outcome::NotDone("no reason".to_owned())),
            row("uv", held(4)),
        ];
        let sums = sums(&rows);
        assert!(sums.contains("| uv | 2 | 2 | 7 |\n"), "{sums}");
        assert!(sums.contains("| cli | 1 | 0 | 0 |\n"), "{sums}");
    }
}
