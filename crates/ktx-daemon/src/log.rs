//! The daemon's log: lines in a file that is put aside when it is full.

use std::path::Path;
use std::sync::Mutex;

use crate::error::Error;

#[expect(
    clippy::disallowed_types,
    reason = "what writes the file takes no other; a failure names the path"
)]
type OpenOptions = std::fs::OpenOptions;

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use ktx_os::variables::KTX_LOG;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How large a log becomes, in bytes.
const SIZE: usize = 10 * 1024 * 1024;

/// How many are kept besides the one that is written: `<log>.1`, `<log>.2`.
const KEPT: usize = 2;

/// Writes the log to `path`, or to standard error.
pub fn start(path: Option<&Path>) -> Result<(), Error> {
    match path {
        Some(path) => {
            let mut options = OpenOptions::new();
            options.create(true).append(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            // What follows takes a file that cannot be opened for a defect.
            options.open(path).map_err(|error| Error::Setting {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            let count = AppendCount::new(KEPT);
            let limit = ContentLimit::BytesSurpassed(SIZE);
            let file = FileRotate::new(path, count, limit, Compression::None, Some(options));
            subscribe(Mutex::new(file));
        }
        None => subscribe(std::io::stderr),
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a panic")));
    Ok(())
}

fn subscribe(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let wanted = std::env::var(KTX_LOG).unwrap_or_default();
    let filter = wanted
        .parse::<Targets>()
        .ok()
        .filter(|_| !wanted.is_empty())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}
