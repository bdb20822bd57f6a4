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

/// The processes whose program, working directory, arguments or variables name a directory. Its own
/// name has to be unique: what leads to it is spelled in more than one way.
#[cfg(target_os = "linux")]
pub(super) fn of(dir: &Path) -> Result<Vec<Found>> {
    use std::os::unix::ffi::OsStrExt;

    let mark = dir.file_name().unwrap_or_default().as_bytes();
    let is_in = |text: &[u8]| text.windows(mark.len()).any(|part| part == mark);
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
            fs_err::read_link(process_dir.join(name))
                .is_ok_and(|path| is_in(path.as_os_str().as_bytes()))
        });
        let is_told = || {
            ["cmdline", "environ"]
                .iter()
                .any(|name| fs_err::read(process_dir.join(name)).is_ok_and(|text| is_in(&text)))
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

/// The processes whose arguments name a directory, whose own name has to be unique.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn of(dir: &Path) -> Result<Vec<Found>> {
    let mark = dir.file_name().unwrap_or_default().to_string_lossy();
    let sh = xshell::Shell::new()?;
    let listed = xshell::cmd!(sh, "ps -A -ww -o pid=,args=").quiet().read()?;
    let mut found = Vec::new();
    for line in listed.lines().filter(|line| line.contains(&*mark)) {
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
pub(super) fn of(_dir: &Path) -> Result<Vec<Found>> {
    Ok(Vec::new())
}
