//! What git says of the checkout that is released.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Cmd, Shell};

/// The commit, what differs from it, and where the checkout came from.
#[derive(Clone, Debug)]
pub(crate) struct Checkout {
    pub(crate) revision: String,
    /// Files that are not as they are committed.
    pub(crate) changes: Vec<String>,
    pub(crate) origin: Option<String>,
}

impl Checkout {
    /// Asks git, which writes nothing.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let sh = Shell::new()?;
        sh.change_dir(dir);
        let revision = git(&sh, &["rev-parse", "--verify", "HEAD"])
            .read()
            .with_context(|| {
                format!(
                    "`{}` is no git checkout with a commit; releases are made from one",
                    dir.display()
                )
            })?;
        let changes = git(&sh, &["status", "--porcelain"])
            .read()?
            .lines()
            .filter_map(|line| line.get(3..))
            .map(str::to_owned)
            .collect();
        let origin = git(&sh, &["remote", "get-url", "origin"])
            .ignore_status()
            .read()?;
        Ok(Self {
            revision,
            changes,
            origin: Some(origin).filter(|origin| !origin.is_empty()),
        })
    }
}

fn git<'sh>(sh: &'sh Shell, arguments: &[&str]) -> Cmd<'sh> {
    sh.cmd("git")
        // Asking must not write the index.
        .arg("--no-optional-locks")
        .args(arguments)
        .quiet()
        .ignore_stderr()
}

/// A repository's host and path, whatever the protocol and whoever the user; none for a folder.
pub(crate) fn address(url: &str) -> Option<String> {
    let url = url.strip_prefix("git+").unwrap_or(url);
    let rest = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.to_owned(),
        // As ssh has it: `user@host:path`.
        None => {
            let (host, path) = url.split_once(':')?;
            if host.contains(['/', '\\']) || host.len() == 1 {
                return None;
            }
            format!("{host}/{path}")
        }
    };
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next()?;
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some(format!("{host}/{path}").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn one_repository_has_one_address() {
        for url in [
            "https://github.com/kaelio/ktx",
            "https://github.com/kaelio/ktx.git",
            "git+https://github.com/kaelio/ktx.git",
            "https://user:secret@github.com/Kaelio/ktx/",
            "ssh://git@github.com/kaelio/ktx.git",
            "git@github.com:kaelio/ktx.git",
        ] {
            assert_eq!(address(url).as_deref(), Some("github.com/kaelio/ktx"));
        }
    }

    #[test]
    fn a_folder_is_no_address() {
        for url in ["/srv/ktx", "../ktx", "file:///srv/ktx", "C:\\ktx", "./a:b"] {
            assert_eq!(address(url), None, "{url}");
        }
    }
}
