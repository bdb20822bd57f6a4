//! One call and nothing else, for a caller that has no daemon.

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::call::{self, Ended, MAX_OUTPUT, Sink, Terms};
use crate::error::Error;
use crate::guard::Role;
use crate::household::{Duties, Household};
use crate::request::{Mode, Request};
use crate::worker::Worker;

/// Runs `request` in an interpreter of its own and returns when that and
/// everything it started are gone.
pub async fn run(
    household: &Household,
    request: &Request,
    sink: Sink,
    cancellation: CancellationToken,
) -> Result<Ended, Error> {
    let scratch = match request.cwd {
        Some(_) => None,
        None => Some(scratch()?),
    };
    let directory = scratch.as_ref().map(TempDir::path);
    let duties = Duties {
        role: Role::Worker,
        max_memory: request.max_memory,
        directory,
        scratch: directory,
    };
    let mut worker = Worker::start(household, &duties).map_err(Error::system("start the guard"))?;
    let terms = Terms {
        mode: Mode::Once,
        timeout: request.timeout,
        max_output: request.max_output.unwrap_or(MAX_OUTPUT),
        sink,
        cancellation,
    };
    let frame = request.to_frame(Mode::Once, None);
    let ended = call::run(&mut worker, &frame, terms, household).await;
    if let Some(scratch) = scratch {
        // What the code made unremovable stays in the temporary directory.
        let _ = scratch.close();
    }
    ended
}

/// An empty directory of this call's own.
fn scratch() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("ktx-")
        .tempdir()
        .map_err(Error::system("make a temporary working directory"))
}
