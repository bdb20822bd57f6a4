//! The pipes that a worker's output comes through.

use std::io;

use crate::channel::Handle;

/// How much is read at once: what a pipe holds on Linux.
const CHUNK: usize = 64 * 1024;

/// The reading end of a worker's standard output or error.
#[derive(Debug)]
pub struct OutputPipe {
    reader: sys::Reader,
    chunk: Vec<u8>,
    is_open: bool,
}

impl OutputPipe {
    /// A new pipe, and the end that the worker writes to.
    pub fn new() -> io::Result<(Self, Handle)> {
        let (reader, writer) = io::pipe()?;
        let pipe = Self {
            reader: sys::reader(reader.into())?,
            chunk: Vec::new(),
            is_open: true,
        };
        Ok((pipe, writer.into()))
    }

    /// Whether somebody may still write to it.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Reads what is there, or waits for it; nothing when every writer has
    /// closed the pipe. Can be dropped and called again.
    pub async fn read(&mut self) {
        self.chunk.clear();
        self.chunk.reserve(CHUNK);
        if !matches!(sys::read(&mut self.reader, &mut self.chunk).await, Ok(read) if read > 0) {
            self.is_open = false;
        }
    }

    /// Reads what is there already; returns whether there was anything.
    pub async fn read_ready(&mut self) -> bool {
        self.chunk.clear();
        if !self.is_open {
            return false;
        }
        self.chunk.reserve(CHUNK);
        match sys::read_ready(&mut self.reader, &mut self.chunk).await {
            Ok(Some(0)) => self.is_open = false,
            Ok(Some(_)) => return true,
            Ok(None) | Err(_) => {}
        }
        false
    }

    /// What was read last.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.chunk)
    }
}

#[cfg(unix)]
mod sys {
    use std::io;

    use rustix::io::Errno;
    use tokio::io::AsyncReadExt;
    use tokio::net::unix::pipe::Receiver;

    use super::Handle;

    pub(super) type Reader = Receiver;

    pub(super) fn reader(handle: Handle) -> io::Result<Reader> {
        Receiver::from_owned_fd(handle)
    }

    pub(super) async fn read(reader: &mut Reader, chunk: &mut Vec<u8>) -> io::Result<usize> {
        reader.read_buf(chunk).await
    }

    /// Asks the system and not the runtime, which hears of new bytes only when
    /// it next waits.
    #[expect(clippy::unused_async, reason = "the other platforms wait")]
    pub(super) async fn read_ready(
        reader: &mut Reader,
        chunk: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        loop {
            match rustix::io::read(&*reader, rustix::buffer::spare_capacity(chunk)) {
                Ok(read) => return Ok(Some(read)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(windows)]
mod sys {
    use std::io;
    use std::time::Duration;

    use tokio::fs::File;
    use tokio::io::AsyncReadExt;

    use super::Handle;

    /// How long nothing has to come for nothing to be there: a read that has
    /// begun cannot be asked whether it will end.
    const QUIET: Duration = Duration::from_millis(5);

    pub(super) type Reader = File;

    #[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail")]
    pub(super) fn reader(handle: Handle) -> io::Result<Reader> {
        Ok(File::from_std(std::fs::File::from(handle)))
    }

    pub(super) async fn read(reader: &mut Reader, chunk: &mut Vec<u8>) -> io::Result<usize> {
        reader.read_buf(chunk).await
    }

    pub(super) async fn read_ready(
        reader: &mut Reader,
        chunk: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        match tokio::time::timeout(QUIET, reader.read_buf(chunk)).await {
            Ok(read) => read.map(Some),
            Err(_) => Ok(None),
        }
    }
}
