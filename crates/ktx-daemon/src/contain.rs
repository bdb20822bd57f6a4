//! What ties every descendant to this process, so that ending it ends them.

#[cfg(target_os = "linux")]
pub use linux::{children, contain, sweep, tag};

#[cfg(all(unix, not(target_os = "linux")))]
pub use elsewhere::{children, contain, sweep, tag};

#[cfg(windows)]
pub use windows::contain;

/// Linux: descendants that lose their parent become children of this process,
/// whatever sessions and groups they made for themselves.
#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use rustix::process::{
        Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
    };

    /// How long a sweep may go on without getting anywhere. What is left then
    /// hangs in the kernel and ends when it comes out.
    const SWEEP: Duration = Duration::from_secs(4);

    /// Makes this process the one that orphans of its descendants fall to.
    pub fn contain() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Kills every child of this process that is doomed, with its descendants,
    /// and returns whether they are gone.
    pub fn sweep(is_doomed: &dyn Fn(Pid) -> bool) -> bool {
        let mut fewest = usize::MAX;
        let mut deadline = Instant::now() + SWEEP;
        loop {
            let roots: Vec<Pid> = children()
                .into_iter()
                .filter(|&child| is_doomed(child))
                .collect();
            if roots.is_empty() {
                return true;
            }
            let family = freeze(roots);
            for &process in &family {
                let _ = kill_process(process, Signal::KILL);
                // Grandchildren are not ours to wait for until their parents
                // are gone; the next round finds them.
                let _ = waitpid(Some(process), WaitOptions::NOHANG);
            }
            if family.len() < fewest {
                fewest = family.len();
                deadline = Instant::now() + SWEEP;
            } else if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Stops the processes `roots` and all their descendants, and looks again
    /// until there are no new ones: killing them one by one would let those
    /// that are left fork in the room that the dead ones gave free. Each is
    /// stopped as soon as it is found: until then it competes with this
    /// process for processors.
    fn freeze(roots: Vec<Pid>) -> HashSet<Pid> {
        let deadline = Instant::now() + SWEEP / 2;
        let mut frozen = HashSet::new();
        let mut found = roots;
        while !found.is_empty() && Instant::now() < deadline {
            while let Some(process) = found.pop() {
                if frozen.insert(process) {
                    let _ = kill_process(process, Signal::STOP);
                    found.extend(children_of(process));
                }
            }
            // One that was forking has another child now.
            let missed = |&process: &Pid| children_of(process);
            found = frozen.iter().flat_map(missed).collect();
            found.retain(|process| !frozen.contains(process));
        }
        frozen
    }

    /// The children of another process, as far as they can be seen while it
    /// runs.
    fn children_of(process: Pid) -> Vec<Pid> {
        if !has_lists() {
            return scanned(process);
        }
        // Each thread has those that it started. One that is gone has none.
        let threads = fs_err::read_dir(format!("/proc/{process}/task"));
        let threads = threads.into_iter().flatten().flatten();
        threads
            .filter_map(|thread| listed(&thread.path().join("children")))
            .flatten()
            .collect()
    }

    /// Whether this system lists the children of processes.
    fn has_lists() -> bool {
        static HAS_LISTS: OnceLock<bool> = OnceLock::new();
        *HAS_LISTS.get_or_init(|| listed(&own_list()).is_some())
    }

    /// Orphans fall to the main thread, and nothing is started on others.
    fn own_list() -> PathBuf {
        format!("/proc/self/task/{}/children", getpid()).into()
    }

    /// The children of this process, dead ones that nobody has waited for
    /// among them.
    pub fn children() -> Vec<Pid> {
        let path = own_list();
        // A child that ends while the list is read can hide another from it.
        let mut seen = listed(&path);
        while let Some(children) = seen {
            let again = listed(&path);
            if again.as_ref() == Some(&children) {
                return children;
            }
            seen = again;
        }
        scanned(getpid())
    }

    /// The processes in a list of children; `None` if there is no such list.
    fn listed(path: &Path) -> Option<Vec<Pid>> {
        let text = fs_err::read_to_string(path).ok()?;
        let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        Some(numbers.filter_map(Pid::from_raw).collect())
    }

    /// The children of a process, looked for among all processes.
    fn scanned(parent: Pid) -> Vec<Pid> {
        let of_parent = processes().into_iter().filter(|&(_, of)| of == parent);
        of_parent.map(|(process, _)| process).collect()
    }

    /// The tag that a process got, or inherited, with its limits.
    pub fn tag(process: Pid) -> Option<u64> {
        let path = format!("/proc/{process}/limits");
        let limits = fs_err::read_to_string(path).ok()?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(crate::limits::TAG_NAME))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Every process with its parent.
    fn processes() -> Vec<(Pid, Pid)> {
        let Ok(entries) = fs_err::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                let process = entry.file_name().to_str()?.parse().ok()?;
                let stat = fs_err::read(entry.path().join("stat")).ok()?;
                Some((Pid::from_raw(process)?, Pid::from_raw(parent(&stat)?)?))
            })
            .collect()
    }

    /// The parent in a line of `proc_pid_stat(5)`. The name before it is in
    /// parentheses and may hold any bytes, parentheses among them.
    fn parent(stat: &[u8]) -> Option<i32> {
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
        rest.split_whitespace().nth(1)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::parent;

        #[test]
        fn finds_the_parent_behind_a_hostile_name() {
            assert_eq!(parent(b"12 (a) S 1 (\xff) R 7 7 7 0 -1"), Some(7));
        }
    }
}

/// macOS and the others: there is nobody that orphans fall to, so those that
/// made a session of their own escape.
#[cfg(all(unix, not(target_os = "linux")))]
mod elsewhere {
    use std::io;

    use rustix::process::Pid;

    /// Does nothing.
    pub fn contain() -> io::Result<()> {
        Ok(())
    }

    /// Finds nothing to end.
    pub fn sweep(_is_doomed: &dyn Fn(Pid) -> bool) -> bool {
        true
    }

    /// Processes carry no tags here.
    pub fn tag(_process: Pid) -> Option<u64> {
        None
    }

    /// Children that cannot be told.
    pub fn children() -> Vec<Pid> {
        Vec::new()
    }
}

/// Windows: a job that ends all its processes when the last handle to it is
/// closed, which the system does when this process ends.
#[cfg(windows)]
mod windows {
    use std::io;

    use windows_sys::Win32::System::JobObjects::{
        AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
        JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
        JobObjectExtendedLimitInformation, SetInformationJobObject,
    };
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    /// Puts this process, and so all that it starts, into a job of its own.
    /// `memory` bounds each process in it, in bytes.
    pub fn contain(memory: Option<u64>) -> io::Result<()> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        if let Some(memory) = memory {
            limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_PROCESS_MEMORY;
            limits.ProcessMemoryLimit = usize::try_from(memory).unwrap_or(usize::MAX);
        }
        let size = u32::try_from(size_of_val(&limits)).map_err(io::Error::other)?;
        // SAFETY: the names are absent, which both arguments allow.
        let job = unsafe { CreateJobObjectW(std::ptr::null(), std::ptr::null()) };
        if job.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `job` is open, `limits` is what this class of information
        // consists of, and `size` is its size.
        let set = unsafe {
            SetInformationJobObject(
                job,
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size,
            )
        };
        // SAFETY: both handles are open; the pseudo handle needs no closing.
        if set == 0 || unsafe { AssignProcessToJobObject(job, GetCurrentProcess()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // The handle stays open: the end of this process closes it.
        Ok(())
    }
}
