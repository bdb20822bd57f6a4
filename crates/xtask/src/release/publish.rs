//! Publishing that may be begun again after any failure: what the registry has with the same bytes
//! is left as it is, other bytes under a published version stop everything.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::npm::Packed;
use crate::policy::Access;
use crate::registry::{NpmError, Published, Registry};
use crate::say;

/// The longest pause between two looks at the registry.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where and how packages are published.
pub(crate) struct Publisher<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) tag: &'a str,
    pub(crate) access: Access,
    pub(crate) has_provenance: bool,
}

/// How a package came to be on the registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// npm said so.
    Published,
    /// An earlier run published it.
    AlreadyThere,
    /// npm said otherwise, and yet it is there.
    ThereAfterAnError,
}

impl Outcome {
    /// As people read it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::AlreadyThere => "was there",
            Self::ThereAfterAnError => "published, after an error",
        }
    }
}

impl Publisher<'_> {
    /// Looks at every package before any is published, and says which are there: none may be there
    /// with other bytes.
    pub(crate) fn compare(&self, packages: &[Packed]) -> Result<Vec<Option<Published>>> {
        let mut found = Vec::new();
        let mut others = Vec::new();
        for package in packages {
            let published = self.look(package)?;
            others.extend(
                published
                    .as_ref()
                    .filter(|published| published.integrity != package.integrity)
                    .map(|published| other_bytes(package, published)),
            );
            found.push(published);
        }
        if !others.is_empty() {
            bail!("{}; {HOW_TO_GO_ON}", others.join("; "));
        }
        Ok(found)
    }

    /// Publishes a package, unless it was `found`.
    pub(crate) fn publish(&self, package: &Packed, found: Option<&Published>) -> Result<Outcome> {
        let outcome = self.ensure_there(package, found)?;
        say::detail(&format!(
            "{}@{} {}",
            package.name,
            package.version,
            outcome.words()
        ));
        Ok(outcome)
    }

    fn ensure_there(&self, package: &Packed, found: Option<&Published>) -> Result<Outcome> {
        if let Some(published) = found {
            self.ensure_tag(package, published)?;
            return Ok(Outcome::AlreadyThere);
        }
        let patience = self.registry.patience();
        let mut pause = patience.pause;
        let mut attempt = 1;
        loop {
            let Err(error) =
                self.registry
                    .publish(&package.path, self.tag, self.access, self.has_provenance)
            else {
                return Ok(Outcome::Published);
            };
            say::detail(&format!("{error}; looking whether it is there"));
            if let Some(published) = self.look_for_same(package)? {
                self.ensure_tag(package, &published)?;
                return Ok(Outcome::ThereAfterAnError);
            }
            if attempt == patience.attempts || !error.may_pass() {
                bail!(
                    "`{}@{}` was not published: {error}{}",
                    package.name,
                    package.version,
                    hint(&error)
                );
            }
            thread::sleep(pause);
            pause *= 2;
            attempt += 1;
        }
    }

    /// Waits until a package can be seen on the registry as it is here.
    pub(crate) fn confirm(&self, package: &Packed, within: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut pause = self.registry.patience().pause;
        while self.look_for_same(package)?.is_none() {
            if begun.elapsed() >= within {
                bail!(
                    "`{}@{}` cannot be seen on `{}` {} s after it was published",
                    package.name,
                    package.version,
                    self.registry.shown(),
                    within.as_secs()
                );
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// The tag names this version, also where an earlier run published it under another.
    fn ensure_tag(&self, package: &Packed, published: &Published) -> Result<()> {
        if published.tags.get(self.tag) != Some(&package.version) {
            self.registry
                .set_tag(&package.name, &package.version, self.tag)?;
        }
        Ok(())
    }

    fn look_for_same(&self, package: &Packed) -> Result<Option<Published>> {
        match self.look(package)? {
            Some(published) if published.integrity != package.integrity => {
                bail!("{}; {HOW_TO_GO_ON}", other_bytes(package, &published))
            }
            found => Ok(found),
        }
    }

    fn look(&self, package: &Packed) -> Result<Option<Published>, NpmError> {
        self.registry.version(&package.name, &package.version)
    }
}

const HOW_TO_GO_ON: &str = "a published version never changes: give what is here another one with \
    `cargo xtask version X` (or begin a local registry again with `--local --fresh`)";

fn other_bytes(package: &Packed, published: &Published) -> String {
    format!(
        "`{}@{}` is published with other bytes: there `{}`, here `{}`",
        package.name, package.version, published.integrity, package.integrity
    )
}

fn hint(error: &NpmError) -> &'static str {
    if error.wants_one_time_password() {
        "; set `npm_config_otp` to the one-time password, or use a token that needs none"
    } else if error.is_refused() {
        "; see with `npm whoami` and `npm access list packages` who may publish it"
    } else {
        ""
    }
}
