//! What is wrong with an artifact: all of it at once, each problem with the file and the key.

use std::fmt::Display;

use anyhow::{Result, bail};

/// The problems of one artifact and of what is in it.
#[derive(Debug)]
pub(crate) struct Problems {
    file: String,
    found: Vec<String>,
}

impl Problems {
    /// None so far.
    pub(crate) fn of(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            found: Vec::new(),
        }
    }

    /// Notes a problem of the file.
    pub(crate) fn add(&mut self, key: &str, problem: impl Display) {
        self.found
            .push(format!("`{}`: {key}: {problem}", self.file));
    }

    /// Notes a problem unless something holds.
    pub(crate) fn unless(&mut self, holds: bool, key: &str, problem: impl Display) {
        if !holds {
            self.add(key, problem);
        }
    }

    /// Checks something inside the file under a name of its own.
    pub(crate) fn inside<T>(&mut self, name: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let whole = format!("{}/{name}", self.file);
        let outer = std::mem::replace(&mut self.file, whole);
        let checked = check(self);
        self.file = outer;
        checked
    }

    /// Fails with all that was found.
    pub(crate) fn into_result(self) -> Result<()> {
        if let [only] = &self.found[..] {
            bail!("{only}");
        }
        if !self.found.is_empty() {
            bail!(
                "{} problems of `{}`\n  {}",
                self.found.len(),
                self.file,
                self.found.join("\n  ")
            );
        }
        Ok(())
    }
}
