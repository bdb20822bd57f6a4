//! Traces, handed to JavaScript line by line.

use std::io::{self, Write};
use std::sync::Arc;

use napi::bindgen_prelude::Result;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Error, Status};
use napi_derive::{module_init, napi};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

type Sink = ThreadsafeFunction<String, (), String, Status, false, true>;

/// A panic becomes a failure with its message; the default hook would write it
/// to the process's standard error.
#[module_init]
fn keep_panics_off_the_streams() {
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

/// Hands traces that `filter` selects to `sink`, from now on and for the whole
/// process; a second call changes nothing. `filter` is a level, or levels by
/// module: `debug`, `warn,ktx_env=debug`.
#[napi(ts_args_type = "filter: string, sink: (line: string) => void")]
pub fn trace(filter: String, sink: Sink) -> Result<()> {
    let targets: Targets = filter.parse().map_err(|error| {
        Error::new(
            Status::InvalidArg,
            format!("`{filter}` selects no traces: {error}"),
        )
    })?;
    let sink = Arc::new(sink);
    let layer = tracing_subscriber::fmt::layer()
        .without_time()
        .with_ansi(false)
        .with_writer(move || Line {
            sink: Arc::clone(&sink),
            bytes: Vec::new(),
        })
        .with_filter(targets);
    // It fails only if there is a subscriber already, from an earlier call.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    Ok(())
}

/// Collects a line and sends it when it is complete.
struct Line {
    sink: Arc<Sink>,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = String::from_utf8_lossy(&self.bytes).trim_end().to_owned();
        // An environment that is going away hears no more lines.
        let _ = self
            .sink
            .call(line, ThreadsafeFunctionCallMode::NonBlocking);
    }
}
