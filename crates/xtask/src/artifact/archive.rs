//! What holds for the files of every archive: names that are safe to unpack on any system, each of
//! them once.

use std::collections::BTreeMap;

use super::problems::Problems;

/// More than any of our archives unpacks to.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// Names that Windows keeps for devices, with any extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED_DEVICES: [&str; 2] = ["com", "lpt"];

/// One file of an archive.
#[derive(Debug)]
pub(super) struct File {
    /// The permissions alone.
    pub(super) mode: u32,
    pub(super) content: Vec<u8>,
}

/// The files of an archive by name.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<String, File>,
    /// Every name as a system sees it that does not tell upper from lower case.
    folded: BTreeMap<String, String>,
}

impl Files {
    /// Adds a file; a name that is unsafe or that is there already is a problem.
    pub(super) fn add(&mut self, name: &str, file: File, problems: &mut Problems) {
        if let Some(reason) = unsafe_name(name) {
            problems.add("paths", format!("`{}` {reason}", name.escape_default()));
            return;
        }
        match self.folded.insert(name.to_lowercase(), name.to_owned()) {
            Some(other) if other == name => {
                problems.add("paths", format!("`{name}` is there twice"));
            }
            Some(other) => problems.add(
                "paths",
                format!("`{name}` and `{other}` are one file where case does not count"),
            ),
            None => {
                self.files.insert(name.to_owned(), file);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&File> {
        self.files.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file that must be there, as text.
    pub(super) fn text(&self, name: &str, problems: &mut Problems) -> Option<&str> {
        let Some(file) = self.files.get(name) else {
            problems.add("files", format!("`{name}` is missing"));
            return None;
        };
        let text = str::from_utf8(&file.content);
        problems.unless(text.is_ok(), "files", format!("`{name}` is not UTF-8"));
        text.ok()
    }
}

/// Why a name must not be unpacked, if it must not.
pub(crate) fn unsafe_name(name: &str) -> Option<&'static str> {
    let is_plain = |character: char| character.is_ascii_graphic() || character == ' ';
    if name.is_empty() {
        Some("has no name")
    } else if !name.chars().all(is_plain) {
        Some("has characters that are not plain ASCII")
    } else if name.starts_with('/') {
        Some("is absolute")
    } else if name.contains('\\') {
        Some("has a backslash, which separates directories on Windows")
    } else if name.contains(':') {
        Some("has a colon, which names a drive or a stream on Windows")
    } else if name.split('/').any(|part| part == "..") {
        Some("leads out of the directory")
    } else if name.split('/').any(|part| part.is_empty() || part == ".") {
        Some("has a part without a name")
    } else if name.split('/').any(|part| part.ends_with(['.', ' '])) {
        Some("has a part whose end Windows drops")
    } else if name.split('/').any(is_device) {
        Some("names a device of Windows")
    } else {
        None
    }
}

fn is_device(part: &str) -> bool {
    let stem = part
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_numbered = NUMBERED_DEVICES.iter().any(|device| {
        stem.strip_prefix(device)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
    });
    DEVICES.contains(&stem.as_str()) || is_numbered
}

#[cfg(test)]
mod tests {
    use super::unsafe_name;

    #[test]
    fn refuses_names_that_unpack_elsewhere_or_as_something_else() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            "a\\b",
            "C:/x",
            "a:stream",
            "nul",
            "a/CON.txt",
            "com1",
            "a.",
            "a /b",
            "a\0b",
            "a\nb",
            "\u{e9}",
        ] {
            assert!(unsafe_name(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn takes_the_names_that_packages_have() {
        for name in [
            "package.json",
            "dist/index.d.mts",
            "python/kaelio_ktx-0.1.0-py3-none-win_amd64.whl",
            "ktx_daemon/__init__.py",
            "console.js",
            "a b/common.txt",
        ] {
            assert_eq!(unsafe_name(name), None, "{name}");
        }
    }
}
