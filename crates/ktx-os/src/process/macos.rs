//! Processes as libproc shows them. There is no handle on a process here: it
//! is looked at right before it is signalled.

use std::ffi::{c_int, c_void};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{self, Pid};

use super::{Found, Identity, Signal};

/// More processes than a group of ours ever has.
const MOST_MEMBERS: usize = 4096;

pub(super) fn find(pid: u32) -> io::Result<Option<Found>> {
    let Ok(pid) = c_int::try_from(pid) else {
        return Ok(None);
    };
    // SAFETY: all zeroes are a valid `proc_bsdinfo`, which is plain data.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::proc_bsdinfo>();
    // SAFETY: `info` is writable, of the type that the flavor fills in, and of
    // the size that is said.
    let written = unsafe {
        libc::proc_pidinfo(
            pid,
            libc::PROC_PIDTBSDINFO,
            0,
            (&raw mut info).cast::<c_void>(),
            c_int::try_from(size).map_err(io::Error::other)?,
        )
    };
    if usize::try_from(written) != Ok(size) {
        let error = io::Error::last_os_error();
        return match Errno::from_io_error(&error) {
            Some(Errno::SRCH) => Ok(None),
            _ => Err(error),
        };
    }
    Ok((info.pbi_status != libc::SZOMB).then_some(Found {
        start_time: info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec,
        group: info.pbi_pgid,
    }))
}

pub(super) fn boot_id() -> io::Result<String> {
    // A UUID and a NUL.
    let mut text = [0_u8; 64];
    let mut size = text.len();
    // SAFETY: the name ends with a NUL, `text` is writable for `size` bytes,
    // and nothing is set.
    let done = unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            text.as_mut_ptr().cast::<c_void>(),
            &raw mut size,
            std::ptr::null_mut(),
            0,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let text = String::from_utf8_lossy(&text[..size.min(64)]);
    Ok(text.trim_end_matches('\0').to_owned())
}

pub(super) fn members(group: u32) -> io::Result<Vec<u32>> {
    let Ok(group) = c_int::try_from(group) else {
        return Ok(Vec::new());
    };
    let mut pids = vec![0_u32; MOST_MEMBERS];
    let bytes = c_int::try_from(size_of_val(pids.as_slice())).map_err(io::Error::other)?;
    // SAFETY: `pids` is writable for as many bytes as is said.
    let found = unsafe { libc::proc_listpgrppids(group, pids.as_mut_ptr().cast(), bytes) };
    let found = usize::try_from(found).map_err(|_| io::Error::last_os_error())?;
    pids.truncate(found);
    Ok(pids)
}

/// The number of a process.
#[derive(Debug)]
pub(super) struct Handle {
    pid: Pid,
}

impl Handle {
    #[expect(clippy::unnecessary_wraps, reason = "other systems can refuse")]
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Ok(pid.map(|pid| Self { pid }))
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<bool> {
        let signal = match signal {
            Signal::Terminate => process::Signal::TERM,
            Signal::Kill => process::Signal::KILL,
            Signal::Continue => process::Signal::CONT,
        };
        match process::kill_process(self.pid, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[expect(clippy::unused_self, reason = "other systems wait by the handle")]
    pub(super) fn wait(&self, identity: &Identity, timeout: Duration) -> io::Result<bool> {
        super::poll(identity, timeout)
    }
}
