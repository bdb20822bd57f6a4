//! `CHANGELOG.md`, in the form of Keep a Changelog: a section for each version, newest first, below
//! one for what is not released.

use anyhow::{Result, bail, ensure};

use crate::{repo, version};

pub(crate) const PATH: &str = "CHANGELOG.md";
const UNRELEASED: &str = "[Unreleased]";
/// The kinds of change that Keep a Changelog names.
const KINDS: [&str; 6] = [
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
];

/// What changed in a version; what is not released where the version has no section.
pub(crate) fn section(version: &str) -> Result<String> {
    Changelog::parse(&fs_err::read_to_string(repo::path(PATH))?).section(version)
}

/// The changelog's text, cut at the headings of the sections.
#[derive(Debug)]
pub(crate) struct Changelog {
    head: String,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    /// What follows `## `.
    title: String,
    /// With the empty lines around it, and for the last one with the links below it.
    body: String,
}

impl Section {
    /// The version, or `Unreleased`.
    fn name(&self) -> &str {
        let name = self.title.split(" - ").next().unwrap_or_default();
        name.trim_matches(['[', ']'])
    }

    fn is_unreleased(&self) -> bool {
        self.title == UNRELEASED
    }

    /// What it says, without links that only other text needs.
    fn text(&self) -> String {
        let lines: Vec<&str> = self.body.lines().filter(|line| !is_link(line)).collect();
        lines.join("\n").trim().to_owned()
    }
}

impl Changelog {
    /// Cuts a text; what it lacks is [`Self::problems`]'s to say.
    pub(crate) fn parse(text: &str) -> Self {
        let mut changelog = Self {
            head: String::new(),
            sections: Vec::new(),
        };
        for line in text.split_inclusive('\n') {
            if let Some(title) = line.strip_prefix("## ") {
                changelog.sections.push(Section {
                    title: title.trim().to_owned(),
                    body: String::new(),
                });
            } else {
                let part = changelog
                    .sections
                    .last_mut()
                    .map(|section| &mut section.body);
                part.unwrap_or(&mut changelog.head).push_str(line);
            }
        }
        changelog
    }

    /// What is wrong with its form, or that the version is not in it.
    pub(crate) fn problems(&self, version: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.head.starts_with("# Changelog\n") {
            problems.push("does not begin with `# Changelog`".to_owned());
        }
        let mut newer = None;
        for (index, section) in self.sections.iter().enumerate() {
            if section.is_unreleased() {
                if index != 0 {
                    problems.push(format!("`{UNRELEASED}` is not the first section"));
                }
            } else {
                match release(&section.title) {
                    Ok(release) => {
                        if newer.is_some_and(|newer| release >= newer) {
                            problems.push(format!(
                                "`{}` does not stand below a newer version",
                                section.title
                            ));
                        }
                        newer = Some(release);
                    }
                    Err(error) => problems.push(format!("`{}`: {error}", section.title)),
                }
                if section.text().is_empty() {
                    problems.push(format!("`{}` says nothing", section.title));
                }
            }
            let kinds = section
                .body
                .lines()
                .filter_map(|line| line.strip_prefix("### "));
            for kind in kinds.filter(|kind| !KINDS.contains(kind)) {
                problems.push(format!(
                    "`{}` has the heading `{kind}`; expected one of {}",
                    section.title,
                    KINDS.join(", ")
                ));
            }
        }
        if self.section(version).is_err() {
            problems.push(format!(
                "has neither `{UNRELEASED}` nor a section `[{version}]`"
            ));
        }
        problems
    }

    /// What changed in a version; what is not released where the version has no section.
    pub(crate) fn section(&self, version: &str) -> Result<String> {
        let named = self
            .sections
            .iter()
            .find(|section| section.name() == version);
        let unreleased = || self.sections.iter().find(|section| section.is_unreleased());
        match named.or_else(unreleased) {
            Some(section) => Ok(section.text()),
            None => bail!("`{PATH}` has neither `{UNRELEASED}` nor a section `[{version}]`"),
        }
    }

    /// The text in which what was not released is a new version's, as of a day such as `2026-01-31`.
    pub(crate) fn with_release(&self, previous: &str, version: &str, day: &str) -> Result<String> {
        let Some((first, older)) = self
            .sections
            .split_first()
            .filter(|(first, _)| first.is_unreleased())
        else {
            bail!("`{PATH}` does not begin with a section `{UNRELEASED}`");
        };
        ensure!(
            older.iter().all(|section| section.name() != version),
            "`{PATH}` has a section `[{version}]` already"
        );
        let said = match first.text() {
            text if text.is_empty() => format!("Nothing is noted since {previous}."),
            text => text,
        };
        let mut text = format!(
            "{}## {UNRELEASED}\n\n## [{version}] - {day}\n\n{said}\n",
            self.head
        );
        for section in older {
            for part in ["\n## ", &section.title, "\n\n", &section.text(), "\n"] {
                text.push_str(part);
            }
        }
        let links: Vec<&str> = self
            .sections
            .iter()
            .flat_map(|section| section.body.lines())
            .filter(|line| is_link(line))
            .collect();
        if !links.is_empty() {
            text.push('\n');
        }
        for link in links {
            text.push_str(&following(link, previous, version));
            text.push('\n');
        }
        Ok(text)
    }
}

/// Whether a line says where a name in brackets leads.
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// The link as it is after a release: what is not released is compared with the new version.
fn following(link: &str, previous: &str, version: &str) -> String {
    let compared = link
        .strip_prefix(UNRELEASED)
        .and_then(|rest| rest.strip_prefix(": "))
        .and_then(|address| address.strip_suffix("...HEAD"))
        .and_then(|address| Some((address, address.strip_suffix(previous)?)));
    match compared {
        Some((since, before)) => {
            let mark = before.rsplit('/').next().unwrap_or_default();
            format!(
                "{UNRELEASED}: {before}{version}...HEAD\n[{version}]: {since}...{mark}{version}"
            )
        }
        None => link.to_owned(),
    }
}

/// The version of a heading `[1.2.3] - 2026-01-31`.
fn release(title: &str) -> Result<semver::Version> {
    let Some((name, day)) = title.split_once(" - ") else {
        bail!("must look like `[1.2.3] - 2026-01-31`");
    };
    ensure!(
        humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).is_ok(),
        "`{day}` is not a day such as 2026-01-31"
    );
    let Some(version) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    else {
        bail!("the version must stand in brackets");
    };
    version::parse(version)
}

#[cfg(test)]
mod tests {
    use super::Changelog;

    const TEXT: &str = "# Changelog\n\nThe form.\n\n## [Unreleased]\n\n### Added\n\n- Tea.\n";

    fn release(text: &str, previous: &str, version: &str) -> String {
        Changelog::parse(text)
            .with_release(previous, version, "2026-01-31")
            .unwrap()
    }

    #[test]
    fn a_release_takes_what_was_not_released() {
        let first = release(TEXT, "0.1.0", "0.2.0-rc.1");
        assert_eq!(
            first,
            "# Changelog\n\nThe form.\n\n## [Unreleased]\n\n## [0.2.0-rc.1] - 2026-01-31\n\n### Added\n\n- Tea.\n"
        );
        let second = release(&first, "0.2.0-rc.1", "0.2.0");
        assert_eq!(
            second,
            "# Changelog\n\nThe form.\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-31\n\nNothing is noted since 0.2.0-rc.1.\n\
             \n## [0.2.0-rc.1] - 2026-01-31\n\n### Added\n\n- Tea.\n"
        );
        for text in [TEXT, &first, &second] {
            assert_eq!(
                Changelog::parse(text).problems("0.2.0"),
                Vec::<String>::new()
            );
        }
        let error = Changelog::parse(&second)
            .with_release("0.2.0", "0.2.0-rc.1", "2026-01-31")
            .unwrap_err();
        assert!(error.to_string().contains("already"), "{error}");
    }

    #[test]
    fn a_release_moves_the_links() {
        let text = format!(
            "{TEXT}\n## [0.1.0] - 2026-01-01\n\n- All.\n\n\
             [Unreleased]: https://example.com/compare/v0.1.0...HEAD\n[0.1.0]: https://example.com/v0.1.0\n"
        );
        let after = release(&text, "0.1.0", "0.2.0");
        assert!(
            after.ends_with(
                "- All.\n\n[Unreleased]: https://example.com/compare/v0.2.0...HEAD\n\
                 [0.2.0]: https://example.com/compare/v0.1.0...v0.2.0\n[0.1.0]: https://example.com/v0.1.0\n"
            ),
            "{after}"
        );
        assert_eq!(Changelog::parse(&after).section("0.1.0").unwrap(), "- All.");
    }

    #[test]
    fn a_version_without_a_section_is_what_is_not_released() {
        let changelog = Changelog::parse(TEXT);
        assert_eq!(changelog.section("9.9.9").unwrap(), "### Added\n\n- Tea.");
        let released = Changelog::parse(&TEXT.replace("[Unreleased]", "[1.0.0] - 2026-01-31"));
        assert!(released.section("9.9.9").is_err());
        assert_eq!(released.section("1.0.0").unwrap(), "### Added\n\n- Tea.");
    }

    #[test]
    fn says_what_is_wrong_with_the_form() {
        let section = |title: &str| format!("{TEXT}\n## {title}\n\n- Old.\n");
        for (text, expected) in [
            (TEXT.replacen("# ", "", 1), "does not begin with"),
            (TEXT.replace("Added", "New"), "has the heading `New`"),
            (TEXT.replace("[Unreleased]", "Unreleased"), "must look like"),
            (section("[0.1.0]"), "must look like"),
            (section("0.1.0 - 2026-01-31"), "in brackets"),
            (section("[0.1] - 2026-01-31"), "not a semantic version"),
            (section("[0.1.0] - 31.1.2026"), "`31.1.2026` is not a day"),
            (section("[Unreleased]"), "is not the first section"),
            (
                section("[0.1.0] - 2026-01-31\n\n- All.\n\n## [0.2.0] - 2026-01-31"),
                "does not stand below a newer version",
            ),
            (
                section("[0.2.0] - 2026-01-31\n\n## [0.1.0] - 2026-01-31"),
                "`[0.2.0] - 2026-01-31` says nothing",
            ),
            ("# Changelog\n".to_owned(), "has neither"),
        ] {
            let problems = Changelog::parse(&text).problems("0.3.0");
            assert!(
                problems.iter().any(|problem| problem.contains(expected)),
                "{expected}: {problems:?}"
            );
        }
    }
}
