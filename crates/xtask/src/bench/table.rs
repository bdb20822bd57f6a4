//! The tables: a line for each comparison, and their places in the documents.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::repo;

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

/// Where a table stands.
pub(super) struct Place {
    pub(super) document: &'static str,
    /// What tells it from the other tables.
    pub(super) mark: &'static str,
}

impl Place {
    /// Puts the table there.
    pub(super) fn write(&self, table: &str) -> Result<()> {
        let path = repo::path(self.document);
        let text = self.filled(&fs_err::read_to_string(&path)?, table)?;
        fs_err::write(path, text)?;
        Ok(())
    }

    fn filled(&self, text: &str, table: &str) -> Result<String> {
        let begin = format!("<!-- {} -->\n", self.mark);
        let end = format!("<!-- /{} -->", self.mark);
        let place = || {
            format!(
                "`{}` has no place for the table `{}`",
                self.document, self.mark
            )
        };
        let (before, rest) = text.split_once(&begin).with_context(place)?;
        let (_, after) = rest.split_once(&end).with_context(place)?;
        Ok(format!("{before}{begin}{table}{end}{after}"))
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
    let sh = Shell::new()?;
    let node = cmd!(sh, "node --version").quiet().read()?;
    let processors = std::thread::available_parallelism()?;
    writeln!(
        table,
        "\nMeasured on {}, {processors} processors, Node {node}.",
        machine()
    )?;
    Ok(table)
}

fn machine() -> String {
    let model = fs_err::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(": ")?.1.to_owned())
        });
    model.unwrap_or_else(|| format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))
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

    use super::{Place, Row, shown};

    #[test]
    fn replaces_the_table_and_nothing_else() {
        let place = Place {
            document: "README.md",
            mark: "bench",
        };
        let text = "a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n";
        assert_eq!(
            place.filled(text, "new\n").unwrap(),
            "a\n<!-- bench -->\nnew\n<!-- /bench -->\nb\n"
        );
        assert!(place.filled("<!-- bench daemon -->\n", "new\n").is_err());
    }

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
