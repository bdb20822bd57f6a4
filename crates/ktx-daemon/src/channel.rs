//! The pipe over which a worker reports. It is apart from the worker's own
//! output, and inherited by the guard and by the interpreter only.

use std::io::PipeWriter;
use std::process::Command;

/// Lets the process that `command` starts, and those that it starts in turn,
/// inherit `writer`, and returns the number by which they know it.
#[cfg(unix)]
pub fn hand_down(writer: &PipeWriter, command: &mut Command) -> std::io::Result<usize> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::os::unix::process::CommandExt;

    use rustix::io::{FdFlags, fcntl_setfd};

    let number = writer.as_raw_fd();
    // SAFETY: the closure only makes a system call, which is safe after a
    // fork, and the descriptor is open then: the caller holds `writer` until
    // the process is started.
    unsafe {
        command.pre_exec(move || {
            let writer = BorrowedFd::borrow_raw(number);
            Ok(fcntl_setfd(writer, FdFlags::empty())?)
        });
    }
    usize::try_from(number).map_err(std::io::Error::other)
}

/// Lets the process that `command` starts, and those that it starts in turn,
/// inherit `writer`, and returns the number by which they know it.
#[cfg(windows)]
pub fn hand_down(writer: &PipeWriter, _command: &mut Command) -> std::io::Result<usize> {
    use std::os::windows::io::AsRawHandle;

    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

    let handle = writer.as_raw_handle();
    // SAFETY: `writer` owns the handle and is borrowed, so it is open.
    let done = unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) };
    if done == 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(handle.addr())
}

/// The pipe that this process inherited under `number`.
#[cfg(unix)]
pub fn inherited(number: usize) -> std::io::Result<PipeWriter> {
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};

    let number = RawFd::try_from(number).map_err(std::io::Error::other)?;
    // SAFETY: the supervisor passes the number of a descriptor that only this
    // call takes over; nothing else in the guard knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) }.into())
}

/// The pipe that this process inherited under `number`.
#[cfg(windows)]
pub fn inherited(number: usize) -> std::io::Result<PipeWriter> {
    use std::os::windows::io::{FromRawHandle, OwnedHandle};

    let handle = std::ptr::with_exposed_provenance_mut(number);
    // SAFETY: the supervisor passes the value of a handle that only this call
    // takes over; nothing else in the guard knows of it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) }.into())
}
