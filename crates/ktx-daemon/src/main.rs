//! `ktx-daemon`: parse the arguments, call the library, print what it returns.

use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use ktx_daemon::call::{Ended, Sink};
use ktx_daemon::error::Error;
use ktx_daemon::guard::{self, Charge};
use ktx_daemon::household::Household;
use ktx_daemon::interpreter::Interpreter;
use ktx_daemon::once;
use ktx_daemon::request::Request;
use ktx_daemon::{reader, serve, signals};

mod print;

/// Runs Python code in workers of the environment that it is installed in.
#[derive(Parser)]
#[command(name = "ktx-daemon", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one request, read as JSON from standard input, and print its outcome
    ///
    /// Exits 0 when an outcome was printed, whatever the code did; 2 for an
    /// invalid request; 3 when no code was run because the environment is gone
    /// or being removed; 1 when the code could not be run for another reason.
    #[command(after_help = "Example:\n  echo '{\"code\": \"6 * 7\"}' | ktx-daemon execute")]
    Execute {
        /// Take an environment without a lease file for one that is being
        /// removed
        #[arg(long)]
        leased: bool,
        /// Print output as it comes, each piece as `{"stdout": "…"}` or
        /// `{"stderr": "…"}` on a line of its own, and at last
        /// `{"outcome": {…}}`
        #[arg(long)]
        stream: bool,
    },
    /// Serve callers over gRPC until nobody has needed it for long
    #[command(after_help = "Example:\n  ktx-daemon serve --listen 127.0.0.1:0")]
    Serve(serve::Options),
    /// Run an interpreter and end all that it leaves behind
    #[command(hide = true)]
    Guard(Charge),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Verb::Execute { leased, stream } => execute(leased, stream),
        Verb::Serve(options) => environment()
            .and_then(|(executable, interpreter)| serve::run(&options, executable, interpreter)),
        Verb::Guard(charge) => return guard::run(&charge),
    };
    done.unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::from(error.exit_code())
    })
}

/// The environment that this program is in.
fn environment() -> Result<(std::path::PathBuf, Interpreter), Error> {
    let executable =
        std::env::current_exe().map_err(Error::system("find the path of ktx-daemon"))?;
    let invoked_as: Option<OsString> = std::env::args_os().next();
    let interpreter = Interpreter::beside(&executable, invoked_as.as_deref().map(Path::new))?;
    Ok((executable, interpreter))
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start"))
}

fn execute(leased: bool, stream: bool) -> Result<ExitCode, Error> {
    ktx_daemon::channel::withhold_inherited();
    let (executable, interpreter) = environment()?;
    let request = Request::read(io::stdin().lock())?;
    // Before any Python starts: the interpreter finds whole packages or none.
    let _lease = interpreter.lease(leased)?;
    runtime()?.block_on(async {
        let household =
            Household::new(executable, interpreter).map_err(Error::system("contain workers"))?;
        let cancellation = CancellationToken::new();
        let signal = signals::watch(&cancellation)?;
        reader::watch(&cancellation);
        let (sink, printing) = if stream {
            let (sender, chunks) = mpsc::channel(16);
            let printing = tokio::spawn(print::chunks(chunks));
            (Sink::Reader(sender.clone()), Some((sender, printing)))
        } else {
            (Sink::Outcome, None)
        };
        let mut ended = once::run(&household, &request, sink, cancellation).await?;
        let printed = match printing {
            Some((sender, printing)) => {
                if let Ended::Outcome(outcome) = &mut ended {
                    for chunk in std::mem::take(&mut outcome.unread) {
                        // Why it was not printed is what printing returns.
                        let _ = sender.send(chunk).await;
                    }
                }
                drop(sender);
                printing.await.unwrap_or_else(|error| Err(error.into()))
            }
            None => Ok(()),
        };
        let outcome = match ended {
            Ended::Outcome(outcome) => outcome,
            Ended::Cancelled => {
                let number = signal.number();
                return Ok(ExitCode::from(number.map_or(1, |number| number | 128)));
            }
        };
        printed
            .and_then(|()| print::outcome(&outcome, stream))
            .map_err(Error::system("write the outcome to standard output"))?;
        Ok(ExitCode::SUCCESS)
    })
}

#[expect(clippy::print_stderr, reason = "the one place where errors are shown")]
fn print_error(error: &Error) {
    eprint!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    if let Some(hint) = error.hint() {
        eprintln!("{hint}");
    }
}
