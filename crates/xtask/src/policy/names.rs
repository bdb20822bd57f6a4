//! The package's name in text: what the checkout's files hold, and what is published instead.
//!
//! The files hold one name, which `npm/ktx/package.json` records. The policy says which one it is to
//! be: whatever is built or packed has that one at once, and the files get it from
//! `cargo xtask policy`.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Policy;
use crate::repo;
use crate::tidy::Files;

/// The manifest that records which name the files hold.
pub(super) const RECORD: &str = "npm/ktx/package.json";
/// What keeps the name: the policy itself, what was published under it, and what has none.
const KEPT: [&str; 3] = [super::PATH, "CHANGELOG.md", "Cargo.lock"];

/// A scope, with the `@`, and the name of the root package in it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Name {
    scope: String,
    package: String,
}

/// A name that is to take the place of another.
#[derive(Debug)]
pub(crate) struct Names {
    old: Name,
    new: Name,
}

impl Names {
    /// The name that the files hold, and the policy's.
    pub(crate) fn of(policy: &Policy) -> Result<Self> {
        let text = fs_err::read_to_string(repo::path(RECORD))?;
        let manifest: Value =
            serde_json::from_str(&text).with_context(|| format!("`{RECORD}` is not valid"))?;
        let recorded = manifest["name"]
            .as_str()
            .and_then(|name| name.split_once('/'))
            .with_context(|| format!("`{RECORD}` has no `name` with a scope"))?;
        Ok(Self {
            old: Name::new(recorded.0, recorded.1),
            new: Name::new(&policy.scope, &policy.package),
        })
    }

    /// The text with the policy's name in it.
    pub(crate) fn in_text(&self, text: &str) -> String {
        if self.old == self.new {
            return text.to_owned();
        }
        let mut renamed = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        while let Some(start) = rest.find('@') {
            renamed.push_str(&rest[..start]);
            before = rest[..start].chars().next_back().or(before);
            rest = &rest[start..];
            let mention = (!before.is_some_and(char::is_alphanumeric))
                .then(|| self.mention(rest))
                .flatten();
            let (length, replacement) = mention.unwrap_or((1, "@".to_owned()));
            renamed.push_str(&replacement);
            before = rest[..length].chars().next_back();
            rest = &rest[length..];
        }
        renamed.push_str(rest);
        renamed
    }

    /// The length of the old name at the start of the text, and what to write for it.
    fn mention(&self, text: &str) -> Option<(usize, String)> {
        let old = self.old.at_start(text)?;
        // Where one name begins like the other, the longer one is meant.
        match self.new.at_start(text) {
            Some(new) if new.length() > old.length() => None,
            _ => Some((old.length(), old.replaced_by(&self.new))),
        }
    }
}

/// A name as a text holds it.
struct Mention {
    scope_length: usize,
    /// What stands before the package, and the package's length; none for the scope alone.
    package: Option<(&'static str, usize)>,
}

impl Mention {
    fn length(&self) -> usize {
        let package = self
            .package
            .map_or(0, |(slash, length)| slash.len() + length);
        self.scope_length + package
    }

    fn replaced_by(&self, name: &Name) -> String {
        match self.package {
            Some((slash, _)) => format!("{}{slash}{}", name.scope, name.package),
            None => name.scope.clone(),
        }
    }
}

impl Name {
    fn new(scope: &str, package: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            package: package.to_owned(),
        }
    }

    fn at_start(&self, text: &str) -> Option<Mention> {
        let after_scope = text.strip_prefix(self.scope.as_str())?;
        let scope_length = self.scope.len();
        // The second is how a regular expression or a JavaScript string may spell it.
        for slash in ["/", "\\/"] {
            let Some(rest) = after_scope.strip_prefix(slash) else {
                continue;
            };
            if rest.starts_with('*') {
                return Some(Mention {
                    scope_length,
                    package: None,
                });
            }
            let end = rest.strip_prefix(self.package.as_str())?;
            // A platform's package goes on with `-`.
            let is_whole = !end.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            return is_whole.then_some(Mention {
                scope_length,
                package: Some((slash, self.package.len())),
            });
        }
        let mut next = after_scope.chars();
        let is_whole = match next.next() {
            Some('.') => !next.next().is_some_and(char::is_alphanumeric),
            Some(other) => !(other.is_alphanumeric() || "-_/\\".contains(other)),
            None => true,
        };
        is_whole.then_some(Mention {
            scope_length,
            package: None,
        })
    }
}

/// Whether a file's text follows the policy; Rust reads the policy instead.
fn follows(name: &str) -> bool {
    !KEPT.contains(&name) && name.strip_suffix(".rs").is_none()
}

/// The files that hold another name than the policy's, with what they are to hold.
///
/// The one that records the name is the last, so that whoever writes them can be interrupted.
pub(super) fn outdated(policy: &Policy, files: &Files) -> Result<Vec<(String, String)>> {
    let names = Names::of(policy)?;
    let mut outdated = Vec::new();
    for name in files.names().filter(|name| follows(name)) {
        let Ok(text) = String::from_utf8(fs_err::read(repo::path(name))?) else {
            continue;
        };
        let renamed = names.in_text(&text);
        if renamed != text {
            outdated.push((name.to_owned(), renamed));
        }
    }
    outdated.sort_by_key(|(name, _)| name == RECORD);
    Ok(outdated)
}

/// Rust that names the package would not follow the policy; tests may, where any name would do.
pub(super) fn fixed(policy: &Policy, files: &Files) -> Result<Vec<String>> {
    let package = policy.root_package();
    let mut problems = Vec::new();
    let sources = files.with_extension(&["rs"]).map(|(name, _)| name);
    for name in sources.filter(|name| !name.ends_with("tests.rs") && !name.contains("/tests/")) {
        let text = fs_err::read_to_string(repo::path(name))?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if code.contains(&package) {
            problems.push(format!(
                "{name}: holds `{package}`, which is the policy's to say"
            ));
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::{Name, Names, RECORD, follows, outdated};
    use crate::policy::Policy;
    use crate::repo;
    use crate::tidy::Files;

    fn renamed(old: [&str; 2], new: [&str; 2], text: &str) -> String {
        let name = |[scope, package]: [&str; 2]| Name::new(scope, package);
        Names {
            old: name(old),
            new: name(new),
        }
        .in_text(text)
    }

    #[test]
    fn no_file_is_left_with_the_name_that_the_policy_had() {
        let current = Policy::load().unwrap();
        let mut policy = Policy::load().unwrap();
        (policy.scope, policy.package) = ("@renamed".to_owned(), "tool".to_owned());
        let files = Files::list().unwrap();
        let outdated = outdated(&policy, &files).unwrap();
        let holds = |text: &str| text.contains(&current.root_package());
        for (name, text) in &outdated {
            assert!(!holds(text), "{name}");
        }
        for name in files.names().filter(|name| follows(name)) {
            let text = String::from_utf8(fs_err::read(repo::path(name)).unwrap());
            let is_listed = outdated.iter().any(|(listed, _)| listed == name);
            assert!(is_listed || !text.is_ok_and(|text| holds(&text)), "{name}");
        }
        // Whoever is interrupted before it is written begins again.
        assert_eq!(outdated.last().unwrap().0, RECORD);
    }

    #[test]
    fn replaces_the_name_wherever_it_stands() {
        for (text, expected) in [
            ("npm install @one/py", "npm install @two/tool"),
            ("@one/py", "@two/tool"),
            ("'@one/py';@one/py@1.2.3", "'@two/tool';@two/tool@1.2.3"),
            ("node_modules/@one/py/dist", "node_modules/@two/tool/dist"),
            ("@one/py-linux-x64-gnu", "@two/tool-linux-x64-gnu"),
            ("/^@one\\/py-/", "/^@two\\/tool-/"),
            ("@one:registry=x", "@two:registry=x"),
            ("`@one`, @one. '@one/*'", "`@two`, @two. '@two/*'"),
        ] {
            assert_eq!(renamed(["@one", "py"], ["@two", "tool"], text), expected);
        }
    }

    #[test]
    fn leaves_other_names_alone() {
        for text in [
            "@one/python",
            "@one/py_x",
            "@one/other",
            "@one-more/py",
            "@oneself/py",
            "@one.org",
            "somebody@one",
            "@ one/py @@two/tool",
        ] {
            assert_eq!(renamed(["@one", "py"], ["@two", "tool"], text), text);
        }
    }

    #[test]
    fn changes_nothing_when_it_is_done_again() {
        let (old, new) = (["@one", "py"], ["@one", "py-tools"]);
        let text = "@one/py @one/py-linux-x64-gnu @one/py-tools-linux-x64-gnu";
        let expected = "@one/py-tools @one/py-tools-linux-x64-gnu @one/py-tools-linux-x64-gnu";
        let once = renamed(old, new, text);
        assert_eq!(once, expected);
        assert_eq!(renamed(old, new, &once), expected);
        assert_eq!(
            renamed(new, old, &once),
            "@one/py @one/py-linux-x64-gnu @one/py-linux-x64-gnu"
        );
    }
}
