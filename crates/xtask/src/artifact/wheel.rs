//! The wheel: its archive, its own list of files, what it says of itself, and the daemon in it.

mod tag;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};
use xshell::cmd;

use self::tag::PlatformTag;
use super::archive::Files;
use super::binary::{self, Binary};
use super::problems::Problems;
use super::{Kind, Rules, check_size};
use crate::{digest, repo, tools, version};

pub(crate) const DISTRIBUTION: &str = "kaelio-ktx";
pub(crate) const NORMALIZED: &str = "kaelio_ktx";
const PACKAGE: &str = "ktx_daemon";
const COMMAND: &str = "ktx-daemon";
const EXTRA: &str = "local-embeddings";
/// What follows the version in the wheel's name: any Python 3, no interface of its own.
const PYTHON_TAGS: &str = "py3-none";

/// What a wheel was found to be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wheel {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The platform tags of its file name.
    pub(crate) tags: Vec<String>,
    pub(crate) files: usize,
    /// None only where it is missing, which is a problem.
    pub(crate) daemon: Option<Binary>,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What a wheel says of itself.
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) requires_python: String,
}

impl Metadata {
    /// Reads what the wheel says, which [`check`] compares with what it must be.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut problems = Problems::of(&repo::shown(path));
        let files = zip::read(&fs_err::read(path)?, &mut problems)?;
        let name = files
            .iter()
            .map(|(name, _)| name)
            .find(|name| name.ends_with(".dist-info/METADATA"))
            .context("The wheel has no METADATA")?;
        let text = files.text(name, &mut problems).unwrap_or_default();
        problems.into_result()?;
        let header = |key| {
            header(text, key)
                .map(str::to_owned)
                .with_context(|| format!("The wheel's METADATA has no `{key}`"))
        };
        Ok(Self {
            name: header("Name")?,
            version: header("Version")?,
            requires_python: header("Requires-Python")?,
        })
    }
}

/// Checks a wheel with this file name and content.
pub(super) fn check(
    rules: Rules<'_>,
    file_name: &str,
    content: &[u8],
    problems: &mut Problems,
) -> Result<Wheel> {
    let digested = digest::of_reader(content)?;
    check_size(
        rules.policy.max_bytes.wheel,
        "wheel",
        content.len(),
        problems,
    );
    let version = version::pep440(repo::VERSION)?;
    let tags = check_name(rules, file_name, &version, problems);
    let mut wheel = Wheel {
        name: DISTRIBUTION.to_owned(),
        version: version.clone(),
        tags: tags.iter().map(ToString::to_string).collect(),
        files: 0,
        daemon: None,
        bytes: digested.bytes,
        sha256: digested.sha256,
    };
    let files = match zip::read(content, problems) {
        Ok(files) => files,
        Err(error) => {
            problems.add("archive", format!("cannot be read ({error})"));
            return Ok(wheel);
        }
    };
    wheel.files = files.len();
    let layout = Layout::new(rules, &version);
    layout.check_files(&files, &sources()?, problems);
    layout.check_record(&files, problems);
    layout.check_wheel_file(&files, &tags, problems);
    if let Some(text) = files.text(&layout.metadata, problems) {
        check_metadata(rules, text, &version, problems);
    }
    if let Some(program) = files.get(&layout.program) {
        let daemon = problems.inside(&layout.program, |problems| {
            binary::check(rules, Kind::Program, &program.content, problems)
        })?;
        for tag in &tags {
            tag.check_floor(rules, daemon.libc_floor.as_deref(), problems);
        }
        wheel.daemon = Some(daemon);
    }
    Ok(wheel)
}

fn check_name(
    rules: Rules<'_>,
    file_name: &str,
    version: &str,
    problems: &mut Problems,
) -> Vec<PlatformTag> {
    let start = format!("{NORMALIZED}-{version}-{PYTHON_TAGS}-");
    let tags = file_name
        .strip_suffix(".whl")
        .and_then(|stem| stem.strip_prefix(&start))
        .filter(|tags| !tags.contains('-'));
    let Some(tags) = tags else {
        problems.add("name", format!("is not `{start}<platform>.whl`"));
        return Vec::new();
    };
    let parse = |tag| {
        let parsed = PlatformTag::parse(tag, rules.platform);
        problems.unless(
            parsed.is_some(),
            "tag",
            format!("`{tag}` is not one of {}", rules.platform.id),
        );
        parsed
    };
    tags.split('.').filter_map(parse).collect()
}

/// Where things are in the wheel of one version.
struct Layout {
    metadata: String,
    wheel: String,
    record: String,
    licenses_dir: String,
    program: String,
}

impl Layout {
    fn new(rules: Rules<'_>, version: &str) -> Self {
        let info = format!("{NORMALIZED}-{version}.dist-info");
        let suffix = if rules.platform.os == "win32" {
            ".exe"
        } else {
            ""
        };
        Self {
            metadata: format!("{info}/METADATA"),
            wheel: format!("{info}/WHEEL"),
            record: format!("{info}/RECORD"),
            licenses_dir: format!("{info}/licenses/"),
            program: format!("{NORMALIZED}-{version}.data/scripts/{COMMAND}{suffix}"),
        }
    }

    /// Nothing is missing, nothing else is there, and every mode is what it must be.
    fn check_files(
        &self,
        files: &Files,
        sources: &BTreeMap<String, Vec<u8>>,
        problems: &mut Problems,
    ) {
        for (name, file) in files.iter() {
            let mode = if name == self.program { 0o755 } else { 0o644 };
            problems.unless(
                file.mode == mode,
                "modes",
                format!("`{name}` has {:o}; expected {mode:o}", file.mode),
            );
            let is_ours = [&self.metadata, &self.wheel, &self.record, &self.program]
                .iter()
                .any(|known| *known == name)
                || name.starts_with(&self.licenses_dir);
            match sources.get(name) {
                Some(source) => problems.unless(
                    *source == file.content,
                    "files",
                    format!("`{name}` is not what `python/{name}` holds"),
                ),
                None => problems.unless(is_ours, "files", unexpected(name)),
            }
        }
        for name in sources.keys().chain([&self.program]) {
            problems.unless(
                files.get(name).is_some(),
                "files",
                format!("`{name}` is missing"),
            );
        }
    }

    /// The wheel's own list names exactly its files, with their digests and sizes.
    fn check_record(&self, files: &Files, problems: &mut Problems) {
        let Some(text) = files.text(&self.record, problems) else {
            return;
        };
        let mut listed = BTreeSet::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [name, hash, size] = fields[..] else {
                problems.add(
                    "RECORD",
                    format!("`{line}` is not a name, a digest and a size"),
                );
                continue;
            };
            problems.unless(
                listed.insert(name),
                "RECORD",
                format!("names `{name}` twice"),
            );
            let Some(file) = files.get(name) else {
                problems.add("RECORD", format!("names `{name}`, which is not there"));
                continue;
            };
            let (expected_hash, expected_size) = if name == self.record {
                (String::new(), String::new())
            } else {
                let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&file.content));
                (format!("sha256={hash}"), file.content.len().to_string())
            };
            problems.unless(
                hash == expected_hash,
                "RECORD",
                format!("has `{hash}` for `{name}`; it has `{expected_hash}`"),
            );
            problems.unless(
                size == expected_size,
                "RECORD",
                format!("has the size `{size}` for `{name}`; it has `{expected_size}`"),
            );
        }
        for (name, _) in files.iter() {
            problems.unless(
                listed.contains(name),
                "RECORD",
                format!("does not name `{name}`"),
            );
        }
    }

    fn check_wheel_file(&self, files: &Files, tags: &[PlatformTag], problems: &mut Problems) {
        let Some(text) = files.text(&self.wheel, problems) else {
            return;
        };
        for (key, expected) in [("Wheel-Version", "1.0"), ("Root-Is-Purelib", "false")] {
            let found = header(text, key);
            problems.unless(
                found == Some(expected),
                "WHEEL",
                format!(
                    "`{key}` is `{}`; expected `{expected}`",
                    found.unwrap_or_default()
                ),
            );
        }
        let stated: BTreeSet<String> = headers(text, "Tag").map(str::to_owned).collect();
        let expected: BTreeSet<String> = tags
            .iter()
            .map(|tag| format!("{PYTHON_TAGS}-{tag}"))
            .collect();
        problems.unless(
            stated == expected,
            "WHEEL",
            format!("`Tag` is {stated:?}; the file name says {expected:?}"),
        );
    }
}

fn unexpected(name: &str) -> String {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    if extension == Some("pth") {
        return format!("`{name}` would run whenever Python starts");
    }
    if name.contains("__pycache__") || extension == Some("pyc") {
        return format!("`{name}` is what Python made of a source on the build machine");
    }
    if name.ends_with("/entry_points.txt") {
        return format!("`{name}` makes commands; `{COMMAND}` is a program of its own");
    }
    format!("`{name}` does not belong in it")
}

/// The checkout's Python package, by the names that its files have in the wheel.
pub(super) fn sources() -> Result<BTreeMap<String, Vec<u8>>> {
    let sh = tools::shell()?;
    let dir = format!("python/{PACKAGE}");
    let listed = cmd!(
        sh,
        "git ls-files --cached --others --exclude-standard -- {dir}"
    )
    .quiet()
    .read()?;
    listed
        .lines()
        .filter(|name| repo::path(name).is_file())
        .map(|name| {
            let content = fs_err::read(repo::path(name))?;
            let in_wheel = name
                .strip_prefix("python/")
                .context("It is below `python`")?;
            Ok((in_wheel.to_owned(), content))
        })
        .collect()
}

fn check_metadata(rules: Rules<'_>, text: &str, version: &str, problems: &mut Problems) {
    let oldest = rules
        .policy
        .python
        .versions
        .first()
        .map_or("", String::as_str);
    for (key, expected) in [
        ("Name", DISTRIBUTION),
        ("Version", version),
        ("Requires-Python", &format!(">={oldest}")),
        ("Provides-Extra", EXTRA),
    ] {
        let found = header(text, key);
        problems.unless(
            found == Some(expected),
            "METADATA",
            format!(
                "`{key}` is `{}`; expected `{expected}`",
                found.unwrap_or_default()
            ),
        );
    }
}

/// The values of a header; the description, which follows an empty line, has none.
fn headers<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    let headers = text.split("\n\n").next().unwrap_or_default();
    headers
        .lines()
        .filter_map(move |line| line.strip_prefix(key)?.strip_prefix(": "))
}

fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    headers(text, key).next()
}
