//! The signals that ask this process to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// The signal that came, if one did.
#[derive(Clone, Debug, Default)]
pub struct Signal(Arc<AtomicU8>);

impl Signal {
    /// Its number.
    pub fn number(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&number| number > 0)
    }
}

/// Cancels `cancellation` at the first signal.
#[cfg(unix)]
pub fn watch(cancellation: &CancellationToken) -> Result<Signal, Error> {
    use tokio::signal::unix::{SignalKind, signal};

    const NUMBERS: [(SignalKind, u8); 2] =
        [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15)];

    let first = Signal::default();
    for (kind, number) in NUMBERS {
        let mut signals = signal(kind).map_err(Error::system("watch for signals"))?;
        let (first, cancellation) = (first.clone(), cancellation.clone());
        tokio::spawn(async move {
            signals.recv().await;
            let _ = first
                .0
                .compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            cancellation.cancel();
        });
    }
    Ok(first)
}

/// Cancels `cancellation` at Ctrl-C.
#[cfg(windows)]
pub fn watch(cancellation: &CancellationToken) -> Result<Signal, Error> {
    let mut events = tokio::signal::windows::ctrl_c().map_err(Error::system("watch for Ctrl-C"))?;
    let first = Signal::default();
    let (noted, cancellation) = (first.clone(), cancellation.clone());
    tokio::spawn(async move {
        events.recv().await;
        noted.0.store(2, Ordering::Relaxed);
        cancellation.cancel();
    });
    Ok(first)
}
