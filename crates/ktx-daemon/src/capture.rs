//! What the code writes: both streams are read as they come, so that neither
//! blocks, and kept up to a common limit.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How much is read at once: what a pipe holds on Linux.
const CHUNK: usize = 64 * 1024;

/// The bytes that the streams of one call may still write.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Takes up to `wanted` bytes and returns how many there were.
    fn take(&self, wanted: usize) -> usize {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(wanted))
            });
        left.unwrap_or_else(|left| left).min(wanted)
    }
}

/// What happens to a stream that is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The budget is spent; what follows is dropped.
    Overflow,
    /// Every writer has closed the stream.
    Closed,
}

/// The captured part of one stream.
#[derive(Clone, Debug, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    /// Reads `stream` on a thread of its own to its end.
    pub fn start(
        mut stream: impl Read + Send + 'static,
        budget: Budget,
        notify: impl Fn(Notice) + Send + 'static,
    ) -> Self {
        let capture = Self::default();
        let kept = capture.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            let mut over = false;
            loop {
                let read = match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let allowed = budget.take(read);
                kept.extend(&chunk[..allowed]);
                if allowed < read && !over {
                    over = true;
                    notify(Notice::Overflow);
                }
            }
            notify(Notice::Closed);
        });
        capture
    }

    /// What has been read so far, as text; bytes that are not UTF-8 become
    /// U+FFFD.
    pub fn text(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    fn extend(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{Budget, Capture, Notice};

    #[test]
    fn keeps_what_the_budget_allows_and_reads_on() {
        let (sender, receiver) = mpsc::channel();
        let capture = Capture::start(&b"ab\xffcdef"[..], Budget::new(4), move |notice| {
            sender.send(notice).unwrap();
        });
        assert_eq!(
            receiver.iter().collect::<Vec<_>>(),
            [Notice::Overflow, Notice::Closed]
        );
        assert_eq!(capture.text(), "ab\u{fffd}c");
    }
}
