//! The dependency lock: a pip requirements file with hashes, in one section
//! for each feature.
//!
//! ```text
//! # ktx-lock: 1
//! # feature: core
//! msgpack==1.1.2 \
//!     --hash=sha256:0fa1...
//! # feature: local-embeddings
//! numpy==2.2.6 ; python_full_version < '3.11' \
//!     --hash=sha256:038f...
//! ```
//!
//! A section lists what its feature adds to the ones before it. The syntax of
//! a requirement is pip's (Requirements File Format) with markers (PEP 508).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::feature::Feature;

const HEADER: &str = "# ktx-lock: 1";
const SECTION: &str = "# feature: ";

/// A lock, by feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    sections: Vec<(Feature, String)>,
}

/// A version that the lock allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedPackage {
    /// The normalised name (PEP 503).
    pub name: String,
    /// The version.
    pub version: String,
}

/// Why a lock cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockSyntaxError {
    /// The first line is not the header of this format.
    #[error("expected the first line `{HEADER}`")]
    Header,
    /// A section's feature is not known, or comes twice.
    #[error("line {line}: unexpected section `{section}`")]
    Section {
        /// Line number, from 1.
        line: usize,
        /// What stands there.
        section: String,
    },
    /// A line is not part of a hashed, pinned requirement.
    #[error("line {line}: expected `name==version` with `--hash=sha256:` lines")]
    Requirement {
        /// Line number, from 1.
        line: usize,
    },
}

impl Lock {
    /// Reads a lock. Every requirement must be pinned and have a hash.
    pub fn parse(text: &[u8]) -> Result<Self, LockSyntaxError> {
        let text = std::str::from_utf8(text).map_err(|_| LockSyntaxError::Header)?;
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        if lines.next().map(|(_, line)| line.trim_end()) != Some(HEADER) {
            return Err(LockSyntaxError::Header);
        }
        let mut sections: Vec<(Feature, String)> = Vec::new();
        let mut hashes_follow = false;
        for (line, content) in lines {
            let content = content.trim_end();
            if let Some(name) = content.strip_prefix(SECTION) {
                let feature = name
                    .parse()
                    .ok()
                    .filter(|feature| !sections.iter().any(|(known, _)| known == feature))
                    .ok_or_else(|| LockSyntaxError::Section {
                        line,
                        section: name.to_owned(),
                    })?;
                sections.push((feature, String::new()));
                continue;
            }
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let is_hash = is_hash(content);
            let (continued, valid) = match content.strip_suffix('\\') {
                Some(_) if is_hash => (true, hashes_follow),
                Some(requirement) => (true, !hashes_follow && package(requirement).is_some()),
                None => (false, is_hash && hashes_follow),
            };
            let Some((_, section)) = sections.last_mut().filter(|_| valid) else {
                return Err(LockSyntaxError::Requirement { line });
            };
            hashes_follow = continued;
            // Writing to a string cannot fail.
            let _ = writeln!(section, "{content}");
        }
        Ok(Self { sections })
    }

    /// The requirements of `features` as a requirements file.
    pub fn requirements(&self, features: &[Feature]) -> String {
        self.of(features).collect()
    }

    /// Every version that may be installed for `features`, on any platform.
    pub fn packages(&self, features: &[Feature]) -> BTreeSet<LockedPackage> {
        let mut packages = BTreeSet::new();
        packages.extend(self.of(features).flat_map(str::lines).filter_map(package));
        packages
    }

    fn of<'a>(&'a self, features: &'a [Feature]) -> impl Iterator<Item = &'a str> {
        self.sections
            .iter()
            .filter(|(feature, _)| features.contains(feature))
            .map(|(_, text)| text.as_str())
    }
}

/// The package that a requirement line pins. A marker is all that may follow:
/// a name that begins with a dash, or a word behind the version, would be an
/// option to pip.
fn package(line: &str) -> Option<LockedPackage> {
    let (requirement, marker) = line.split_once(';').unwrap_or((line, ""));
    let (name, version) = requirement.split_once("==")?;
    let (name, version) = (name.trim(), version.trim_end_matches([' ', '\\']));
    let plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+!".contains(&byte))
    };
    (plain(name) && plain(version) && !marker.contains("--")).then(|| LockedPackage {
        name: normalize_name(name),
        version: version.to_owned(),
    })
}

/// Whether a line is a hash, and nothing else.
fn is_hash(line: &str) -> bool {
    let option = line.trim_end_matches([' ', '\\']).trim_start();
    option
        .strip_prefix("--hash=sha256:")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// A distribution's name as it is compared (PEP 503).
pub fn normalize_name(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "\
# ktx-lock: 1
# feature: core
msgpack==1.1.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
# feature: local-embeddings
numpy==2.2.6 ; python_full_version < '3.11' \\
    --hash=sha256:cc
numpy==2.4.6 ; python_full_version >= '3.11' \\
    --hash=sha256:dd
";

    #[test]
    fn gives_each_feature_its_own_requirements() {
        let lock = Lock::parse(LOCK.as_bytes()).unwrap();
        insta::assert_snapshot!(lock.requirements(&[Feature::Core]), @r"
        msgpack==1.1.2 \
            --hash=sha256:aa \
            --hash=sha256:bb
        ");
        let versions: Vec<_> = lock
            .packages(&Feature::ALL)
            .into_iter()
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        assert_eq!(versions, ["msgpack 1.1.2", "numpy 2.2.6", "numpy 2.4.6"]);
    }

    #[test]
    fn refuses_what_is_not_pinned_and_hashed() {
        let parse = |body: &str| {
            Lock::parse(format!("# ktx-lock: 1\n# feature: core\n{body}").as_bytes()).unwrap_err()
        };
        assert_eq!(Lock::parse(b"msgpack==1"), Err(LockSyntaxError::Header));
        assert_eq!(
            parse("msgpack==1"),
            LockSyntaxError::Requirement { line: 3 }
        );
        assert_eq!(
            parse("msgpack>=1 \\\n    --hash=sha256:aa"),
            LockSyntaxError::Requirement { line: 3 }
        );
        for option in [
            "--index-url http://elsewhere",
            "-sgpack==1 \\\n    --hash=sha256:aa",
            "msgpack==1 --index-url=http://elsewhere \\\n    --hash=sha256:aa",
            "msgpack==1 ; '' --global-option=x \\\n    --hash=sha256:aa",
        ] {
            assert_eq!(parse(option), LockSyntaxError::Requirement { line: 3 });
        }
        assert_eq!(
            parse("msgpack==1 \\\n    --hash=sha256:aa --index-url=http://elsewhere"),
            LockSyntaxError::Requirement { line: 4 }
        );
        assert_eq!(
            parse("# feature: core"),
            LockSyntaxError::Section {
                line: 3,
                section: "core".to_owned()
            }
        );
    }
}
