//! The processes that have to do with a directory: what may have been left behind there.

use std::path::Path;

use anyhow::Result;
use ktx_os::process::{Identity, Signal};

/// A process.
pub(super) struct Found {
    identity: Identity,
    line: String,
}

impl Found {
    /// Ends it at once.
    pub(super) fn kill(&self) -> Result<()> {
        if let Some(process) = self.identity.open()? {
            process.signal(Signal::Kill)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.identity.pid, self.line)
    }
}

/// The processes whose program, working directory, arguments or variables are below a directory.
#[cfg(target_os = "linux")]
pub(super) fn below(dir: &Path) -> Result<Vec<Found>> {
    use std::os::unix::ffi::OsStrExt;

    let mark = dir.as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let process_dir = entry.path();
        // A process may end, or be somebody else's, while it is looked at.
        let is_linked = ["exe", "cwd"].iter().any(|name| {
            fs_err::read_link(process_dir.join(name)).is_ok_and(|path| path.starts_with(dir))
        });
        let is_told = || {
            ["cmdline", "environ"].iter().any(|name| {
                fs_err::read(process_dir.join(name))
                    .is_ok_and(|text| text.windows(mark.len()).any(|part| part == mark))
            })
        };
        if (is_linked || is_told())
            && let Some(identity) = Identity::of(pid)?
        {
            let line = fs_err::read(process_dir.join("cmdline")).unwrap_or_default();
            found.push(Found {
                identity,
                line: String::from_utf8_lossy(&line).replace('\0', " "),
            });
        }
    }
    Ok(found)
}

/// The processes whose arguments name a directory.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn below(dir: &Path) -> Result<Vec<Found>> {
    let sh = xshell::Shell::new()?;
    let listed = xshell::cmd!(sh, "ps -A -ww -o pid=,args=").quiet().read()?;
    let mut found = Vec::new();
    for line in listed
        .lines()
        .filter(|line| line.contains(&*dir.to_string_lossy()))
    {
        let Some((pid, line)) = line.trim().split_once(' ') else {
            continue;
        };
        if let Some(identity) = Identity::of(pid.parse()?)? {
            found.push(Found {
                identity,
                line: line.to_owned(),
            });
        }
    }
    Ok(found)
}

/// None: on Windows a directory that a process uses cannot be deleted, so deleting it tells.
#[cfg(windows)]
pub(super) fn below(_dir: &Path) -> Result<Vec<Found>> {
    Ok(Vec::new())
}
