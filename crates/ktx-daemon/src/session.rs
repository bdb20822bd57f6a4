//! Sessions: workers that keep their globals from call to call.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::supervisor::{Refusal, lock, remove};
use crate::worker::Worker;

/// How many sessions may be open.
pub const MAX_SESSIONS: usize = 256;

/// How long a session may take to end by itself when it is closed, in which
/// its exit handlers run and its files are flushed.
const CLOSE: Duration = Duration::from_secs(2);

/// The open sessions, by name.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    /// One at a time is opened, so that no name is opened twice.
    opening: AsyncMutex<()>,
    count: AtomicU64,
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub name: String,
    /// Tells it from a later one of the same name.
    pub id: String,
    /// Calls wait for each other here, in the order in which they came. Empty
    /// when the session has ended.
    pub hold: AsyncMutex<Option<Hold>>,
    /// Cancelled when it is closed.
    pub closing: CancellationToken,
    last_used: Mutex<Instant>,
    calls: AtomicU64,
}

/// What a session consists of.
#[derive(Debug)]
pub struct Hold {
    /// The process with its globals.
    pub worker: Worker,
    /// Its working directory, if it was given none.
    scratch: Option<TempDir>,
    has_directory: bool,
}

/// What a session looks like from outside.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Calls that have been run in it.
    pub calls: u64,
    /// Whether a call runs in it.
    pub busy: bool,
}

impl Sessions {
    /// Finds the session `name`, or opens one with a worker that `source`
    /// gives; returns it and whether it is new, as one without a name always
    /// is.
    pub async fn open<F>(
        &self,
        name: Option<&str>,
        source: impl FnOnce() -> F,
    ) -> Result<(Arc<Session>, bool), Refusal>
    where
        F: Future<Output = Result<Worker, Error>>,
    {
        let _opening = self.opening.lock().await;
        let name = name.map_or_else(|| self.new_name(), str::to_owned);
        if let Some(session) = lock(&self.open).get(&name) {
            return Ok((Arc::clone(session), false));
        }
        if lock(&self.open).len() >= MAX_SESSIONS {
            return Err(Refusal::TooManySessions(MAX_SESSIONS));
        }
        let worker = source().await?;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Arc::new(Session {
            name: name.clone(),
            id: format!("{}-{count}", std::process::id()),
            hold: AsyncMutex::new(Some(Hold {
                worker,
                scratch: None,
                has_directory: false,
            })),
            closing: CancellationToken::new(),
            last_used: Mutex::new(Instant::now()),
            calls: AtomicU64::new(0),
        });
        lock(&self.open).insert(name, Arc::clone(&session));
        Ok((session, true))
    }

    /// The session with this name and id, if it is open.
    pub fn find(&self, name: &str, id: &str) -> Option<Arc<Session>> {
        let open = lock(&self.open);
        open.get(name).filter(|session| session.id == id).cloned()
    }

    /// A name that no open session has, until another is opened.
    fn new_name(&self) -> String {
        let open = lock(&self.open);
        let mut number = self.count.load(Ordering::Relaxed) + 1;
        while open.contains_key(&format!("session-{number}")) {
            number += 1;
        }
        format!("session-{number}")
    }

    /// All that are open, by name.
    pub fn list(&self) -> Vec<Description> {
        let mut all: Vec<Description> = lock(&self.open)
            .values()
            .map(|session| session.describe())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Forgets a session that has ended.
    pub fn forget(&self, session: &Session) {
        let mut open = lock(&self.open);
        if open
            .get(&session.name)
            .is_some_and(|found| found.id == session.id)
        {
            open.remove(&session.name);
        }
    }

    /// Ends the session `name`, if it has that id; returns whether there was
    /// one.
    pub async fn close(&self, name: &str, id: Option<&str>) -> bool {
        let found = {
            let open = lock(&self.open);
            open.get(name)
                .filter(|session| id.is_none_or(|id| session.id == id))
                .cloned()
        };
        let Some(session) = found else { return false };
        self.forget(&session);
        session.close().await;
        true
    }

    /// Ends every session that has lain idle for `limit`.
    pub fn expire(&self, limit: Duration) {
        let idle: Vec<Arc<Session>> = lock(&self.open)
            .values()
            .filter(|session| session.hold.try_lock().is_ok())
            .filter(|session| lock(&session.last_used).elapsed() >= limit)
            .cloned()
            .collect();
        for session in idle {
            tracing::info!(session = session.name, "an idle session expires");
            self.forget(&session);
            tokio::spawn(async move { session.close().await });
        }
    }

    /// Ends every session.
    pub async fn close_all(&self) {
        let all: Vec<Arc<Session>> = lock(&self.open).drain().map(|(_, open)| open).collect();
        let mut closing = tokio::task::JoinSet::new();
        for session in all {
            closing.spawn(async move { session.close().await });
        }
        closing.join_all().await;
    }
}

impl Session {
    /// Notes that a call has ended.
    pub fn note_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_used) = Instant::now();
    }

    /// What it looks like from outside.
    pub fn describe(&self) -> Description {
        Description {
            name: self.name.clone(),
            id: self.id.clone(),
            calls: self.calls.load(Ordering::Relaxed),
            busy: self.hold.try_lock().is_err(),
        }
    }

    /// Ends it: a call that runs at once, and the rest as a script ends.
    async fn close(&self) {
        self.closing.cancel();
        if let Some(hold) = self.hold.lock().await.take() {
            hold.end(CLOSE).await;
        }
    }
}

impl Hold {
    /// The directory that the next call has to enter: a new one, made by
    /// `make`, for a first call that names none.
    pub fn enter(
        &mut self,
        cwd: Option<&Path>,
        make: impl FnOnce() -> Result<TempDir, Error>,
    ) -> Result<Option<PathBuf>, Error> {
        let is_new = cwd.is_none() && !self.has_directory;
        self.has_directory = true;
        if !is_new {
            return Ok(None);
        }
        let scratch = make()?;
        let path = scratch.path().to_owned();
        self.scratch = Some(scratch);
        Ok(Some(path))
    }

    /// Ends the worker, which may take `patience` to do so by itself.
    pub async fn end(mut self, patience: Duration) {
        self.worker.channel.finish().await;
        let _ = tokio::time::timeout(patience, self.worker.process.ended()).await;
        self.worker.process.end();
        self.worker.process.ended().await;
        if let Some(scratch) = self.scratch {
            remove(scratch).await;
        }
    }
}
