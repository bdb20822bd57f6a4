//! The install log: every command that was run, with its output.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err::File;
use ktx_os::command::{Command, CommandError, Output};
use ktx_os::files::open_itself;

/// A log file that commands are written to as they run.
#[derive(Debug)]
pub struct Log {
    file: Mutex<File>,
    path: PathBuf,
}

impl Log {
    /// Begins an empty log at `path`. A link in its place is refused.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        Ok(Self {
            file: Mutex::new(open_itself(path, &mut options)?),
            path: path.to_owned(),
        })
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line.
    pub fn note(&self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    pub(crate) fn command(&self, command: &Command) {
        self.note(&format!("$ {command}"));
    }

    pub(crate) fn outcome(&self, outcome: &Result<Output, CommandError>) {
        let output = match outcome {
            Ok(output) => Some(output),
            Err(error) => error.output(),
        };
        for text in output
            .into_iter()
            .flat_map(|output| [&output.stdout, &output.stderr])
        {
            if !text.is_empty() {
                self.note(text.trim_end_matches('\n'));
            }
        }
        if let Err(error) = outcome {
            self.note(&format!("! {error}"));
        }
    }

    /// A log that cannot be written must not fail an install that can: the
    /// disk may be full for the log's last line only.
    fn write(&self, text: &str) {
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(text.as_bytes());
        }
    }
}
