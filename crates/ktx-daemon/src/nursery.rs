//! Workers forked from a warm parent: a Python process that has imported what
//! every worker needs and never runs code itself.
//!
//! Code may kill its parent. Its worker and the others then fall to the guard
//! above, which goes on to tell of their ends, and the next worker is forked
//! from a new parent under a guard of its own: a [`Generation`].

mod generation;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::household::Household;
use crate::worker::Worker;
use generation::Generation;

/// How many warm parents may be found dead for one worker.
const ATTEMPTS: u32 = 8;

/// Where workers are forked.
#[derive(Debug)]
pub struct Nursery {
    household: Household,
    scratch: PathBuf,
    generation: Mutex<Option<mpsc::UnboundedSender<Wish>>>,
}

/// Somebody wants a worker.
#[derive(Debug)]
struct Wish {
    max_memory: Option<u64>,
    reply: oneshot::Sender<Result<Worker, Refusal>>,
}

/// Why there is no worker.
#[derive(Debug)]
enum Refusal {
    /// The parent is gone; another may do it.
    Gone,
    /// The parent cannot be had.
    NotStarted(String),
    /// The system has no room for another process.
    NotForked(String),
    /// Pipes could not be had.
    System(io::Error),
}

impl Nursery {
    /// A nursery whose first parent is being started. The directory `scratch`
    /// is removed when this process is gone.
    pub fn new(household: Household, scratch: PathBuf) -> io::Result<Self> {
        let nursery = Self {
            household,
            scratch,
            generation: Mutex::new(None),
        };
        nursery.parent()?;
        Ok(nursery)
    }

    /// A worker that has been forked just now. Each of its processes may take
    /// `max_memory` bytes.
    pub async fn fork(&self, max_memory: Option<u64>) -> Result<Worker, Error> {
        // A parent may be found dead, and again, while others' code kills it.
        for _ in 0..ATTEMPTS {
            let parent = self.parent().map_err(Error::system("start the guard"))?;
            let (reply, answer) = oneshot::channel();
            let _ = parent.send(Wish { max_memory, reply });
            match answer.await {
                Ok(Ok(worker)) => return Ok(worker),
                Ok(Err(Refusal::NotStarted(reason))) => return Err(self.startup_error(reason)),
                Ok(Err(Refusal::NotForked(reason))) => {
                    let source = io::Error::other(reason);
                    return Err(Error::system("fork a worker")(source));
                }
                Ok(Err(Refusal::System(source))) => {
                    return Err(Error::system("make the pipes of a worker")(source));
                }
                Ok(Err(Refusal::Gone)) | Err(_) => {}
            }
        }
        Err(self.startup_error(format!("it ended {ATTEMPTS} times before it could fork")))
    }

    /// Lets the parent go once its workers have ended.
    pub fn close(&self) {
        *self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn startup_error(&self, reason: String) -> Error {
        Error::Startup {
            python: self.household.interpreter.python.clone(),
            reason,
        }
    }

    /// The parent that is alive, as far as is known.
    fn parent(&self) -> io::Result<mpsc::UnboundedSender<Wish>> {
        let mut current = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(parent) = current.as_ref().filter(|parent| !parent.is_closed()) {
            return Ok(parent.clone());
        }
        let parent = Generation::start(&self.household, &self.scratch)?;
        *current = Some(parent.clone());
        Ok(parent)
    }
}
