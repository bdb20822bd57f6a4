//! What ties every descendant to this process, so that ending it ends them.

#[cfg(target_os = "linux")]
pub use linux::{Bystanders, contain, has_children, sweep};

#[cfg(windows)]
pub use windows::{Bystanders, contain};

/// What this process had to do with before its first call: nothing, where
/// descendants cannot be told.
#[cfg(not(any(target_os = "linux", windows)))]
pub struct Bystanders;

#[cfg(not(any(target_os = "linux", windows)))]
impl Bystanders {
    /// Does nothing: the guard ends the worker's group, and descendants that
    /// made a session of their own escape.
    pub fn contain() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Does nothing.
    pub fn sweep_others(&self) {}
}

/// Linux: descendants that lose their parent become children of this process,
/// whatever sessions and groups they made for themselves.
#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::io;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use rustix::io::Errno;
    use rustix::process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, set_child_subreaper,
        waitid, waitpid,
    };

    /// How long a sweep may take. What is left then hangs in the kernel and
    /// ends when it comes out.
    const SWEEP: Duration = Duration::from_secs(4);

    /// Makes this process the one that orphans of its descendants fall to.
    pub fn contain() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Whether this process has children, alive or not yet waited for.
    pub fn has_children() -> bool {
        let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::All, any), Err(Errno::CHILD))
    }

    /// Children that were there before the first call, when this process
    /// replaced one that had some. They are nobody's to kill.
    pub struct Bystanders(Vec<Pid>);

    impl Bystanders {
        /// Contains what is started from now on.
        pub fn contain() -> io::Result<Self> {
            contain()?;
            if !has_children() {
                return Ok(Self(Vec::new()));
            }
            let own = getpid();
            let of_own = processes().into_iter().filter(|(_, parent)| *parent == own);
            Ok(Self(of_own.map(|(process, _)| process).collect()))
        }

        /// Ends all descendants but these and theirs.
        pub fn sweep_others(&self) {
            sweep(&self.0);
        }
    }

    /// Kills every descendant of this process, but not `spared` and theirs,
    /// and returns whether they are gone.
    pub fn sweep(spared: &[Pid]) -> bool {
        let deadline = Instant::now() + SWEEP;
        loop {
            let doomed = freeze(spared);
            if doomed.is_empty() {
                return true;
            }
            for &process in &doomed {
                let _ = kill_process(process, Signal::KILL);
            }
            for &process in &doomed {
                // Grandchildren are not ours to wait for until their parents
                // are gone; the next round finds them.
                let _ = waitpid(Some(process), WaitOptions::NOHANG);
            }
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Stops all descendants, and looks again until there are no new ones:
    /// killing them one by one would let those that are left fork in the room
    /// that the dead ones gave free.
    fn freeze(spared: &[Pid]) -> HashSet<Pid> {
        let deadline = Instant::now() + SWEEP / 2;
        let mut frozen = HashSet::new();
        loop {
            let found = descendants(spared);
            let new = found.difference(&frozen).copied().collect::<Vec<_>>();
            if new.is_empty() || Instant::now() > deadline {
                return found;
            }
            for process in new {
                let _ = kill_process(process, Signal::STOP);
                frozen.insert(process);
            }
        }
    }

    fn descendants(spared: &[Pid]) -> HashSet<Pid> {
        let all = processes();
        let mut found = HashSet::new();
        let mut parents = HashSet::from([getpid()]);
        while !parents.is_empty() {
            parents = all
                .iter()
                .filter(|(process, parent)| {
                    parents.contains(parent)
                        && !spared.contains(process)
                        && !found.contains(process)
                })
                .map(|(process, _)| *process)
                .collect();
            found.extend(&parents);
        }
        found
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

    /// Nothing to remember: the job of this process ends what is in it.
    pub struct Bystanders;

    impl Bystanders {
        /// Lets the end of this process end all that it starts from now on.
        pub fn contain() -> io::Result<Self> {
            contain(None).map(|()| Self)
        }

        /// Nothing to do: the guard's own job ended with it.
        pub fn sweep_others(&self) {}
    }

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
