//! Figures that this machine measured, and the places where the documents quote them.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::repo;

/// Where a table stands.
pub(crate) struct Place {
    pub(crate) document: &'static str,
    /// What tells it from the other tables.
    pub(crate) mark: &'static str,
}

impl Place {
    /// Puts the table there.
    pub(crate) fn write(&self, table: &str) -> Result<()> {
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

/// The machine and the Node that figures were measured with, as part of a sentence.
pub(crate) fn machine() -> Result<String> {
    let model = fs_err::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(": ")?.1.to_owned())
        })
        .unwrap_or_else(|| format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    let sh = Shell::new()?;
    let node = cmd!(sh, "node --version").quiet().read()?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!("{model}, {processors} processors, Node {node}"))
}

#[cfg(test)]
mod tests {
    use super::Place;

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
}
