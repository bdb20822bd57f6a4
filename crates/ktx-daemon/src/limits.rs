//! How much of the machine one worker may take.

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

/// Applies to the calling process, between `fork` and `exec`: nothing here
/// allocates.
#[cfg(target_os = "linux")]
pub struct Limits {
    memory: Option<u64>,
    processes: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Limits {
    /// How many processes and threads a call may add to those of the machine.
    const PROCESSES: u64 = 2048;

    /// The limits for a worker that is started now.
    pub fn now() -> Self {
        Self {
            memory: memory(),
            processes: tasks().map(|tasks| tasks + Self::PROCESSES),
        }
    }

    /// Lowers the limits of the calling process.
    pub fn apply(&self) {
        use rustix::process::Resource;

        // Address space that is reserved and never touched is not counted,
        // which runtimes with large arenas rely on; hence not `As`.
        lower(Resource::Data, self.memory);
        // The system counts a user's processes over the whole machine, so the
        // limit is what runs already and some more. It does not bind root.
        lower(Resource::Nproc, self.processes);
        // A crash is reported, not written to the user's disk.
        lower(Resource::Core, Some(0));
    }
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
fn lower(resource: rustix::process::Resource, limit: Option<u64>) {
    use rustix::process::{Rlimit, getrlimit, setrlimit};

    let Some(limit) = limit else { return };
    let present = getrlimit(resource);
    let least = |bound: Option<u64>| Some(bound.map_or(limit, |bound| bound.min(limit)));
    // It fails for no limit that is lower than the present one.
    let _ = setrlimit(
        resource,
        Rlimit {
            current: least(present.current),
            maximum: least(present.maximum),
        },
    );
}
