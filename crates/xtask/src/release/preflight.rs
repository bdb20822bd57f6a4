//! Everything that can be known to be wrong before anything is built or published.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::thread;

use anyhow::{Result, bail};
use semver::Version;

use super::Request;
use super::checkout::{Checkout, address};
use crate::policy::{self, Policy};
use crate::registry::{NpmError, Registry};
use crate::tidy::Files;
use crate::{repo, tools, version};

/// The most changed files that a message names.
const NAMED_CHANGES: usize = 5;
/// The first npm that publishes because the registry trusts a workflow.
const TRUSTED_NPM: Version = Version::new(11, 5, 1);

/// Something that stops a release, and how to go on.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    what: String,
    /// Begins with a verb.
    fix: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n      {}", self.what, self.fix)
    }
}

/// Fails with every problem, if there is any.
pub(crate) fn require_none(problems: &[Problem]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = problems.iter().map(Problem::to_string).collect();
    bail!(
        "Nothing was published; first:\n    - {}",
        listed.join("\n    - ")
    )
}

/// What the checkout and the request say, without asking anyone.
pub(crate) fn of_checkout(
    request: &Request,
    policy: &Policy,
    checkout: &Checkout,
) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    problems.extend(changes(checkout));
    problems.extend(drift(policy)?);
    problems.extend(origin(checkout, &policy.repository, request.is_local));
    problems.extend(repositories(policy)?);
    if let Err(error) = policy.check_tag(&request.tag, &request.version) {
        problems.push(Problem::new(
            format!("{error:#}"),
            "Take another `--tag`, or the version that it is for: `cargo xtask version X`",
        ));
    }
    problems.extend(request.contents.problems(policy, request.is_host_only));
    Ok(problems)
}

fn changes(checkout: &Checkout) -> Option<Problem> {
    let count = checkout.changes.len();
    if count == 0 {
        return None;
    }
    let mut named: Vec<String> = checkout
        .changes
        .iter()
        .take(NAMED_CHANGES)
        .map(|name| format!("`{name}`"))
        .collect();
    if count > NAMED_CHANGES {
        named.push(format!("{} more", count - NAMED_CHANGES));
    }
    Some(Problem::new(
        format!("Changes are not committed: {}", named.join(", ")),
        "Commit them, or put them aside with `git stash --include-untracked`",
    ))
}

/// One version and one name stand everywhere, and the rest of what repeats the policy.
fn drift(policy: &Policy) -> Result<Vec<Problem>> {
    let mut found = version::problems(repo::root())?;
    found.extend(policy::problems(policy, &Files::list()?)?);
    Ok(found
        .into_iter()
        .map(|problem| {
            Problem::new(
                problem,
                "Commit what brings it in line; `cargo xtask tidy` looks again",
            )
        })
        .collect())
}

fn package() -> Result<serde_json::Value> {
    let text = fs_err::read_to_string(repo::path("npm/ktx/package.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn origin(checkout: &Checkout, expected: &str, is_local: bool) -> Option<Problem> {
    let fix =
        format!("Release from a clone of it, or name it: `git remote set-url origin {expected}`");
    match checkout.origin.as_deref().map(address) {
        Some(Some(actual)) if Some(&actual) == address(expected).as_ref() => None,
        Some(Some(actual)) => Some(Problem::new(
            format!("The checkout is of `{actual}`; the policy's `repository` is `{expected}`"),
            fix,
        )),
        // What stays on this machine may come from a folder on it.
        Some(None) | None if is_local => None,
        Some(None) => Some(Problem::new(
            format!("The checkout is of a folder; the policy's `repository` is `{expected}`"),
            fix,
        )),
        None => Some(Problem::new(
            "The checkout has no `origin`",
            format!("Name it: `git remote add origin {expected}`"),
        )),
    }
}

/// The packages say that they come from the policy's repository.
fn repositories(policy: &Policy) -> Result<Vec<Problem>> {
    let package = package()?;
    let stated = [
        ("Cargo.toml", env!("CARGO_PKG_REPOSITORY")),
        (
            "npm/ktx/package.json",
            package["repository"]["url"].as_str().unwrap_or_default(),
        ),
    ];
    let expected = &policy.repository;
    Ok(stated
        .into_iter()
        .filter(|(_, url)| address(url) != address(expected))
        .map(|(file, url)| {
            Problem::new(
                format!(
                    "`{file}` says that the repository is `{url}`; the policy's is `{expected}`"
                ),
                "Write the same in both",
            )
        })
        .collect())
}

/// What only the registry knows.
pub(crate) fn of_registry(
    request: &Request,
    registry: &Registry,
    names: &[String],
) -> Vec<Problem> {
    let url = registry.shown();
    let mut problems = Vec::new();
    if request.is_host_only {
        problems.extend(host_only_problem(registry));
    }
    if let Err(error) = registry.ping() {
        problems.push(Problem::new(
            format!("The registry `{url}` does not answer: {error}"),
            "See which one is asked with `npm config get registry`, and try `npm ping`",
        ));
        return problems;
    }
    if request.has_trusted_publishing {
        problems.extend(npm_problem());
    } else if let Err(error) = registry.whoami() {
        problems.push(login_problem(&url, &error));
    }
    let answers: Vec<_> = thread::scope(|scope| {
        let asked: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || registry.tags(name)))
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().expect("asking does not panic"))
            .collect()
    });
    for (name, answer) in names.iter().zip(answers) {
        problems.extend(name_problem(request, name, answer));
    }
    problems
}

fn host_only_problem(registry: &Registry) -> Option<Problem> {
    (!registry.is_loopback()).then(|| {
        Problem::new(
            format!(
                "`--host-only` leaves platforms out, which `{}` must not do without",
                registry.shown()
            ),
            "Add `--local`, or give every platform's artifacts with `--artifacts DIR`",
        )
    })
}

/// Fails where everybody would miss the platforms that are left out.
pub(crate) fn require_loopback(registry: &Registry) -> Result<()> {
    match host_only_problem(registry) {
        Some(problem) => bail!("{problem}"),
        None => Ok(()),
    }
}

/// Older ones do not ask the workflow's host for leave.
fn npm_problem() -> Option<Problem> {
    let version = tools::shell().and_then(|sh| {
        Ok(tools::npm(&sh)
            .arg("--version")
            .quiet()
            .ignore_stderr()
            .read()?)
    });
    let version = version.unwrap_or_default();
    let is_trusted = Version::parse(&version).is_ok_and(|version| version >= TRUSTED_NPM);
    (!is_trusted).then(|| {
        Problem::new(
            format!("npm {version} cannot publish where nobody is logged in"),
            format!("Install npm {TRUSTED_NPM} or newer: `npm install --global npm@11`"),
        )
    })
}

fn login_problem(url: &str, error: &NpmError) -> Problem {
    if error.is_refused() {
        Problem::new(
            format!("Nobody is logged in at `{url}`"),
            format!("Log in: `npm login --registry={url}`"),
        )
    } else {
        Problem::new(
            format!("`{url}` does not say who is logged in: {error}"),
            format!("Try `npm whoami --registry={url}`"),
        )
    }
}

fn name_problem(
    request: &Request,
    name: &str,
    answer: Result<Option<BTreeMap<String, String>>, NpmError>,
) -> Option<Problem> {
    let Request { tag, version, .. } = request;
    match answer {
        Ok(Some(tags)) => {
            let current = tags.get(tag)?;
            let is_newer = Version::parse(current).ok()? > Version::parse(version).ok()?;
            is_newer.then(|| {
                Problem::new(
                    format!("`{tag}` of `{name}` is {current}, which is newer than {version}"),
                    "Release a newer version: `cargo xtask version X`",
                )
            })
        }
        Ok(None) if request.has_trusted_publishing => Some(Problem::new(
            format!("`{name}` is not on the registry, and only what is there can trust a workflow"),
            "Publish its first version from a machine on which you are logged in",
        )),
        Ok(None) => None,
        Err(error) => Some(Problem::new(
            format!("`{name}` cannot be read: {error}"),
            format!("Ask for access to it, then try `npm dist-tag ls {name}`"),
        )),
    }
}

/// Fails if building changed the checkout: what is published would not be what is committed.
pub(crate) fn require_unchanged(before: &Checkout, dir: &Path) -> Result<()> {
    let after = Checkout::read(dir)?;
    if after.revision != before.revision {
        bail!(
            "`HEAD` moved from {} to {} while this ran; run it again",
            before.revision,
            after.revision
        );
    }
    match changes(&after) {
        None => Ok(()),
        Some(problem) => bail!("Building changed the checkout. {problem}"),
    }
}
