//! What a supervisor shares with a worker: the descriptors that are handed
//! down, and frames over the pair that requests and reports travel on.
//!
//! A frame is the length of what follows, and then fields, each its length
//! and its bytes; lengths are 32 bits, big-endian.

use std::io;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How much of a frame is made room for before it has come, in bytes.
const READ: usize = 1024 * 1024;

/// What holds a pipe or a socket of the system.
#[cfg(unix)]
pub type Handle = std::os::fd::OwnedFd;
/// What holds a pipe of the system.
#[cfg(windows)]
pub type Handle = std::os::windows::io::OwnedHandle;

/// Lets the process that `command` starts, and those that it starts in turn,
/// inherit `handle`, and returns the number by which they know it.
#[cfg(unix)]
pub fn hand_down(handle: &Handle, command: &mut Command) -> io::Result<usize> {
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::os::unix::process::CommandExt;

    use rustix::io::{FdFlags, fcntl_setfd};

    let number = handle.as_raw_fd();
    // SAFETY: the closure only makes a system call, which is safe after a
    // fork, and the descriptor is open then: the caller holds `handle` until
    // the process is started.
    unsafe {
        command.pre_exec(move || {
            let handle = BorrowedFd::borrow_raw(number);
            Ok(fcntl_setfd(handle, FdFlags::empty())?)
        });
    }
    usize::try_from(number).map_err(io::Error::other)
}

/// Lets the process that `command` starts, and those that it starts in turn,
/// inherit `handle`, and returns the number by which they know it.
#[cfg(windows)]
pub fn hand_down(handle: &Handle, _command: &mut Command) -> io::Result<usize> {
    use std::os::windows::io::AsRawHandle;

    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

    let raw = handle.as_raw_handle();
    // SAFETY: `handle` is open for as long as it is borrowed.
    let done = unsafe { SetHandleInformation(raw, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(raw.addr())
}

/// What this process inherited under `number`, and nobody inherits from it.
#[cfg(unix)]
pub fn inherited(number: usize) -> io::Result<Handle> {
    use std::os::fd::{FromRawFd, RawFd};

    use rustix::io::{FdFlags, fcntl_setfd};

    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the supervisor passes the number of a descriptor that only this
    // call takes over; nothing else in the guard knows of it.
    let handle = unsafe { Handle::from_raw_fd(number) };
    fcntl_setfd(&handle, FdFlags::CLOEXEC)?;
    Ok(handle)
}

/// What this process inherited under `number`, and nobody inherits from it.
#[cfg(windows)]
pub fn inherited(number: usize) -> io::Result<Handle> {
    use std::os::windows::io::{AsRawHandle, FromRawHandle};

    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

    let handle = std::ptr::with_exposed_provenance_mut(number);
    // SAFETY: the supervisor passes the value of a handle that only this call
    // takes over; nothing else in the guard knows of it.
    let handle = unsafe { Handle::from_raw_handle(handle) };
    // SAFETY: `handle` is open for as long as it is borrowed.
    let done = unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, 0) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(handle)
}

/// Keeps what this process inherited, besides the standard streams, from those
/// that it starts: it is not theirs, and whoever waits for its end would wait
/// for theirs.
#[cfg(unix)]
pub fn withhold_inherited() {
    use std::os::fd::{BorrowedFd, RawFd};

    use rustix::io::{FdFlags, fcntl_setfd};

    // Where the system does not list them, nothing can be done.
    let Ok(descriptors) = fs_err::read_dir("/dev/fd") else {
        return;
    };
    let numbers = descriptors
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|&number| number > 2) {
        // SAFETY: it is borrowed for one system call, which fails if it is not
        // open any more.
        let _ = unsafe { fcntl_setfd(BorrowedFd::borrow_raw(number), FdFlags::CLOEXEC) };
    }
}

/// Nothing: a process that is started here inherits what it is handed down.
#[cfg(windows)]
pub fn withhold_inherited() {}

/// The fields of a frame, whole.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    /// The end of each field in `bytes`.
    fields: Vec<std::ops::Range<usize>>,
}

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is longer than it may be; what it says is not read.
    #[error("A frame of {length} bytes is longer than {limit}")]
    TooLong {
        /// Its length, in bytes.
        length: u64,
        /// The most that is read.
        limit: u64,
    },
    /// The other side has closed the channel, or broken it.
    #[error("The channel is closed")]
    Closed,
    /// It does not consist of fields.
    #[error("A frame is malformed")]
    Malformed,
}

impl Frame {
    /// The bytes of a frame with these fields.
    pub fn encode(fields: &[&[u8]]) -> Vec<u8> {
        // A request is bounded far below what 32 bits can say.
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let total = fields.iter().map(|field| 4 + field.len()).sum();
        let mut bytes = Vec::with_capacity(4 + total);
        bytes.extend_from_slice(&length(total));
        for field in fields {
            bytes.extend_from_slice(&length(field.len()));
            bytes.extend_from_slice(field);
        }
        bytes
    }

    fn new(bytes: Vec<u8>) -> Result<Self, FrameError> {
        let mut fields = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let header = bytes.get(at..at + 4).ok_or(FrameError::Malformed)?;
            let length = header
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            let end = at + 4 + length;
            if end > bytes.len() {
                return Err(FrameError::Malformed);
            }
            fields.push(at + 4..end);
            at = end;
        }
        Ok(Self { bytes, fields })
    }

    /// A field; empty if there is none at this place.
    pub fn field(&self, index: usize) -> &[u8] {
        self.fields
            .get(index)
            .map_or(&[], |range| &self.bytes[range.clone()])
    }

    /// A field as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(self.field(index)).into_owned()
    }

    /// A field without a copy of a large one.
    pub fn into_field(mut self, index: usize) -> Vec<u8> {
        let Some(range) = self.fields.get(index).cloned() else {
            return Vec::new();
        };
        self.bytes.truncate(range.end);
        self.bytes.drain(..range.start);
        self.bytes
    }
}

/// The supervisor's end of the channel to a worker.
#[derive(Debug)]
pub struct Channel {
    requests: sys::Writer,
    reports: tokio::io::BufReader<sys::Reader>,
    /// What has been read of the next frame. A read can be given up and taken
    /// up again, as one of several things that are waited for.
    partial: Vec<u8>,
}

/// A worker's end: what it reads requests from and writes reports to.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Becomes its standard input.
    pub input: Handle,
    /// Where it reports.
    pub report: Handle,
}

impl Channel {
    /// Both ends of a new channel.
    pub fn new() -> io::Result<(Self, WorkerEnd)> {
        let (requests, reports, end) = sys::pair()?;
        let channel = Self {
            requests,
            reports: tokio::io::BufReader::new(reports),
            partial: Vec::new(),
        };
        Ok((channel, end))
    }

    /// Writes a frame. A worker that is gone is seen by its end.
    pub async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.requests.write_all(frame).await
    }

    /// Whether the worker is gone, or takes no more requests, as far as the
    /// system can tell without waiting: it knows before the guard has said so.
    pub fn is_closed(&self) -> bool {
        sys::is_closed(self.reports.get_ref())
    }

    /// Tells the worker that no more requests come.
    pub async fn finish(&mut self) {
        let _ = self.requests.shutdown().await;
    }

    /// Reads the next frame of at most `limit` bytes. Can be dropped and
    /// called again; nothing is lost.
    pub async fn receive(&mut self, limit: u64) -> Result<Frame, FrameError> {
        self.fill(4).await?;
        let length = self.partial[..4]
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        if length > limit {
            return Err(FrameError::TooLong { length, limit });
        }
        let whole = usize::try_from(length + 4).map_err(|_| FrameError::Malformed)?;
        self.fill(whole).await?;
        let bytes = self.partial.split_off(4);
        self.partial.clear();
        Frame::new(bytes)
    }

    async fn fill(&mut self, wanted: usize) -> Result<(), FrameError> {
        while self.partial.len() < wanted {
            let missing = wanted - self.partial.len();
            self.partial.reserve(missing.min(READ));
            let read = (&mut self.reports)
                .take(missing as u64)
                .read_buf(&mut self.partial)
                .await;
            match read {
                Ok(0) | Err(_) => return Err(FrameError::Closed),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
mod sys {
    use std::io;
    use std::os::unix::net::UnixStream as Blocking;

    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    use tokio::net::UnixStream;
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

    use super::WorkerEnd;

    pub(super) type Reader = OwnedReadHalf;
    pub(super) type Writer = OwnedWriteHalf;

    /// One socket serves both directions.
    pub(super) fn pair() -> io::Result<(Writer, Reader, WorkerEnd)> {
        let (ours, theirs) = Blocking::pair()?;
        ours.set_nonblocking(true)?;
        let (reports, requests) = UnixStream::from_std(ours)?.into_split();
        let input = theirs.try_clone()?.into();
        let end = WorkerEnd {
            input,
            report: theirs.into(),
        };
        Ok((requests, reports, end))
    }

    pub(super) fn is_closed(reader: &Reader) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(reader.as_ref(), &mut [0], flags) {
            Ok((_, read)) => read == 0,
            Err(error) => ![Errno::AGAIN, Errno::INTR].contains(&error),
        }
    }
}

#[cfg(windows)]
mod sys {
    use std::io;
    use std::os::windows::io::OwnedHandle;

    use tokio::fs::File;

    use super::WorkerEnd;

    pub(super) type Reader = File;
    pub(super) type Writer = File;

    pub(super) fn pair() -> io::Result<(Writer, Reader, WorkerEnd)> {
        let (input, requests) = io::pipe()?;
        let (reports, report) = io::pipe()?;
        let file = |handle: OwnedHandle| File::from_std(std::fs::File::from(handle));
        let end = WorkerEnd {
            input: input.into(),
            report: report.into(),
        };
        Ok((file(requests.into()), file(reports.into()), end))
    }

    /// No: looking at a pipe waits for whoever reads from it.
    pub(super) fn is_closed(_reader: &Reader) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Frame, FrameError};

    #[cfg(unix)]
    #[tokio::test]
    async fn knows_at_once_that_the_worker_is_gone() {
        let (channel, end) = Channel::new().unwrap();
        assert!(!channel.is_closed());
        drop(end);
        assert!(channel.is_closed());

        let (mut channel, end) = Channel::new().unwrap();
        channel.send(b"which nobody reads").await.unwrap();
        assert!(!channel.is_closed());
        drop(end);
        assert!(channel.is_closed());
    }

    #[test]
    fn reads_the_fields_that_were_written() {
        let bytes = Frame::encode(&[b"one", b"", b"three"]);
        let frame = Frame::new(bytes[4..].to_vec()).unwrap();
        assert_eq!(
            (0..4).map(|index| frame.field(index)).collect::<Vec<_>>(),
            [&b"one"[..], b"", b"three", b""]
        );
        assert_eq!(frame.into_field(2), b"three");
    }

    #[test]
    fn refuses_what_is_cut() {
        let bytes = Frame::encode(&[b"one"]);
        for end in 5..bytes.len() {
            let cut = Frame::new(bytes[4..end].to_vec());
            assert!(matches!(cut, Err(FrameError::Malformed)), "{end}");
        }
    }
}
