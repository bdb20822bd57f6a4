//! The tables: a line for each comparison.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::figures;

/// A line of a table. A ratio below 1 is in favour of ktx.
pub(super) struct Row {
    what: &'static str,
    compared_with: &'static str,
    ours: String,
    theirs: String,
    ratio: f64,
    /// The largest ratio that is accepted; none where a comparison only informs.
    limit: Option<f64>,
}

impl Row {
    /// Compares how long two things take.
    pub(super) fn of_durations(
        [what, compared_with]: [&'static str; 2],
        ours: Duration,
        theirs: Duration,
        limit: Option<f64>,
    ) -> Self {
        Self {
            what,
            compared_with,
            ours: shown(ours),
            theirs: shown(theirs),
            ratio: ours.as_secs_f64() / theirs.as_secs_f64(),
            limit,
        }
    }

    /// Compares how many calls are made in a second: the more the better.
    pub(super) fn of_rates(
        [what, compared_with]: [&'static str; 2],
        ours: f64,
        theirs: f64,
        limit: Option<f64>,
    ) -> Self {
        Self {
            what,
            compared_with,
            ours: format!("{ours:.0}/s"),
            theirs: format!("{theirs:.0}/s"),
            ratio: theirs / ours,
            limit,
        }
    }

    /// Compares megabytes with the most that are accepted.
    pub(super) fn of_megabytes(what: &'static str, ours: f64, most: f64) -> Self {
        Self {
            what,
            compared_with: "limit",
            ours: megabytes(ours),
            theirs: megabytes(most),
            ratio: ours / most,
            limit: Some(1.0),
        }
    }

    /// What is over its limit, if it is.
    pub(super) fn exceeded(&self) -> Option<String> {
        (self.limit? < self.ratio).then(|| format!("{} / {}", self.what, self.compared_with))
    }
}

/// The rows as Markdown, with the machine that they were measured on.
pub(super) fn render(rows: &[Row]) -> Result<String> {
    let mut table = String::from(
        "| ktx | beside | ktx | beside it | ratio | limit |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let limit = row.limit.map(|limit| format!("{limit:.1}"));
        writeln!(
            table,
            "| {} | {} | {} | {} | {:.2} | {} |",
            row.what,
            row.compared_with,
            row.ours,
            row.theirs,
            row.ratio,
            limit.unwrap_or_default()
        )?;
    }
    writeln!(table, "\nMeasured on {}.", figures::machine()?)?;
    Ok(table)
}

fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    match milliseconds {
        ..1.0 => format!("{:.0} µs", milliseconds * 1000.0),
        ..10.0 => format!("{milliseconds:.1} ms"),
        _ => format!("{milliseconds:.0} ms"),
    }
}

fn megabytes(megabytes: f64) -> String {
    if megabytes < 10.0 {
        format!("{megabytes:.2} MB")
    } else {
        format!("{megabytes:.0} MB")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Row, shown};

    #[test]
    fn knows_what_is_over_its_limit() {
        let second = Duration::from_secs(1);
        let slow = Row::of_durations(["a", "b"], second * 2, second, Some(1.5));
        assert_eq!(slow.exceeded().as_deref(), Some("a / b"));
        let only_informs = Row::of_durations(["a", "b"], second * 2, second, None);
        assert_eq!(only_informs.exceeded(), None);
        let fewer_calls = Row::of_rates(["a", "b"], 9.0, 10.0, Some(1.0));
        assert!(fewer_calls.exceeded().is_some());
        let more_calls = Row::of_rates(["a", "b"], 11.0, 10.0, Some(1.0));
        assert_eq!(more_calls.exceeded(), None);
    }

    #[test]
    fn shows_durations_in_the_unit_that_fits() {
        assert_eq!(shown(Duration::from_micros(180)), "180 µs");
        assert_eq!(shown(Duration::from_micros(3140)), "3.1 ms");
        assert_eq!(shown(Duration::from_millis(57)), "57 ms");
    }
}
