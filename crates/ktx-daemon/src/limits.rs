//! How much of the machine one worker may take.

#[cfg(target_os = "linux")]
use rustix::process::{Pid, Resource, Rlimit, prlimit, setrlimit};

/// The memory that a worker may have, in bytes: half of what there is.
/// `None` where the system does not say.
#[cfg(target_os = "linux")]
pub fn memory() -> Option<u64> {
    let system = rustix::system::sysinfo();
    let installed = u64::from(system.mem_unit) * system.totalram;
    // A container sees the machine's memory and is killed at its own limit.
    let allotted = ["memory.max", "memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|file| fs_err::read_to_string(format!("/sys/fs/cgroup/{file}")).ok())
        .filter_map(|text| text.trim().parse().ok());
    Some(allotted.fold(installed, u64::min) / 2)
}

/// The memory that a worker may have, in bytes: half of what there is.
/// `None` where the system does not say.
#[cfg(windows)]
pub fn memory() -> Option<u64> {
    use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

    let mut status = MEMORYSTATUSEX {
        dwLength: u32::try_from(size_of::<MEMORYSTATUSEX>()).ok()?,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: `status` is writable and says its own size.
    let done = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (done != 0).then_some(status.ullTotalPhys / 2)
}

/// What a worker may take. The system counts memory for each process, and
/// processes for the whole user.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    memory: Option<u64>,
    processes: Option<u64>,
}

/// What `proc_pid_limits(5)` calls the limit that carries a tag. The system
/// has ignored this one since Linux 2.4.25, and every descendant inherits it.
#[cfg(target_os = "linux")]
pub const TAG_NAME: &str = "Max file locks";

#[cfg(target_os = "linux")]
impl Limits {
    /// How many processes and threads a call may add to those of the machine.
    const PROCESSES: u64 = 2048;

    /// The limits for a worker that is started now, which may take `memory`
    /// bytes; half of what there is if absent.
    pub fn now(memory: Option<u64>) -> Self {
        Self {
            memory: memory.or_else(self::memory),
            processes: tasks().map(|tasks| tasks + Self::PROCESSES),
        }
    }

    /// Lowers the limits of the calling process, between `fork` and `exec`:
    /// nothing here allocates.
    pub fn apply(&self) {
        for (resource, limit) in self.all() {
            let _ = lower(resource, limit, setrlimit);
        }
    }

    /// Lowers the limits of another process, which has those of this one, and
    /// gives it and all that it starts a tag to be found by.
    pub fn apply_to(&self, process: Pid, tag: u64) {
        let set = |resource, limit| prlimit(Some(process), resource, limit).map(drop);
        for (resource, limit) in self.all().into_iter().chain([(Resource::Locks, Some(tag))]) {
            // A process that has ended already needs none.
            let _ = lower(resource, limit, set);
        }
    }

    const fn all(&self) -> [(Resource, Option<u64>); 3] {
        [
            // Address space that is reserved and never touched is not counted,
            // which runtimes with large arenas rely on; hence not `As`.
            (Resource::Data, self.memory),
            // The system counts a user's processes over the whole machine, so
            // the limit is what runs already and some more. It does not bind
            // root.
            (Resource::Nproc, self.processes),
            // A crash is reported, not written to the user's disk.
            (Resource::Core, Some(0)),
        ]
    }
}

/// The largest tag that this process may give away; those of one supervisor
/// count down from it. A supervisor inside of a call inherits the call's tag
/// as its largest one.
#[cfg(target_os = "linux")]
pub fn largest_tag() -> u64 {
    const LARGEST: u64 = 1 << 62;
    let inherited = rustix::process::getrlimit(Resource::Locks);
    inherited
        .maximum
        .map_or(LARGEST, |limit| limit.saturating_sub(1))
}

/// The number of processes and threads on the machine, a bound on those of
/// this user, which would take long to count.
#[cfg(target_os = "linux")]
fn tasks() -> Option<u64> {
    let load = fs_err::read_to_string("/proc/loadavg").ok()?;
    let (_, all) = load.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[cfg(target_os = "linux")]
fn lower(
    resource: Resource,
    limit: Option<u64>,
    set: impl Fn(Resource, Rlimit) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let present = rustix::process::getrlimit(resource);
    let least = |bound: Option<u64>| Some(bound.map_or(limit, |bound| bound.min(limit)));
    set(
        resource,
        Rlimit {
            current: least(present.current),
            maximum: least(present.maximum),
        },
    )
}
