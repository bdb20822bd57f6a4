//! A call that is running: what happens to it, when it has taken too long, and
//! what its end means.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::channel::{Frame, FrameError};
use crate::error::Error;
use crate::guard::End;
use crate::household::{Household, signal_name};
use crate::outcome::{self, Failure, Kind, Outcome};
use crate::pipe::OutputPipe;
use crate::request::Mode;
use crate::worker::{MAX_REPORT, Worker, startup_error};

/// What a call may write to standard output and error together, in bytes, if
/// nothing else is said.
pub const MAX_OUTPUT: u64 = 64 * 1024 * 1024;

/// How long the interpreter may take to end after its report, in which the
/// code's exit handlers and threads are done already.
const LEAVE: Duration = Duration::from_secs(5);

/// How long output is read after everything has ended, for the case that a
/// process that could not be ended keeps a pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// Where a call's output goes.
#[derive(Debug)]
pub enum Sink {
    /// Into the outcome.
    Outcome,
    /// To a reader, as it comes. Code that writes faster than it reads waits.
    Reader(mpsc::Sender<Chunk>),
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which stream it was written to.
    pub stream: Stream,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// The streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a call is run.
#[derive(Debug)]
pub struct Terms {
    /// How the worker goes on afterwards.
    pub mode: Mode,
    /// How long the code may run.
    pub timeout: Option<Duration>,
    /// What it may write, in bytes.
    pub max_output: u64,
    /// Where that goes.
    pub sink: Sink,
    /// Ends the call early.
    pub cancellation: CancellationToken,
}

/// How a call ended.
#[derive(Debug)]
pub enum Ended {
    /// With an outcome.
    Outcome(Outcome),
    /// Nobody wants its outcome any more; the worker is gone.
    Cancelled,
}

/// Why the supervisor ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Timeout,
    OutputLimit,
    ReportLimit,
    /// What was reported is no report.
    Malformed,
    /// The report is here, and the worker does not go.
    Leave,
    Cancelled,
}

/// Runs the request in `frame`. A worker that ends with the call, or has to,
/// is gone with all that it started when this returns.
pub async fn run(
    worker: &mut Worker,
    frame: &[u8],
    terms: Terms,
    household: &Household,
) -> Result<Ended, Error> {
    let ready = tokio::select! {
        ready = worker.ready() => ready,
        () = terms.cancellation.cancelled() => {
            worker.process.end();
            worker.process.ended().await;
            return Ok(Ended::Cancelled);
        }
    };
    if let Err(why) = ready {
        return Err(startup_error(worker, why, household).await);
    }
    let mut call = Call {
        worker,
        left: terms.max_output,
        terms,
        started: Instant::now(),
        stdout: Vec::new(),
        stderr: Vec::new(),
        waiting: VecDeque::new(),
        is_truncated: false,
        report: None,
        is_mute: false,
        end: None,
        verdict: None,
        ended: None,
    };
    call.follow(frame).await;
    call.finish().await;
    call.conclude()
}

struct Call<'a> {
    worker: &'a mut Worker,
    terms: Terms,
    started: Instant,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Output that its reader has no room for yet. Until it has, no more is
    /// read, except at the end.
    waiting: VecDeque<Chunk>,
    /// The bytes that may still be written.
    left: u64,
    is_truncated: bool,
    report: Option<(Frame, Instant)>,
    /// The channel is closed: the worker ended, or its code closed what was
    /// not its own.
    is_mute: bool,
    end: Option<End>,
    verdict: Option<Verdict>,
    /// When the verdict fell, or the worker was gone.
    ended: Option<Instant>,
}

impl Call<'_> {
    /// Waits until the worker has done its part or has to end.
    async fn follow(&mut self, frame: &[u8]) {
        self.submit(frame).await;
        while !self.is_decided() {
            self.step(true).await;
        }
        self.ended = Some(Instant::now());
    }

    fn is_decided(&self) -> bool {
        let is_done = self.report.is_some() && self.terms.mode == Mode::Session;
        is_done || self.end.is_some() || self.verdict.is_some()
    }

    /// Sends the request. Most fit into the channel; for one that does not,
    /// the worker is reading, as it has nothing else to do.
    async fn submit(&mut self, frame: &[u8]) {
        let deadline = self.deadline().0;
        let at = deadline.unwrap_or(self.started);
        let Worker {
            channel, process, ..
        } = &mut *self.worker;
        tokio::select! {
            biased;
            // That it could not be sent is seen by the worker's end.
            _ = channel.send(frame) => {
                if self.terms.mode == Mode::Once {
                    channel.finish().await;
                }
            }
            end = process.ended() => self.end = Some(end),
            () = self.terms.cancellation.cancelled() => self.verdict = Some(Verdict::Cancelled),
            () = sleep_until(at), if deadline.is_some() => self.verdict = Some(Verdict::Timeout),
        }
    }

    /// Waits for the next thing that happens. A call `is_running` until it is
    /// decided how it ends.
    async fn step(&mut self, is_running: bool) {
        let (deadline, late) = self.deadline();
        let deadline = deadline.filter(|_| is_running);
        let at = deadline.unwrap_or(self.started);
        let has_room = self.waiting.is_empty();
        let awaits_report = is_running && self.report.is_none() && !self.is_mute;
        let Worker {
            channel,
            stdout,
            stderr,
            process,
            ..
        } = &mut *self.worker;
        tokio::select! {
            biased;
            report = channel.receive(MAX_REPORT), if awaits_report => self.note_report(report),
            () = stdout.read(), if has_room && stdout.is_open() => {
                self.note_output(Stream::Stdout);
            }
            () = stderr.read(), if has_room && stderr.is_open() => {
                self.note_output(Stream::Stderr);
            }
            is_read = pass(&self.terms.sink, &mut self.waiting), if !has_room => {
                if !is_read {
                    self.waiting.clear();
                    self.decide(Verdict::Cancelled);
                }
            }
            end = process.ended() => self.end = Some(end),
            () = self.terms.cancellation.cancelled(), if is_running => {
                self.decide(Verdict::Cancelled);
            }
            () = sleep_until(at), if deadline.is_some() => self.decide(late),
        }
    }

    /// The next moment at which something has taken too long.
    fn deadline(&self) -> (Option<Instant>, Verdict) {
        match self.report {
            // A reader that is slow holds the worker up, and is no fault of it.
            Some(_) if !self.waiting.is_empty() => (None, Verdict::Leave),
            Some((_, reported)) => (Some(reported + LEAVE), Verdict::Leave),
            None => {
                let timeout = self.terms.timeout;
                // A sum that does not fit is a time that never comes.
                let at = timeout.and_then(|timeout| self.started.checked_add(timeout));
                (at, Verdict::Timeout)
            }
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    fn note_report(&mut self, report: Result<Frame, FrameError>) {
        match report {
            Ok(report) => self.report = Some((report, Instant::now())),
            Err(FrameError::TooLong { .. }) => self.decide(Verdict::ReportLimit),
            Err(FrameError::Malformed) => self.decide(Verdict::Malformed),
            Err(FrameError::Closed) => self.is_mute = true,
        }
    }

    /// Takes what was read of a stream, up to the limit.
    fn note_output(&mut self, stream: Stream) {
        let mut bytes = self.pipe(stream).take();
        let allowed = usize::try_from(self.left).unwrap_or(usize::MAX);
        if bytes.len() > allowed {
            bytes.truncate(allowed);
            self.is_truncated = true;
            self.decide(Verdict::OutputLimit);
        }
        self.left -= bytes.len() as u64;
        if bytes.is_empty() {
            return;
        }
        match (&self.terms.sink, stream) {
            (Sink::Outcome, Stream::Stdout) => self.stdout.append(&mut bytes),
            (Sink::Outcome, Stream::Stderr) => self.stderr.append(&mut bytes),
            (Sink::Reader(_), stream) => self.waiting.push_back(Chunk { stream, bytes }),
        }
    }

    fn pipe(&mut self, stream: Stream) -> &mut OutputPipe {
        match stream {
            Stream::Stdout => &mut self.worker.stdout,
            Stream::Stderr => &mut self.worker.stderr,
        }
    }

    /// Ends whatever is left of the call and reads the rest of its output,
    /// without waiting for its reader: others wait for the end of the call.
    async fn finish(&mut self) {
        if self.end.is_none() && self.verdict.is_none() {
            // A session that goes on. What its call wrote was in the pipes
            // before its report was in the channel.
            for stream in [Stream::Stdout, Stream::Stderr] {
                while self.pipe(stream).read_ready().await {
                    self.note_output(stream);
                }
            }
            if self.verdict.is_none() {
                return;
            }
        }
        self.worker.process.end();
        while self.end.is_none() {
            self.step(false).await;
        }
        if self.report.is_none() && !self.is_mute {
            let report = timeout(DRAIN, self.worker.channel.receive(MAX_REPORT)).await;
            self.note_report(report.unwrap_or(Err(FrameError::Closed)));
        }
        let deadline = Instant::now() + DRAIN;
        while self.worker.stdout.is_open() || self.worker.stderr.is_open() {
            if tokio::time::timeout_at(deadline, self.step_output())
                .await
                .is_err()
            {
                break;
            }
        }
    }

    async fn step_output(&mut self) {
        let Worker { stdout, stderr, .. } = &mut *self.worker;
        tokio::select! {
            () = stdout.read(), if stdout.is_open() => {
                self.note_output(Stream::Stdout);
            }
            () = stderr.read(), if stderr.is_open() => {
                self.note_output(Stream::Stderr);
            }
        }
    }

    /// What the end of the call means.
    fn conclude(mut self) -> Result<Ended, Error> {
        if self.verdict == Some(Verdict::Cancelled) {
            return Ok(Ended::Cancelled);
        }
        let report = self.report.take();
        let finished = match &report {
            Some((_, reported)) => *reported,
            None => self.ended.unwrap_or(self.started),
        };
        let result = match (self.failure(report.is_some()), report) {
            (None, Some((report, _))) => outcome::from_report(report).ok_or(Error::Report)?,
            (None, None) => return Err(Error::Report),
            (Some(failure), _) => Err(failure),
        };
        Ok(Ended::Outcome(Outcome {
            result,
            stdout: self.stdout,
            stderr: self.stderr,
            unread: self.waiting.into(),
            duration_ms: milliseconds(finished.saturating_duration_since(self.started)),
            output_truncated: self.is_truncated,
        }))
    }

    /// The failure that the supervisor saw; the worker's own report counts
    /// only if there is none.
    fn failure(&self, has_report: bool) -> Option<Failure> {
        match self.verdict {
            Some(Verdict::Timeout) => {
                let limit = self.terms.timeout.unwrap_or_default().as_millis();
                let message = format!("The code ran longer than {limit} ms");
                return Some(Failure::seen(Kind::Timeout, message));
            }
            Some(Verdict::OutputLimit) => {
                let limit = size(self.terms.max_output);
                let message = format!("The code wrote more than {limit} of output");
                return Some(Failure::seen(Kind::OutputLimit, message));
            }
            Some(Verdict::ReportLimit) => {
                let message = format!("The value takes more than {}", size(MAX_REPORT));
                return Some(Failure::seen(Kind::OutputLimit, message));
            }
            Some(Verdict::Leave | Verdict::Malformed | Verdict::Cancelled) => return None,
            None => {}
        }
        match self.end.as_ref()? {
            End::Exit(_) if has_report => None,
            End::Exit(status) => Some(Failure {
                exit_status: Some(*status),
                ..Failure::seen(Kind::Exit, format!("Python exited with status {status}"))
            }),
            End::Signal(signal) => {
                let name = signal_name(*signal);
                let message = if has_report {
                    format!("Python was ended by {name} after the code was done")
                } else {
                    format!("Python was ended by {name}")
                };
                Some(Failure {
                    signal: Some(*signal),
                    ..Failure::seen(Kind::Signal, message)
                })
            }
            End::Unguarded { how } => {
                let message = format!("Python was ended, because its parent process {how}");
                Some(Failure::seen(Kind::Signal, message))
            }
            End::NotStarted { reason } => Some(Failure::seen(Kind::Signal, reason)),
        }
    }
}

/// Hands a piece of output that waits to its reader; returns whether there is
/// one.
async fn pass(sink: &Sink, waiting: &mut VecDeque<Chunk>) -> bool {
    let Sink::Reader(reader) = sink else {
        return true;
    };
    let Ok(permit) = reader.reserve().await else {
        return false;
    };
    if let Some(chunk) = waiting.pop_front() {
        permit.send(chunk);
    }
    true
}

/// A number of bytes, for people.
fn size(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1024 * 1024;
    if bytes.is_multiple_of(MEBIBYTE) {
        format!("{} MiB", bytes / MEBIBYTE)
    } else {
        format!("{bytes} bytes")
    }
}

/// To the microsecond: more digits would say nothing.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
