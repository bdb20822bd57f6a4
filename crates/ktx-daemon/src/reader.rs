//! Whoever reads what this program prints. When that process is gone, nobody
//! wants the outcome any more.

use tokio_util::sync::CancellationToken;

/// Cancels `cancellation` when nobody can read standard output any more.
#[cfg(unix)]
pub fn watch(cancellation: &CancellationToken) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;

    let cancellation = cancellation.clone();
    // A thread of its own, which nobody waits for: what standard output is
    // (a file, a terminal) may never be closed at its other end.
    std::thread::spawn(move || {
        let output = rustix::stdio::stdout();
        loop {
            // Asked for nothing, it still reports that the reader is gone.
            let mut polled = [PollFd::new(&output, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(_) if !polled[0].revents().is_empty() => return cancellation.cancel(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    });
}

/// Windows tells of a reader that is gone only to who writes.
#[cfg(windows)]
pub fn watch(_cancellation: &CancellationToken) {}
