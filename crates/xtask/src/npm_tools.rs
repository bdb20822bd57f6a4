//! Programs from npm, at the versions that a `package-lock.json` in this checkout names.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;

use crate::{digest, repo, say, tools};

/// A set of programs that are installed together.
pub(crate) struct NpmTools {
    /// As its directory is called.
    pub(crate) name: &'static str,
    /// As people are told of it.
    pub(crate) shown: &'static str,
    /// Where `package.json` and `package-lock.json` are.
    pub(crate) pins_dir: &'static str,
    /// What npm is told besides.
    pub(crate) arguments: &'static [&'static str],
}

impl NpmTools {
    /// Installs them, or takes what these pins already installed; gives the directory that holds
    /// `node_modules`.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let mut pins = Vec::new();
        for file in ["package.json", "package-lock.json"] {
            pins.push((file, fs::read(repo::path(self.pins_dir).join(file))?));
        }
        let all: Vec<u8> = pins.iter().flat_map(|(_, text)| text.clone()).collect();
        let key = &digest::of_reader(&all[..])?.sha256[..16];
        let tools_dir = tools::dir();
        let dir = tools_dir.join(format!("{}-{key}", self.name));
        if dir.exists() {
            return Ok(dir);
        }
        fs::create_dir_all(&tools_dir)?;
        let lock = fs::File::create(tools_dir.join(format!("{}.lock", self.name)))?;
        lock.lock()?;
        if dir.exists() {
            return Ok(dir);
        }
        say::step(&format!("Installing {}", self.shown));
        let next_dir = tools_dir.join(format!("{}-next", self.name));
        if next_dir.exists() {
            fs::remove_dir_all(&next_dir)?;
        }
        fs::create_dir(&next_dir)?;
        for (file, text) in pins {
            fs::write(next_dir.join(file), text)?;
        }
        let sh = tools::shell()?;
        sh.change_dir(&next_dir);
        tools::npm(&sh)
            .args(self.arguments)
            .args(["--ignore-scripts", "--no-audit", "--no-fund"])
            .args(["--loglevel", "error"])
            .quiet()
            .ignore_stdout()
            .run()?;
        // Whole or not at all: an interrupted installation is begun again.
        fs::rename(&next_dir, &dir)?;
        Ok(dir)
    }
}
