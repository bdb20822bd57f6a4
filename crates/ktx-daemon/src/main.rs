//! `ktx-daemon`: parse the arguments, call the library, print what it returns.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use ktx_daemon::call::Ended;
use ktx_daemon::error::Error;
use ktx_daemon::interpreter::Interpreter;
use ktx_daemon::outcome::Outcome;
use ktx_daemon::request::Request;
use ktx_daemon::worker::Worker;

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
    },
    /// Run a worker and end all that it leaves behind
    #[command(hide = true)]
    Guard {
        /// Descriptor (on Windows: handle) of the report pipe
        #[arg(long)]
        report: usize,
        /// Directory to remove if the supervisor is gone
        #[arg(long)]
        scratch: Option<PathBuf>,
        /// The interpreter
        python: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Verb::Execute { leased } => match execute(leased) {
            Ok(Ended::Outcome(outcome)) => print(&outcome),
            Ok(Ended::Signal(signal)) => ExitCode::from(signal.saturating_add(128)),
            Err(error) => {
                print_error(&error);
                ExitCode::from(error.exit_code())
            }
        },
        Verb::Guard {
            report,
            scratch,
            python,
        } => ktx_daemon::guard::run(report, &python, scratch.as_deref()),
    }
}

fn execute(leased: bool) -> Result<Ended, Error> {
    let executable =
        std::env::current_exe().map_err(Error::system("find the path of ktx-daemon"))?;
    let invoked_as: Option<OsString> = std::env::args_os().next();
    let interpreter = Interpreter::beside(&executable, invoked_as.as_deref().map(Path::new))?;
    let request = Request::read(io::stdin().lock())?;
    // Before any Python starts: the interpreter finds whole packages or none.
    let _lease = interpreter.lease(leased)?;
    Worker {
        guard: &executable,
        interpreter: &interpreter,
    }
    .run(&request)
}

fn print(outcome: &Outcome) -> ExitCode {
    let mut output = io::BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer(&mut output, outcome)
        .map_err(io::Error::from)
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(source) => {
            print_error(&Error::System {
                action: "write the outcome to standard output",
                source,
            });
            ExitCode::FAILURE
        }
    }
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
