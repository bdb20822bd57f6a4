//! One warm parent after the other, each with its guard: how it is asked for
//! workers, and how all of them end.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Blocking;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{Refusal, Wish};
use crate::channel::{Channel, Handle, WorkerEnd};
use crate::guard::{End, Notice, Order, Role};
use crate::household::{Connections, Duties, Guard, Household};
use crate::pipe::OutputPipe;
use crate::worker::{END, Keeper, Process, STARTUP, Worker};

/// How long a warm parent may take to fork, or to end a worker, before it is
/// taken for stopped.
const PATIENCE: Duration = Duration::from_secs(2);

/// How late a deadline is seen by a supervisor that was stopped itself.
const LATE: Duration = Duration::from_millis(100);

/// How long a line may take that was written before everything ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A warm parent, its guard, and the workers that were forked from it.
pub(super) struct Generation {
    guard: Guard,
    /// Fewer by one for each worker; what they are found by when they have
    /// left their group.
    next_tag: u64,
    wishes: Option<mpsc::UnboundedReceiver<Wish>>,
    control: OwnedWriteHalf,
    answers: Lines<BufReader<OwnedReadHalf>>,
    errors: Lines<BufReader<Receiver>>,
    has_more_errors: bool,
    last_words: String,
    /// The parent's number, while it is alive.
    parent: Option<i32>,
    is_up: bool,
    is_answering: bool,
    started: Instant,
    forking: VecDeque<Forking>,
    workers: HashMap<i32, Living>,
    /// Workers whose processes are gone and whose orphans may not be.
    sweeping: HashMap<u64, (End, Keeper)>,
    /// When the guard last said something, or was first asked for something
    /// since.
    guard_heard: Instant,
    ends: (mpsc::UnboundedSender<u64>, mpsc::UnboundedReceiver<u64>),
}

/// A worker that the parent was asked for.
struct Forking {
    since: Instant,
    max_memory: Option<u64>,
    channel: Channel,
    stdout: OutputPipe,
    stderr: OutputPipe,
    reply: oneshot::Sender<Result<Worker, Refusal>>,
}

struct Living {
    tag: u64,
    keeper: Keeper,
    /// When its end was asked for.
    asked: Option<Instant>,
}

impl Generation {
    /// Starts a guard and its warm parent; returns where to wish for workers.
    pub(super) fn start(
        household: &Household,
        scratch: &std::path::Path,
    ) -> io::Result<mpsc::UnboundedSender<Wish>> {
        let (ours, theirs) = Blocking::pair()?;
        ours.set_nonblocking(true)?;
        let (answers, control) = UnixStream::from_std(ours)?.into_split();
        let (errors, error) = io::pipe()?;
        let error = Handle::from(error);
        let guard = household.start_guard(
            &Duties {
                role: Role::Nursery,
                max_memory: None,
                directory: Some(scratch),
                scratch: Some(scratch),
            },
            Connections {
                input: &theirs.into(),
                output: error.try_clone()?,
                error,
                report: None,
            },
        )?;
        let (sender, wishes) = mpsc::unbounded_channel();
        let generation = Self {
            guard,
            next_tag: largest_tag(),
            wishes: Some(wishes),
            control,
            answers: BufReader::new(answers).lines(),
            errors: BufReader::new(Receiver::from_owned_fd(errors.into())?).lines(),
            has_more_errors: true,
            last_words: String::new(),
            parent: None,
            is_up: false,
            is_answering: true,
            started: Instant::now(),
            forking: VecDeque::new(),
            workers: HashMap::new(),
            sweeping: HashMap::new(),
            guard_heard: Instant::now(),
            ends: mpsc::unbounded_channel(),
        };
        tokio::spawn(generation.live());
        Ok(sender)
    }

    async fn live(mut self) {
        while self.step().await {}
        while self.has_more_errors {
            match tokio::time::timeout(LAST_WORDS, self.errors.next_line()).await {
                Ok(Ok(Some(line))) => self.hear(line),
                _ => self.has_more_errors = false,
            }
        }
        let how = self.guard.bury().await;
        let unguarded = End::Unguarded { how };
        for (_, living) in self.workers.drain() {
            living.keeper.tell(unguarded.clone());
        }
        for (_, (end, keeper)) in self.sweeping.drain() {
            keeper.tell(end);
        }
        let reason = if self.last_words.is_empty() {
            "its guard ended".to_owned()
        } else {
            self.last_words
        };
        for forking in self.forking {
            let refusal = if self.is_up {
                Refusal::Gone
            } else {
                Refusal::NotStarted(reason.clone())
            };
            let _ = forking.reply.send(Err(refusal));
        }
    }

    /// Waits for the next thing that happens; returns whether there is
    /// anything left to wait for.
    async fn step(&mut self) -> bool {
        let deadline = self.deadline();
        let at = deadline.unwrap_or(self.started);
        tokio::select! {
            wish = wished(&mut self.wishes) => if let Some(wish) = wish {
                self.grant(wish);
            } else {
                // Nobody can wish any more: the supervisor is leaving.
                self.wishes = None;
                self.leave_if_done().await;
            },
            answer = self.answers.next_line(), if self.is_answering => match answer {
                Ok(Some(line)) => {
                    if let Some(notice) = Notice::parse(&line) {
                        self.note(notice).await;
                    }
                }
                Ok(None) | Err(_) => self.lose_parent().await,
            },
            notice = self.guard.notice() => match notice {
                Some(notice) => {
                    self.guard_heard = Instant::now();
                    self.note(notice).await;
                }
                None => return false,
            },
            line = self.errors.next_line(), if self.has_more_errors => match line {
                Ok(Some(line)) => self.hear(line),
                Ok(None) | Err(_) => self.has_more_errors = false,
            },
            Some(tag) = self.ends.1.recv() => self.end(tag).await,
            () = sleep_until(at), if deadline.is_some() => {
                if at.elapsed() < LATE {
                    self.insist().await;
                } else {
                    self.begin_anew();
                }
            }
        }
        true
    }

    /// Asks the parent for a worker.
    fn grant(&mut self, wish: Wish) {
        let pipes = || -> io::Result<_> {
            let (channel, end) = Channel::new()?;
            let (stdout, output) = OutputPipe::new()?;
            let (stderr, error) = OutputPipe::new()?;
            send_fork(&self.control, &end, [&output, &error])?;
            Ok((channel, stdout, stderr))
        };
        match pipes() {
            Ok((channel, stdout, stderr)) => self.forking.push_back(Forking {
                since: Instant::now(),
                max_memory: wish.max_memory,
                channel,
                stdout,
                stderr,
                reply: wish.reply,
            }),
            Err(error) => {
                let refusal = match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset if self.is_up => {
                        Refusal::Gone
                    }
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        Refusal::NotStarted(self.last_words.clone())
                    }
                    _ => Refusal::System(error),
                };
                let _ = wish.reply.send(Err(refusal));
            }
        }
    }

    async fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Up => self.is_up = true,
            Notice::Started(process) => self.parent = Some(process),
            Notice::NotStarted(reason) => self.last_words = reason,
            Notice::Forked(process) => self.welcome(process),
            Notice::Failed(reason) => {
                if let Some(forking) = self.forking.pop_front() {
                    let _ = forking.reply.send(Err(Refusal::NotForked(reason)));
                }
            }
            Notice::Ended(process, end) if self.parent == Some(process) => {
                tracing::warn!(?end, "the warm parent ended");
                self.parent = None;
                self.retire();
                // They are the guard's children now.
                for (process, living) in &self.workers {
                    if living.asked.is_some() {
                        self.guard.order(Order::End(*process)).await;
                    }
                }
            }
            Notice::Ended(process, end) => {
                if let Some(living) = self.workers.remove(&process) {
                    if self.sweeping.is_empty() {
                        self.guard_heard = Instant::now();
                    }
                    self.sweeping.insert(living.tag, (end, living.keeper));
                    self.guard.order(Order::Sweep(living.tag)).await;
                }
            }
            Notice::Swept(tag) => {
                if let Some((end, keeper)) = self.sweeping.remove(&tag) {
                    keeper.tell(end);
                }
                self.leave_if_done().await;
            }
        }
    }

    /// Takes over a worker that has been forked.
    fn welcome(&mut self, number: i32) {
        let Some(forking) = self.forking.pop_front() else {
            return;
        };
        let tag = self.next_tag;
        self.next_tag -= 1;
        limit(number, forking.max_memory, tag);
        let (process, keeper) = Process::new();
        let (asked, ends) = (keeper.asked.clone(), self.ends.0.clone());
        tokio::spawn(async move {
            asked.cancelled().await;
            let _ = ends.send(tag);
        });
        let living = Living {
            tag,
            keeper,
            asked: None,
        };
        self.workers.insert(number, living);
        // Nobody may be waiting for it any more; then it is dropped, and ends.
        let worker = Worker::new(forking.channel, forking.stdout, forking.stderr, process);
        let _ = forking.reply.send(Ok(worker));
    }

    /// Has a worker ended by whoever is its parent. It goes by its tag: if it ended long ago, its
    /// number may be that of another worker.
    async fn end(&mut self, tag: u64) {
        let mut workers = self.workers.iter_mut();
        let Some((&process, living)) = workers.find(|(_, living)| living.tag == tag) else {
            return;
        };
        living.asked = Some(Instant::now());
        let line = format!("{}\n", Order::End(process));
        // A parent that is gone or stopped is noticed when it does not answer.
        let _ = rustix::net::send(
            self.control.as_ref().as_fd(),
            line.as_bytes(),
            SendFlags::empty(),
        );
        self.guard.order(Order::End(process)).await;
    }

    /// When somebody will have taken too long.
    fn deadline(&self) -> Option<Instant> {
        let fork = self.forking.front().map(|forking| {
            let patience = if self.is_up { PATIENCE } else { STARTUP };
            forking.since + patience
        });
        let asked = self.workers.values().filter_map(|living| living.asked);
        let end = asked.min().map(|asked| {
            let patience = if self.parent.is_some() { PATIENCE } else { END };
            asked + patience
        });
        fork.into_iter()
            .chain(end)
            .chain(self.sweep_deadline())
            .min()
    }

    /// When the guard will have taken too long to end orphans.
    fn sweep_deadline(&self) -> Option<Instant> {
        (!self.sweeping.is_empty()).then(|| self.guard_heard + END)
    }

    /// Gives everybody the whole time again. A machine that slept, or a
    /// container that was paused, stopped the others too, and what they said
    /// before is not read yet.
    fn begin_anew(&mut self) {
        let now = Instant::now();
        self.guard_heard = now;
        for forking in &mut self.forking {
            forking.since = now;
        }
        for asked in self
            .workers
            .values_mut()
            .filter_map(|living| living.asked.as_mut())
        {
            *asked = now;
        }
    }

    /// Ends whoever has taken too long: first the parent, then the guard.
    async fn insist(&mut self) {
        let is_guard_late = self
            .sweep_deadline()
            .is_some_and(|deadline| deadline <= Instant::now());
        if is_guard_late {
            tracing::warn!("a guard does not answer");
            self.guard.kill();
        } else if let Some(parent) = self.parent.take() {
            tracing::warn!(parent, "the warm parent does not answer");
            self.retire();
            self.guard.order(Order::End(parent)).await;
            let now = Instant::now();
            for (process, living) in &mut self.workers {
                if living.asked.is_some() {
                    living.asked = Some(now);
                    self.guard.order(Order::End(*process)).await;
                }
            }
        } else {
            tracing::warn!("a guard does not answer");
            self.guard.kill();
        }
    }

    /// The parent has closed its channel: it ended, which its guard tells, or
    /// is of no use any more.
    async fn lose_parent(&mut self) {
        self.is_answering = false;
        if let Some(parent) = self.parent {
            self.guard.order(Order::End(parent)).await;
        }
        self.retire();
    }

    /// Ends the guard when there is nothing left to do for it.
    async fn leave_if_done(&mut self) {
        if self.wishes.is_none() && self.workers.is_empty() && self.sweeping.is_empty() {
            self.guard.order(Order::Leave).await;
            self.guard.dismiss();
        }
    }

    /// Takes no more wishes.
    fn retire(&mut self) {
        if let Some(wishes) = &mut self.wishes {
            wishes.close();
        }
        for living in self.workers.values() {
            living.keeper.tell_orphaned();
        }
        if self.is_up {
            for forking in self.forking.drain(..) {
                let _ = forking.reply.send(Err(Refusal::Gone));
            }
        }
    }

    fn hear(&mut self, line: String) {
        if !line.trim().is_empty() {
            tracing::warn!(line, "the warm parent says");
            self.last_words = line;
        }
    }
}

/// The next wish; never, when nobody can wish any more.
async fn wished(wishes: &mut Option<mpsc::UnboundedReceiver<Wish>>) -> Option<Wish> {
    match wishes {
        Some(wishes) => wishes.recv().await,
        None => std::future::pending().await,
    }
}

/// Sends the order to fork, with what the worker is connected to.
fn send_fork(control: &OwnedWriteHalf, end: &WorkerEnd, output: [&Handle; 2]) -> io::Result<()> {
    let handles = [end.report.as_fd(), output[0].as_fd(), output[1].as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&handles));
    rustix::net::sendmsg(
        control.as_ref().as_fd(),
        &[IoSlice::new(b"fork\n")],
        &mut message,
        SendFlags::empty(),
    )?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn largest_tag() -> u64 {
    crate::limits::largest_tag()
}

/// Nothing carries tags here; they only tell calls apart.
#[cfg(not(target_os = "linux"))]
fn largest_tag() -> u64 {
    u64::MAX
}

#[cfg(target_os = "linux")]
fn limit(process: i32, max_memory: Option<u64>, tag: u64) {
    if let Some(process) = rustix::process::Pid::from_raw(process) {
        crate::limits::Limits::now(max_memory).apply_to(process, tag);
    }
}

/// Nothing can be limited from outside here.
#[cfg(not(target_os = "linux"))]
fn limit(_process: i32, _max_memory: Option<u64>, _tag: u64) {}
