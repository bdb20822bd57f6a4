//! Runs calls: finds each a worker, keeps the number of those that run at once
//! within bounds, and knows how to end them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::call::{self, Ended, Sink, Terms};
use crate::error::Error;
use crate::household::Household;
use crate::request::{Mode, Request};
use crate::session::{Session, Sessions};
use crate::workers::Workers;

/// Bounds on what a supervisor does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Calls that run at once; others wait, in the order in which they came.
    pub max_concurrency: usize,
    /// Memory that each process of a call may take, in bytes; half of the
    /// machine's if absent.
    pub max_memory: Option<u64>,
    /// What a call may write, in bytes.
    pub max_output: u64,
    /// How long a session may lie idle.
    pub session_idle: Duration,
}

/// Calls that may wait for others to end; more are refused.
const MAX_WAITING: u32 = 4096;

/// What is to be run, and how.
#[derive(Debug)]
pub struct Order {
    /// The code and its surroundings.
    pub request: Request,
    /// The session to run it in; a process of its own if absent.
    pub session: Option<Target>,
    /// What [`Supervisor::cancel`] knows it by; empty if it has no name.
    pub call_id: String,
    /// Where its output goes.
    pub sink: Sink,
    /// Ends it early.
    pub cancellation: CancellationToken,
}

/// A session that is meant.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its id; whichever has the name if absent.
    pub id: Option<String>,
}

/// Why a call was not run.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request, or the system, is at fault.
    #[error(transparent)]
    Failed(#[from] Error),
    /// A call with this id is running.
    #[error("A call with the id `{0}` is running")]
    Duplicate(String),
    /// Too many calls are waiting.
    #[error("{MAX_WAITING} calls are waiting already")]
    Busy,
    /// There are as many sessions as there may be.
    #[error("{0} sessions are open already")]
    TooManySessions(usize),
    /// The session that was meant is no more.
    #[error("The session `{0}` has ended, and its variables are lost")]
    SessionLost(String),
    /// The supervisor is ending.
    #[error("The daemon is shutting down")]
    Leaving,
}

/// Runs calls.
#[derive(Debug)]
pub struct Supervisor {
    household: Household,
    workers: Arc<Workers>,
    settings: Settings,
    scratch: TempDir,
    slots: Semaphore,
    /// The sessions that are open.
    pub sessions: Sessions,
    calls: Mutex<HashMap<String, CancellationToken>>,
    waiting: AtomicU32,
    running: AtomicU32,
    count: AtomicU64,
    started: Instant,
    last_used: Mutex<Instant>,
    /// Cancelled when everything has to end.
    pub leaving: CancellationToken,
}

/// Figures about a supervisor at work.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Calls that run.
    pub running: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Calls since the start.
    pub calls: u64,
    /// Since the start.
    pub uptime: Duration,
}

impl Supervisor {
    /// A supervisor whose first worker is being started.
    pub fn start(household: Household, settings: Settings) -> io::Result<Arc<Self>> {
        let scratch = tempfile::Builder::new().prefix("ktx-").tempdir()?;
        let leaving = CancellationToken::new();
        let workers = Workers::new(
            household.clone(),
            scratch.path(),
            settings.max_memory,
            leaving.clone(),
        )?;
        Ok(Arc::new(Self {
            household,
            workers,
            slots: Semaphore::new(settings.max_concurrency),
            settings,
            scratch,
            sessions: Sessions::default(),
            calls: Mutex::default(),
            waiting: AtomicU32::new(0),
            running: AtomicU32::new(0),
            count: AtomicU64::new(0),
            started: Instant::now(),
            last_used: Mutex::new(Instant::now()),
            leaving,
        }))
    }

    /// Runs a call to its end, whatever becomes of the future that waits for
    /// it: only its cancellation ends it early.
    pub async fn execute(self: &Arc<Self>, order: Order) -> Result<Ended, Refusal> {
        order.request.validate()?;
        let call = Registered::new(self, &order)?;
        let supervisor = Arc::clone(self);
        let work = async move {
            let _call = call;
            match order.session.clone() {
                Some(target) => supervisor.run_in_session(target, order).await,
                None => supervisor.run_alone(order).await,
            }
        };
        tokio::spawn(work).await.unwrap_or(Err(Refusal::Leaving))
    }

    /// Ends the call with this id; returns whether there is one.
    pub fn cancel(&self, call_id: &str) -> bool {
        let calls = lock(&self.calls);
        let call = calls.get(call_id);
        call.inspect(|call| call.cancel()).is_some()
    }

    /// Opens the session `name`, or finds it, or opens one with a new name;
    /// returns whether it is new.
    pub async fn open_session(
        self: &Arc<Self>,
        name: Option<&str>,
        max_memory: Option<u64>,
    ) -> Result<(Arc<Session>, bool), Refusal> {
        if self.leaving.is_cancelled() {
            return Err(Refusal::Leaving);
        }
        let source = || self.workers.take(max_memory);
        self.sessions.open(name, source).await
    }

    /// Figures about the work.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            running: self.running.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            calls: self.count.load(Ordering::Relaxed),
            uptime: self.started.elapsed(),
        }
    }

    /// How long nothing has been run; `None` while something runs.
    pub fn idle(&self) -> Option<Duration> {
        let is_idle = lock(&self.calls).is_empty();
        is_idle.then(|| lock(&self.last_used).elapsed())
    }

    /// Ends the sessions that have lain idle for too long.
    pub fn expire_sessions(&self) {
        self.sessions.expire(self.settings.session_idle);
    }

    /// Ends everything and waits until it is gone.
    pub async fn leave(self: Arc<Self>) {
        self.leaving.cancel();
        for call in lock(&self.calls).values() {
            call.cancel();
        }
        self.sessions.close_all().await;
        self.workers.close();
        self.household.is_empty().await;
    }

    async fn run_alone(self: &Arc<Self>, order: Order) -> Result<Ended, Refusal> {
        let Some(_slot) = self.slot(&order.cancellation).await? else {
            return Ok(Ended::Cancelled);
        };
        let scratch = match order.request.cwd {
            Some(_) => None,
            None => Some(self.scratch()?),
        };
        let mut worker = self.workers.take(order.request.max_memory).await?;
        let frame = order
            .request
            .to_frame(Mode::Once, scratch.as_ref().map(TempDir::path));
        let terms = self.terms(Mode::Once, order);
        let ended = call::run(&mut worker, &frame, terms, &self.household).await;
        drop(worker);
        if let Some(scratch) = scratch {
            remove(scratch).await;
        }
        Ok(ended?)
    }

    async fn run_in_session(
        self: &Arc<Self>,
        target: Target,
        mut order: Order,
    ) -> Result<Ended, Refusal> {
        let lost = || Refusal::SessionLost(target.name.clone());
        loop {
            let session = if let Some(id) = &target.id {
                self.sessions.find(&target.name, id).ok_or_else(lost)?
            } else {
                let max_memory = order.request.max_memory;
                self.open_session(Some(&target.name), max_memory).await?.0
            };
            let mut place = tokio::select! {
                place = session.hold.lock() => place,
                () = order.cancellation.cancelled() => return Ok(Ended::Cancelled),
            };
            let Some(hold) = place.as_mut().filter(|hold| hold.worker.is_alive()) else {
                // It ended while this call waited, or by itself before.
                self.sessions.forget(&session);
                drop(place.take());
                if target.id.is_some() {
                    return Err(lost());
                }
                continue;
            };
            let Some(_slot) = self.slot(&order.cancellation).await? else {
                return Ok(Ended::Cancelled);
            };
            let scratch = hold.enter(order.request.cwd.as_deref(), || self.scratch())?;
            let frame = order.request.to_frame(Mode::Session, scratch.as_deref());
            let outer = order.cancellation.clone();
            order.cancellation = session.closing.child_token();
            let inner = order.cancellation.clone();
            let terms = self.terms(Mode::Session, order);
            let ended = {
                let running = call::run(&mut hold.worker, &frame, terms, &self.household);
                let mut running = std::pin::pin!(running);
                tokio::select! {
                    ended = &mut running => ended,
                    () = outer.cancelled() => {
                        inner.cancel();
                        running.await
                    }
                }
            };
            session.note_call();
            if !hold.worker.is_alive() {
                self.sessions.forget(&session);
                if let Some(hold) = place.take() {
                    hold.end(Duration::ZERO).await;
                }
            }
            return Ok(ended?);
        }
    }

    fn terms(&self, mode: Mode, order: Order) -> Terms {
        let limit = self.settings.max_output;
        Terms {
            mode,
            timeout: order.request.timeout,
            max_output: order
                .request
                .max_output
                .map_or(limit, |wanted| wanted.min(limit)),
            sink: order.sink,
            cancellation: order.cancellation,
        }
    }

    /// The right to run a call; `None` if nobody wants it any more.
    async fn slot(&self, cancellation: &CancellationToken) -> Result<Option<Slot<'_>>, Refusal> {
        let permit = if let Ok(permit) = self.slots.try_acquire() {
            permit
        } else {
            if self.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return Err(Refusal::Busy);
            }
            let permit = tokio::select! {
                permit = self.slots.acquire() => permit.ok(),
                () = cancellation.cancelled() => None,
            };
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match permit {
                Some(permit) => permit,
                None => return Ok(None),
            }
        };
        self.running.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Slot {
            supervisor: self,
            _permit: permit,
        }))
    }

    /// An empty directory of a call's own.
    fn scratch(&self) -> Result<TempDir, Error> {
        tempfile::Builder::new()
            .prefix("call-")
            .tempdir_in(self.scratch.path())
            .map_err(Error::system("make a temporary working directory"))
    }
}

/// Removes a directory that was made for a call. What the code made
/// unremovable stays until the daemon ends.
pub(crate) async fn remove(scratch: TempDir) {
    if fs_err::remove_dir(scratch.path()).is_ok() {
        let _ = scratch.keep();
        return;
    }
    let _ = tokio::task::spawn_blocking(move || scratch.close()).await;
}

/// A call that runs.
struct Slot<'a> {
    supervisor: &'a Supervisor,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.supervisor.running.fetch_sub(1, Ordering::Relaxed);
        *lock(&self.supervisor.last_used) = Instant::now();
    }
}

/// A call that can be cancelled by its id.
struct Registered {
    supervisor: Arc<Supervisor>,
    call_id: String,
}

impl Registered {
    fn new(supervisor: &Arc<Supervisor>, order: &Order) -> Result<Self, Refusal> {
        if supervisor.leaving.is_cancelled() {
            return Err(Refusal::Leaving);
        }
        let number = supervisor.count.fetch_add(1, Ordering::Relaxed);
        let call_id = match order.call_id.as_str() {
            // No client can send such a name by accident.
            "" => format!("\0{number}"),
            given => given.to_owned(),
        };
        match lock(&supervisor.calls).entry(call_id.clone()) {
            Entry::Occupied(_) => return Err(Refusal::Duplicate(call_id)),
            Entry::Vacant(place) => {
                place.insert(order.cancellation.clone());
            }
        }
        Ok(Self {
            supervisor: Arc::clone(supervisor),
            call_id,
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.supervisor.calls).remove(&self.call_id);
        *lock(&self.supervisor.last_used) = Instant::now();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
