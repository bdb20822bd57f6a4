//! Whether something must be built again: a digest of what it is built from.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use xshell::cmd;

use crate::target::Target;
use crate::{digest, repo, rust_std, tools};

/// What an artifact is built from.
pub(crate) struct Inputs {
    stamp_path: PathBuf,
    key: String,
}

impl Inputs {
    /// Digests the files below `paths` that git does not ignore, the target and the compiler's
    /// version.
    pub(crate) fn of(artifact: &str, target: &Target, paths: &[&str]) -> Result<Self> {
        let sh = tools::shell()?;
        let mut text = rust_std::about()?.to_owned();
        write!(text, "{target:?}")?;
        let paths = [paths, target.inputs()].concat();
        let files = cmd!(
            sh,
            "git ls-files --cached --others --exclude-standard -- {paths...}"
        )
        .quiet()
        .read()?;
        for name in files.lines() {
            let path = repo::path(name);
            if path.is_file() {
                text.push_str(name);
                text.push_str(&digest::of_file(&path)?.sha256);
            }
        }
        Ok(Self {
            stamp_path: repo::output_dir()
                .join(format!("{artifact}-{}.inputs", target.platform.id)),
            key: digest::of_reader(text.as_bytes())?.sha256,
        })
    }

    /// Whether `output` was built from exactly these inputs.
    pub(crate) fn match_output(&self, output: &Path) -> bool {
        if !output.exists() {
            return false;
        }
        match (fs_err::read_to_string(&self.stamp_path), self.stamp(output)) {
            (Ok(recorded), Ok(current)) => recorded == current,
            _ => false,
        }
    }

    /// Notes that `output` was built from these inputs.
    pub(crate) fn record(&self, output: &Path) -> Result<()> {
        fs_err::write(&self.stamp_path, self.stamp(output)?)?;
        Ok(())
    }

    fn stamp(&self, output: &Path) -> Result<String> {
        Ok(format!("{} {}", self.key, digest::of_file(output)?.sha256))
    }
}
