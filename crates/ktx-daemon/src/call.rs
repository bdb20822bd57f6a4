//! A call that is running: what happens to it, when it has taken too long, and
//! what its end means.

use std::io::PipeWriter;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::capture::{Capture, Notice};
use crate::contain::Bystanders;
use crate::error::Error;
use crate::guard::End;
use crate::outcome::{Failure, Kind, Outcome, Report};
use crate::request::Request;

/// What a call may write to standard output and error together, in bytes.
pub const MAX_OUTPUT: usize = 64 * 1024 * 1024;

/// How long a report, which holds the value, may be, in bytes.
pub const MAX_REPORT: u64 = 64 * 1024 * 1024;

/// How a call ended.
pub enum Ended {
    /// With an outcome.
    Outcome(Outcome),
    /// This process was asked to end by a signal, and the worker is gone.
    Signal(u8),
}

/// How long the interpreter may take until it runs the code.
const STARTUP: Duration = Duration::from_secs(30);

/// How long the interpreter may take to end after its report, in which the
/// code's exit handlers and threads are done already.
const LEAVE: Duration = Duration::from_secs(5);

/// How long the guard may take to end everything; longer than its sweep.
#[cfg(unix)]
const END: Duration = Duration::from_secs(6);

/// How long output is read after everything has ended, for the case that a
/// process that could not be ended keeps a pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether the guard is alive.
const TICK: Duration = Duration::from_millis(100);

/// What happens to a call.
#[derive(Debug)]
pub enum Event {
    /// The request is written; the pipe stays open as the guard's lifeline.
    Sent(PipeWriter),
    /// The code begins to run.
    Started(Instant),
    /// The worker's report has come.
    Reported(Vec<u8>, Instant),
    /// The report is longer than it may be.
    ReportTooLong,
    /// The guard says how the worker ended.
    Ended(End),
    /// Something happened to standard output.
    Stdout(Notice),
    /// Something happened to standard error.
    Stderr(Notice),
    /// This process received a signal that asks it to end.
    #[cfg(unix)]
    Signal(u8),
}

/// Why the supervisor ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Startup,
    Timeout,
    OutputLimit,
    ReportLimit,
    /// The report is here, and the worker does not go.
    Leave,
    #[cfg(unix)]
    Signal(u8),
}

/// A call that is running.
pub struct Call {
    guard: Child,
    lifeline: Option<PipeWriter>,
    stdout: Capture,
    stderr: Capture,
    open_streams: u8,
    spawned: Instant,
    started: Option<Instant>,
    report: Option<(Vec<u8>, Instant)>,
    end: Option<End>,
    verdict: Option<Verdict>,
    /// When the verdict fell, or the guard was gone.
    ended: Option<Instant>,
}

impl Call {
    /// A call whose guard has just been started.
    pub fn new(guard: Child, stdout: Capture, stderr: Capture) -> Self {
        Self {
            guard,
            lifeline: None,
            stdout,
            stderr,
            open_streams: 2,
            spawned: Instant::now(),
            started: None,
            report: None,
            end: None,
            verdict: None,
            ended: None,
        }
    }

    /// Waits until the worker has ended or has to.
    pub fn follow(&mut self, events: &Receiver<Event>, timeout: Option<Duration>) {
        while self.end.is_none() && self.verdict.is_none() {
            let (deadline, verdict) = self.deadline(timeout);
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match events.recv_timeout(left.map_or(TICK, |left| left.min(TICK))) {
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= TICK) => {
                    self.verdict = Some(verdict);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if !matches!(self.guard.try_wait(), Ok(None)) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.ended = Some(Instant::now());
    }

    /// The next moment at which something has taken too long.
    fn deadline(&self, timeout: Option<Duration>) -> (Option<Instant>, Verdict) {
        if let Some((_, reported)) = self.report {
            return (Some(reported + LEAVE), Verdict::Leave);
        }
        match self.started {
            None => (Some(self.spawned + STARTUP), Verdict::Startup),
            // A sum that does not fit is a time that never comes.
            Some(started) => (
                timeout.and_then(|timeout| started.checked_add(timeout)),
                Verdict::Timeout,
            ),
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Sent(lifeline) => self.lifeline = Some(lifeline),
            Event::Started(at) => self.started = Some(at),
            Event::Reported(report, at) => self.report = Some((report, at)),
            Event::ReportTooLong => self.decide(Verdict::ReportLimit),
            Event::Ended(end) => self.end = Some(end),
            Event::Stdout(Notice::Closed) | Event::Stderr(Notice::Closed) => {
                self.open_streams -= 1;
            }
            Event::Stdout(Notice::Overflow) | Event::Stderr(Notice::Overflow) => {
                self.decide(Verdict::OutputLimit);
            }
            #[cfg(unix)]
            Event::Signal(signal) => self.decide(Verdict::Signal(signal)),
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        self.verdict.get_or_insert(verdict);
    }

    /// Ends whatever is left of the call and reads the rest of its output.
    pub fn finish(&mut self, events: &Receiver<Event>, bystanders: &Bystanders) {
        if self.end.is_none() && !self.dismiss(events) {
            // The code stopped or killed its guard.
            let _ = self.guard.kill();
            let _ = self.guard.wait();
            bystanders.sweep_others();
        }
        let _ = self.guard.wait();
        let deadline = Instant::now() + DRAIN;
        while self.open_streams > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(event) => self.note(event),
                Err(_) => break,
            }
        }
    }

    /// Lets the guard end the worker, and returns whether it did.
    #[cfg(unix)]
    fn dismiss(&mut self, events: &Receiver<Event>) -> bool {
        let deadline = Instant::now() + END;
        while self.end.is_none() {
            // Closing it is the sign to the guard.
            self.lifeline = None;
            match events.recv_timeout(TICK) {
                Ok(event) => self.note(event),
                Err(_) if Instant::now() > deadline => return false,
                Err(_) => {
                    if !matches!(self.guard.try_wait(), Ok(None)) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// The end of the guard closes its job, which ends the worker.
    #[cfg(windows)]
    fn dismiss(&mut self, _events: &Receiver<Event>) -> bool {
        self.lifeline = None;
        false
    }

    /// What the end of the call means.
    pub fn conclude(mut self, python: &Path, request: &Request) -> Result<Ended, Error> {
        #[cfg(unix)]
        if let Some(Verdict::Signal(signal)) = self.verdict {
            return Ok(Ended::Signal(signal));
        }
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        let Some(started) = self.started else {
            return Err(Error::Startup {
                python: python.to_path_buf(),
                reason: self.not_started(&stderr),
            });
        };
        let report = self.report.take();
        let finished = match &report {
            Some((_, reported)) => *reported,
            None => self.ended.unwrap_or(started),
        };
        let Report { value, error } = match (self.failure(request, report.is_some()), report) {
            (None, Some((report, _))) => {
                serde_json::from_slice(&report).map_err(|source| Error::Report { source })?
            }
            (error, _) => Report { value: None, error },
        };
        Ok(Ended::Outcome(Outcome {
            success: error.is_none(),
            value,
            stdout,
            stderr,
            error,
            duration_ms: milliseconds(finished.saturating_duration_since(started)),
        }))
    }

    /// The failure that the supervisor saw; the worker's own report counts
    /// only if there is none.
    fn failure(&mut self, request: &Request, reported: bool) -> Option<Failure> {
        let mebibytes = |bytes: u64| bytes / (1024 * 1024);
        match self.verdict {
            Some(Verdict::Timeout) => {
                let limit = request.timeout_ms.unwrap_or_default();
                let message = format!("The code ran longer than {limit} ms");
                return Some(Failure::seen(Kind::Timeout, message));
            }
            Some(Verdict::OutputLimit) => {
                let limit = mebibytes(MAX_OUTPUT as u64);
                let message = format!("The code wrote more than {limit} MiB of output");
                return Some(Failure::seen(Kind::OutputLimit, message));
            }
            Some(Verdict::ReportLimit) => {
                let limit = mebibytes(MAX_REPORT);
                let message = format!("The value takes more than {limit} MiB");
                return Some(Failure::seen(Kind::OutputLimit, message));
            }
            Some(Verdict::Leave) => return None,
            #[cfg(unix)]
            Some(Verdict::Signal(_)) => {}
            Some(Verdict::Startup) | None => {}
        }
        match &self.end {
            Some(End::Exit(_)) if reported => None,
            Some(End::Exit(status)) => {
                let message = format!("Python exited with status {status}");
                Some(Failure::seen(Kind::Exit, message))
            }
            Some(End::Signal(signal)) => {
                let name = signal_name(*signal);
                let message = if reported {
                    format!("Python was ended by {name} after the code was done")
                } else {
                    format!("Python was ended by {name}")
                };
                Some(Failure::seen(Kind::Signal, message))
            }
            Some(End::NotStarted { .. }) | None => {
                let end = self.guard.wait().map(End::from);
                let how = match end {
                    Ok(End::Signal(signal)) => format!("was ended by {}", signal_name(signal)),
                    _ => "ended".to_owned(),
                };
                let message = format!("Python was ended, because its parent process {how}");
                Some(Failure::seen(Kind::Signal, message))
            }
        }
    }

    fn not_started(&self, stderr: &str) -> String {
        let how = match (&self.end, self.verdict) {
            (Some(End::NotStarted { reason }), _) => reason.clone(),
            (_, Some(Verdict::Startup)) => format!("it took longer than {} s", STARTUP.as_secs()),
            (Some(End::Exit(status)), _) => format!("it exited with status {status}"),
            (Some(End::Signal(signal)), _) => format!("it was ended by {}", signal_name(*signal)),
            (None, _) => "its guard ended".to_owned(),
        };
        match stderr.trim_end().lines().next_back() {
            Some(last) => format!("{how}: {last}"),
            None => how,
        }
    }
}

/// To the microsecond: more digits would say nothing.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(unix)]
fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(windows)]
fn signal_name(signal: i32) -> String {
    format!("signal {signal}")
}
