//! Which process is meant: its number together with its start and the boot it
//! was started in. A number alone goes to a stranger once its process is gone,
//! and to anybody after a restart of the system.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
#[path = "process/linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "process/macos.rs"]
mod system;
#[cfg(windows)]
#[path = "process/windows.rs"]
mod system;

/// What tells a process from every other one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's own count: clock ticks since the
    /// boot on Linux, microseconds since 1970 elsewhere.
    pub start_time: u64,
    /// The boot of the system that it was started in.
    pub boot_id: String,
}

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end. Windows cannot tell a process that, and does nothing.
    Terminate,
    /// To be gone at once.
    Kill,
    /// To go on if it was stopped. Windows has no stopped processes.
    Continue,
}

/// What the system says of a process that has not ended.
struct Found {
    start_time: u64,
    /// The group that it belongs to; its own number where there are none.
    group: u32,
}

impl Identity {
    /// The process with this number; `None` if there is none, or if it has
    /// ended and only nobody has waited for it yet.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` where the system tells nothing of the processes of
    /// other users.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let Some(found) = system::find(pid)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            pid,
            start_time: found.start_time,
            boot_id: boot_id()?.to_owned(),
        }))
    }

    /// This process.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether this very process has not ended.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(self.find()?.is_some())
    }

    /// Whether this very process has not ended and leads a group. Threads and
    /// children that were started in the same tick of the clock do not.
    pub fn is_leader(&self) -> io::Result<bool> {
        Ok(self.find()?.is_some_and(|found| found.group == self.pid))
    }

    /// A hold on the process, through which it can be signalled; `None` if it
    /// has ended.
    pub fn open(&self) -> io::Result<Option<Process>> {
        let Some(handle) = none_if_refused(system::Handle::open(self.pid))? else {
            return Ok(None);
        };
        // The number may have gone to a stranger until the handle was there.
        // If it has not, the handle is the process's for good.
        Ok(self.is_alive()?.then(|| Process {
            identity: self.clone(),
            handle,
        }))
    }

    /// The processes of the group that this process leads, itself included.
    /// `None` if it has ended: the group may be a stranger's then.
    pub fn group(&self) -> io::Result<Option<Vec<Self>>> {
        let members = group(self.pid)?;
        Ok(self.is_alive()?.then_some(members))
    }

    fn find(&self) -> io::Result<Option<Found>> {
        if boot_id()? != self.boot_id {
            return Ok(None);
        }
        // What belongs to another user cannot be what was started here.
        let found = none_if_refused(system::find(self.pid))?;
        Ok(found.filter(|found| found.start_time == self.start_time))
    }
}

/// The processes of a group that have not ended, whoever they are.
fn group(leader: u32) -> io::Result<Vec<Identity>> {
    let mut members = Vec::new();
    for pid in system::members(leader)? {
        if let Some(found) = none_if_refused(system::find(pid))?
            && found.group == leader
        {
            members.push(Identity {
                pid,
                start_time: found.start_time,
                boot_id: boot_id()?.to_owned(),
            });
        }
    }
    Ok(members)
}

/// The boot of the system that this process was started in.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = system::boot_id()?;
    Ok(BOOT.get_or_init(|| boot))
}

fn none_if_refused<T>(result: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(None),
        other => other,
    }
}

/// A process that was alive when it was opened. Where the system has such a
/// thing, it is held by a handle that can never become another's.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    handle: system::Handle,
}

impl Process {
    /// Which process it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Signals the process; returns whether it was there to hear it.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        if self.identity.is_alive()? {
            self.handle.signal(signal)
        } else {
            Ok(false)
        }
    }

    /// Waits for the process to end, for at most `timeout`; returns whether it
    /// has ended. Blocks the thread.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        self.handle.wait(&self.identity, timeout)
    }
}

/// Waits where the system has no handle that tells of the end.
#[cfg(unix)]
fn poll(identity: &Identity, timeout: Duration) -> io::Result<bool> {
    const PAUSE: Duration = Duration::from_millis(5);
    let started = std::time::Instant::now();
    while identity.is_alive()? {
        if started.elapsed() >= timeout {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    fn start(script: &str) -> Child {
        Command::new("/bin/sh")
            .args(["-c", script])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn identity(child: &Child) -> Identity {
        Identity::of(child.id()).unwrap().unwrap()
    }

    #[test]
    fn knows_itself() {
        let own = Identity::own().unwrap();
        assert_eq!(own.pid, std::process::id());
        assert!(own.is_alive().unwrap());
        assert_eq!(own, Identity::own().unwrap());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = start("exec sleep 60");
        let found = identity(&child);
        let process = found.open().unwrap().unwrap();
        assert!(!process.wait(Duration::ZERO).unwrap());
        assert!(process.signal(Signal::Kill).unwrap());
        assert!(process.wait(BOUND).unwrap());
        assert!(!found.is_alive().unwrap());
        assert_eq!(Identity::of(child.id()).unwrap(), None);
        assert!(!process.signal(Signal::Kill).unwrap());
        child.wait().unwrap();
        assert!(found.open().unwrap().is_none());
    }

    #[test]
    fn a_stranger_with_the_number_is_not_the_process() {
        let mut child = start("exec sleep 60");
        let found = identity(&child);
        let earlier = Identity {
            start_time: found.start_time - 1,
            ..found.clone()
        };
        let before_boot = Identity {
            boot_id: "another".to_owned(),
            ..found.clone()
        };
        for stranger in [earlier, before_boot] {
            assert!(!stranger.is_alive().unwrap());
            assert!(stranger.open().unwrap().is_none());
            assert_eq!(stranger.group().unwrap(), None);
        }
        assert!(found.is_alive().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_hold_outlives_the_process_and_signals_nobody() {
        let mut child = start("exec sleep 60");
        let process = identity(&child).open().unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.signal(Signal::Terminate).unwrap());
        assert!(process.wait(Duration::ZERO).unwrap());
    }

    #[test]
    fn a_group_has_its_leader_and_its_members() {
        let mut child = start("sleep 60 & echo $!; wait");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let leader = identity(&child);
        assert!(leader.is_leader().unwrap());
        let mut members = leader.group().unwrap().unwrap();
        members.sort_by_key(|member| member.pid != leader.pid);
        let pids: Vec<u32> = members.iter().map(|member| member.pid).collect();
        assert_eq!(pids, [child.id(), line.trim().parse().unwrap()]);
        assert!(!members[1].is_leader().unwrap());
        let held: Vec<Process> = members
            .iter()
            .filter_map(|member| member.open().unwrap())
            .collect();
        for process in &held {
            process.signal(Signal::Kill).unwrap();
            assert!(process.wait(BOUND).unwrap());
        }
        assert_eq!(leader.group().unwrap(), None);
        child.wait().unwrap();
    }

    #[test]
    fn a_stopped_process_is_alive_and_goes_on_when_told() {
        let mut child = start("exec sleep 60");
        let process = identity(&child).open().unwrap().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        assert!(process.identity().is_alive().unwrap());
        assert!(process.signal(Signal::Terminate).unwrap());
        assert!(process.signal(Signal::Continue).unwrap());
        assert!(process.wait(BOUND).unwrap());
        child.wait().unwrap();
    }
}
