//! Where workers come from: one is kept ready, others are made when they are
//! wanted.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::household::Household;
use crate::supervisor::lock;
use crate::worker::Worker;

/// Workers that have run nothing yet.
#[derive(Debug)]
pub struct Workers {
    household: Household,
    source: Source,
    max_memory: Option<u64>,
    spare: Mutex<Spare>,
    leaving: CancellationToken,
}

/// The worker that is made before it is wanted.
#[derive(Debug)]
enum Spare {
    Absent,
    Coming,
    Ready(Box<Worker>),
}

impl Workers {
    /// A source of workers, the first of which is being made. They may take
    /// `max_memory` bytes. The directory `scratch` is removed when this process
    /// is gone, and nothing is made once `leaving` is cancelled.
    pub fn new(
        household: Household,
        scratch: &Path,
        max_memory: Option<u64>,
        leaving: CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let workers = Arc::new(Self {
            source: Source::new(&household, scratch)?,
            household,
            max_memory,
            spare: Mutex::new(Spare::Coming),
            leaving,
        });
        workers.refill();
        Ok(workers)
    }

    /// A worker whose processes may take `max_memory` bytes, and no more than
    /// any worker may.
    pub async fn take(self: &Arc<Self>, max_memory: Option<u64>) -> Result<Worker, Error> {
        let limit = self.max_memory;
        let max_memory = match (max_memory, limit) {
            (Some(wanted), Some(limit)) => Some(wanted.min(limit)),
            (wanted, limit) => wanted.or(limit),
        };
        if max_memory == limit
            && let Some(worker) = self.take_spare()
        {
            return Ok(worker);
        }
        self.source.worker(&self.household, max_memory).await
    }

    fn take_spare(self: &Arc<Self>) -> Option<Worker> {
        let mut spare = lock(&self.spare);
        let taken = match std::mem::replace(&mut *spare, Spare::Coming) {
            Spare::Coming => return None,
            Spare::Ready(worker) => Some(*worker),
            Spare::Absent => None,
        };
        drop(spare);
        self.refill();
        taken.filter(|worker| worker.is_alive() && !worker.is_orphan())
    }

    /// Makes the next one.
    fn refill(self: &Arc<Self>) {
        let workers = Arc::clone(self);
        tokio::spawn(async move {
            let made = tokio::select! {
                made = workers.source.worker(&workers.household, workers.max_memory) => made,
                () = workers.leaving.cancelled() => return,
            };
            let spare = match made {
                Ok(mut worker) => {
                    // One that does not get ready is an error of the call that
                    // takes it.
                    let _ = worker.ready().await;
                    Spare::Ready(Box::new(worker))
                }
                Err(error) => {
                    tracing::warn!(%error, "no worker can be had");
                    Spare::Absent
                }
            };
            if !workers.leaving.is_cancelled() {
                *lock(&workers.spare) = spare;
            }
        });
    }

    /// Ends the one that is ready, and whatever makes others.
    pub fn close(&self) {
        *lock(&self.spare) = Spare::Absent;
        self.source.close();
    }
}

/// What makes workers.
#[derive(Debug)]
enum Source {
    /// They are forked from a warm parent.
    #[cfg(unix)]
    Nursery(crate::nursery::Nursery),
    /// Each is an interpreter of its own.
    #[cfg(windows)]
    Interpreter,
}

#[cfg(unix)]
impl Source {
    fn new(household: &Household, scratch: &Path) -> io::Result<Self> {
        let nursery = crate::nursery::Nursery::new(household.clone(), scratch.to_owned())?;
        Ok(Self::Nursery(nursery))
    }

    async fn worker(&self, _: &Household, max_memory: Option<u64>) -> Result<Worker, Error> {
        let Self::Nursery(nursery) = self;
        nursery.fork(max_memory).await
    }

    fn close(&self) {
        let Self::Nursery(nursery) = self;
        nursery.close();
    }
}

#[cfg(windows)]
impl Source {
    #[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail")]
    fn new(_household: &Household, _scratch: &Path) -> io::Result<Self> {
        Ok(Self::Interpreter)
    }

    #[expect(clippy::unused_async, reason = "the other platforms wait")]
    async fn worker(
        &self,
        household: &Household,
        max_memory: Option<u64>,
    ) -> Result<Worker, Error> {
        let duties = crate::household::Duties {
            role: crate::guard::Role::Worker,
            max_memory,
            directory: None,
            scratch: None,
        };
        Worker::start(household, &duties).map_err(Error::system("start the guard"))
    }

    #[expect(
        clippy::unused_self,
        reason = "the other platforms have something to close"
    )]
    fn close(&self) {}
}
