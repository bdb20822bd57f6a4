//! Processes held by handles, which keep their numbers from being given away.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_PARAMETER, FILETIME, WAIT_FAILED, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_ACCESS_RIGHTS, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
};

use super::{Found, Identity, Signal};

/// From 1601, where Windows begins to count, to 1970, in its units of 100 ns.
const TO_1970: u64 = 116_444_736_000_000_000;

/// `BootId` of `KUSER_SHARED_DATA` (ntddk.h), which every process can read at
/// this address: the number of starts of the system.
const BOOT_NUMBER: *const u32 = 0x7FFE_02C4 as *const u32;

/// The status of a process that was ended from outside.
const ENDED: u32 = 1;

pub(super) fn find(pid: u32) -> io::Result<Option<Found>> {
    let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    let Some(process) = open(pid, access)? else {
        return Ok(None);
    };
    if wait(&process, Duration::ZERO)? {
        return Ok(None);
    }
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is open and the four places are writable.
    let done = unsafe { GetProcessTimes(process.as_raw_handle(), created, exited, kernel, user) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let created = u64::from(times[0].dwHighDateTime) << 32 | u64::from(times[0].dwLowDateTime);
    Ok(Some(Found {
        start_time: created.saturating_sub(TO_1970) / 10,
        group: pid,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "other systems can refuse")]
pub(super) fn boot_id() -> io::Result<String> {
    // SAFETY: the page is mapped, for reading, into every process.
    let boot = unsafe { BOOT_NUMBER.read_volatile() };
    Ok(boot.to_string())
}

/// There are no groups: a process is one by itself.
#[expect(clippy::unnecessary_wraps, reason = "other systems can refuse")]
pub(super) fn members(group: u32) -> io::Result<Vec<u32>> {
    Ok(vec![group])
}

fn open(pid: u32, access: PROCESS_ACCESS_RIGHTS) -> io::Result<Option<OwnedHandle>> {
    // SAFETY: the call has no preconditions.
    let handle = unsafe { OpenProcess(access, 0, pid) };
    if handle.is_null() {
        let error = io::Error::last_os_error();
        let is_absent = error.raw_os_error() == Some(ERROR_INVALID_PARAMETER.cast_signed());
        return if is_absent { Ok(None) } else { Err(error) };
    }
    // SAFETY: the handle is open and nobody else's.
    Ok(Some(unsafe { OwnedHandle::from_raw_handle(handle) }))
}

/// Whether the process ends within `timeout`.
fn wait(process: &OwnedHandle, timeout: Duration) -> io::Result<bool> {
    let milliseconds = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX - 1);
    // SAFETY: the handle is open.
    match unsafe { WaitForSingleObject(process.as_raw_handle(), milliseconds) } {
        WAIT_FAILED => Err(io::Error::last_os_error()),
        outcome => Ok(outcome == WAIT_OBJECT_0),
    }
}

/// A process, whatever becomes of its number.
#[derive(Debug)]
pub(super) struct Handle {
    process: OwnedHandle,
}

impl Handle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | PROCESS_TERMINATE;
        Ok(open(pid, access)?.map(|process| Self { process }))
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<bool> {
        if signal != Signal::Kill {
            return Ok(true);
        }
        // SAFETY: the handle is open, with the right to terminate.
        let done = unsafe { TerminateProcess(self.process.as_raw_handle(), ENDED) };
        if done != 0 {
            return Ok(true);
        }
        // A process that has ended cannot be terminated.
        let error = io::Error::last_os_error();
        if wait(&self.process, Duration::ZERO)? {
            Ok(false)
        } else {
            Err(error)
        }
    }

    pub(super) fn wait(&self, _identity: &Identity, timeout: Duration) -> io::Result<bool> {
        wait(&self.process, timeout)
    }
}
