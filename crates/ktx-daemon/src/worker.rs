//! Starts a worker behind its guard, with the pipes to both.

use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use ktx_os::environment::Environment;
use tempfile::TempDir;

use crate::call::{Call, Ended, Event, MAX_OUTPUT, MAX_REPORT};
use crate::capture::{Budget, Capture, Notice};
use crate::channel;
use crate::contain::Bystanders;
use crate::error::Error;
use crate::guard::End;
use crate::interpreter::Interpreter;
use crate::request::Request;

/// What runs calls.
pub struct Worker<'a> {
    /// This program, which is the guard too.
    pub guard: &'a Path,
    /// The interpreter to run the code in.
    pub interpreter: &'a Interpreter,
}

impl Worker<'_> {
    /// Runs `request` in a new process and returns when that and everything
    /// it started are gone.
    pub fn run(&self, request: &Request) -> Result<Ended, Error> {
        let scratch = match request.cwd {
            Some(_) => None,
            None => Some(scratch()?),
        };
        let directory = scratch.as_ref().map(TempDir::path);
        let (sender, events) = mpsc::channel();
        watch_signals(&sender)?;
        let bystanders = Bystanders::contain().map_err(Error::system("contain the worker"))?;
        let mut call = self.start(request, directory, sender)?;
        call.follow(&events, request.timeout());
        call.finish(&events, &bystanders);
        let ended = call.conclude(&self.interpreter.python, request);
        if let Some(scratch) = scratch {
            // What the code made unremovable stays in the temporary directory.
            let _ = scratch.close();
        }
        ended
    }

    fn start(
        &self,
        request: &Request,
        scratch: Option<&Path>,
        sender: Sender<Event>,
    ) -> Result<Call, Error> {
        let pipe = || io::pipe().map_err(Error::system("make a pipe"));
        let (input_reader, input) = pipe()?;
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        let (report, report_writer) = pipe()?;

        let mut command = Command::new(self.guard);
        let number = channel::hand_down(&report_writer, &mut command)
            .map_err(Error::system("hand the report pipe down"))?;
        command.arg("guard").arg("--report").arg(number.to_string());
        if let Some(scratch) = scratch {
            command.arg("--scratch").arg(scratch);
        }
        command
            .arg(&self.interpreter.python)
            .env_clear()
            .envs(variables().iter())
            .stdin(input_reader)
            .stdout(stdout_writer)
            .stderr(stderr_writer);
        if let Some(directory) = request.cwd.as_deref().or(scratch) {
            command.current_dir(directory);
        }
        // A terminal's Ctrl-C is for the supervisor, which ends the rest.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let guard = command.spawn().map_err(Error::system("start the guard"))?;
        // They hold the writing ends, which would keep the pipes from closing.
        drop(command);
        drop(report_writer);

        send(request.to_worker(number), input, sender.clone());
        let budget = Budget::new(MAX_OUTPUT);
        let capture = |stream: PipeReader, wrap: fn(Notice) -> Event| {
            let sender = sender.clone();
            let notify = move |notice| {
                let _ = sender.send(wrap(notice));
            };
            Capture::start(stream, budget.clone(), notify)
        };
        let call = Call::new(
            guard,
            capture(stdout, Event::Stdout),
            capture(stderr, Event::Stderr),
        );
        receive(report, sender);
        Ok(call)
    }
}

/// An empty directory of this call's own.
fn scratch() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("ktx-")
        .tempdir()
        .map_err(Error::system("make a temporary working directory"))
}

/// What the worker sees of the environment of this process.
fn variables() -> Environment {
    // Names and values that are not Unicode are not on the list either.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables.collect::<Environment>().for_child()
}

#[cfg(unix)]
fn watch_signals(sender: &Sender<Event>) -> Result<(), Error> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals =
        Signals::new([SIGINT, SIGTERM]).map_err(Error::system("watch for signals"))?;
    let sender = sender.clone();
    thread::spawn(move || {
        for signal in &mut signals {
            let _ = sender.send(Event::Signal(u8::try_from(signal).unwrap_or_default()));
        }
    });
    Ok(())
}

/// Windows ends this process at Ctrl-C, and with it the job of the worker.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "the other platforms can fail")]
fn watch_signals(_sender: &Sender<Event>) -> Result<(), Error> {
    Ok(())
}

/// Writes the request on a thread of its own: a worker that does not read it
/// must not block the supervisor.
fn send(request: Vec<u8>, mut input: PipeWriter, sender: Sender<Event>) {
    thread::spawn(move || {
        // A worker that is gone before it has read all is seen by its end.
        let _ = input.write_all(&request);
        let _ = sender.send(Event::Sent(input));
    });
}

/// Reads what the worker and its guard report, on a thread of its own.
fn receive(report: PipeReader, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut report = BufReader::new(report);
        loop {
            let mut line = Vec::new();
            let event = match report
                .by_ref()
                .take(MAX_REPORT)
                .read_until(b'\n', &mut line)
            {
                Ok(0) | Err(_) => return,
                Ok(_) if line.pop() != Some(b'\n') => Event::ReportTooLong,
                Ok(_) if line == b"started" => Event::Started(Instant::now()),
                Ok(_) if line.starts_with(b"{") => Event::Reported(line, Instant::now()),
                Ok(_) => match std::str::from_utf8(&line).ok().and_then(End::parse) {
                    Some(end) => Event::Ended(end),
                    None => continue,
                },
            };
            if sender.send(event).is_err() {
                return;
            }
        }
    });
}
