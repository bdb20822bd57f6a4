//! A whole wheel and whole packages of a platform, file by file, so that a test can change one.

use std::fmt::Write as _;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::compiled::compile;
use crate::artifact::Kind;
use crate::{repo, version};

pub(super) const PLATFORM: &str = "linux-x64-gnu";
const TARGET: &str = "x86_64-linux-gnu.2.28";
pub(super) const TAG: &str = "manylinux_2_28_x86_64";
const RECORD: &str = "dist-info/RECORD";

/// A file of a wheel.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
    pub(super) time: DateTime,
}

/// A wheel that keeps every rule until something of it is changed.
#[derive(Clone)]
pub(super) struct SampleWheel {
    pub(super) name: String,
    pub(super) entries: Vec<Entry>,
    /// The list of files, unless it is to be that of the entries.
    pub(super) record: Option<String>,
}

impl SampleWheel {
    pub(super) fn new() -> Self {
        Self::with_daemon(&compile(TARGET, Kind::Program, &[]))
    }

    pub(super) fn with_daemon(daemon: &[u8]) -> Self {
        let version = version::pep440(repo::VERSION).unwrap();
        let start = format!("kaelio_ktx-{version}");
        let mut wheel = Self {
            name: format!("{start}-py3-none-{TAG}.whl"),
            entries: Vec::new(),
            record: None,
        };
        wheel.add(&format!("{start}.data/scripts/ktx-daemon"), 0o755, daemon);
        for (name, content) in super::super::wheel::sources().unwrap() {
            wheel.add(&name, 0o644, &content);
        }
        let metadata = format!(
            "Metadata-Version: 2.4\nName: kaelio-ktx\nVersion: {version}\n\
             Provides-Extra: local-embeddings\nRequires-Python: >=3.10\n"
        );
        wheel.add(
            &format!("{start}.dist-info/METADATA"),
            0o644,
            metadata.as_bytes(),
        );
        let about = format!(
            "Wheel-Version: 1.0\nGenerator: maturin\nRoot-Is-Purelib: false\nTag: py3-none-{TAG}\n"
        );
        wheel.add(&format!("{start}.dist-info/WHEEL"), 0o644, about.as_bytes());
        wheel.add(&format!("{start}.{RECORD}"), 0o644, b"");
        wheel
    }

    pub(super) fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries.push(Entry {
            name: name.to_owned(),
            mode,
            content: content.to_vec(),
            time: DateTime::default(),
        });
    }

    /// The entry whose name ends like this.
    pub(super) fn entry(&mut self, end: &str) -> &mut Entry {
        let found = self
            .entries
            .iter_mut()
            .find(|entry| entry.name.ends_with(end));
        found.unwrap()
    }

    pub(super) fn replace(&mut self, end: &str, from: &str, to: &str) {
        let entry = self.entry(end);
        let text = String::from_utf8(entry.content.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        entry.content = text.replace(from, to).into_bytes();
    }

    /// What its own list of files is, if nobody changes it.
    pub(super) fn listed(&self) -> String {
        let mut listed = String::new();
        for entry in &self.entries {
            listed.push_str(&entry.name);
            if entry.name.ends_with(RECORD) {
                listed.push_str(",,\n");
                continue;
            }
            let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&entry.content));
            writeln!(listed, ",sha256={hash},{}", entry.content.len()).unwrap();
        }
        listed
    }

    /// The archive; nothing is compressed, so that names can be found in it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let record = self.record.clone().unwrap_or_else(|| self.listed());
        for entry in &self.entries {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .unix_permissions(entry.mode)
                .last_modified_time(entry.time);
            archive.start_file(&entry.name, options).unwrap();
            let content = if entry.name.ends_with(RECORD) {
                record.as_bytes()
            } else {
                &entry.content
            };
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    /// Writes the wheel and an addon into a directory as a build does.
    pub(super) fn write(&self, dir: &Path) -> (PathBuf, PathBuf) {
        let (addon_path, wheel_path) = (dir.join("ktx.node"), dir.join(&self.name));
        fs_err::write(&addon_path, compile(TARGET, Kind::Addon, &[])).unwrap();
        fs_err::write(&wheel_path, self.bytes()).unwrap();
        (addon_path, wheel_path)
    }
}
