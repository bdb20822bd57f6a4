//! A package registry, asked and changed through npm alone: whoever may publish is known to npm's
//! own configuration, which nothing here reads.

mod answer;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod verdaccio;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Cmd, Shell};

pub(crate) use answer::NpmError;

use crate::policy::{Access, Policy};
use crate::tools;

const PING_WITHIN: Duration = Duration::from_secs(20);

/// One registry, with the npm configuration that it is reached with.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    url: String,
    /// With the `@`; its packages come from here whatever else is configured for it.
    scope: String,
    /// npm's user configuration and cache; none means the machine's.
    own: Option<Own>,
    patience: Patience,
}

/// What npm keeps for one registry apart from the user's.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) user_config_path: PathBuf,
    pub(crate) cache_dir: PathBuf,
}

/// How long a registry is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How often something that may pass is tried.
    pub(crate) attempts: u32,
    /// The wait before the second attempt; each further one is twice as long.
    pub(crate) pause: Duration,
    /// The longest wait for one answer.
    pub(crate) answer_within: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_secs(2),
            answer_within: Duration::from_mins(2),
        }
    }
}

/// One version of a package, as a registry has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    /// As npm states it: `sha512-` and base64.
    pub(crate) integrity: String,
    /// All tags of the package, not only those of this version.
    pub(crate) tags: BTreeMap<String, String>,
}

impl Registry {
    /// The registry that the policy names, else the one that npm is configured with.
    pub(crate) fn of_machine(policy: &Policy) -> Result<Self> {
        let url = match &policy.registry {
            Some(url) => url.clone(),
            None => match npm_setting(&format!("{}:registry", policy.scope))? {
                Some(url) => url,
                None => machine_url()?,
            },
        };
        Ok(Self::at(&url, &policy.scope))
    }

    /// A registry at an address, reached with the machine's npm configuration.
    pub(crate) fn at(url: &str, scope: &str) -> Self {
        Self {
            url: url.to_owned(),
            scope: scope.to_owned(),
            own: None,
            patience: Patience::default(),
        }
    }

    /// The same with an npm configuration of its own.
    pub(crate) fn with_own(mut self, own: Own) -> Self {
        self.own = Some(own);
        self
    }

    /// What npm keeps for it alone.
    #[cfg(test)]
    pub(crate) fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// The same with other bounds.
    #[cfg(test)]
    pub(crate) fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, as people and reports are told.
    pub(crate) fn shown(&self) -> String {
        let Some((protocol, rest)) = self.url.split_once("://") else {
            return self.url.clone();
        };
        let host = rest.split('/').next().unwrap_or_default();
        let user = host.rfind('@').map_or(0, |at| at + 1);
        format!("{protocol}://{}", &rest[user..])
    }

    /// How long it is given.
    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether nobody beyond this machine reaches it.
    pub(crate) fn is_loopback(&self) -> bool {
        let shown = self.shown();
        let host = shown.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
            host.strip_prefix(name)
                .is_some_and(|port| port.is_empty() || port.starts_with(':'))
        })
    }

    /// What makes npm, and whatever reads npm's configuration, use this registry.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("npm_config_registry", OsString::from(&self.url))];
        if let Some(own) = &self.own {
            variables.extend([
                ("npm_config_userconfig", own.user_config_path.clone().into()),
                ("npm_config_cache", own.cache_dir.clone().into()),
            ]);
        }
        variables
    }

    /// Whether it answers, soon.
    pub(crate) fn ping(&self) -> Result<(), NpmError> {
        let mut hasty = self.clone();
        hasty.patience.answer_within = self.patience.answer_within.min(PING_WITHIN);
        hasty.ask(&["ping"]).map(drop)
    }

    /// The user that npm is logged in as.
    pub(crate) fn whoami(&self) -> Result<String, NpmError> {
        let answer = self.ask(&["whoami"])?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// A version of a package, or none where it is not there.
    pub(crate) fn version(&self, name: &str, version: &str) -> Result<Option<Published>, NpmError> {
        let Some(answer) = self.view(name, version, &["dist.integrity", "dist-tags"])? else {
            return Ok(None);
        };
        let integrity = answer["dist.integrity"].as_str().unwrap_or_default();
        Ok(Some(Published {
            integrity: integrity.to_owned(),
            tags: texts(&answer["dist-tags"]),
        }))
    }

    /// The packages that a version may bring along, or none where it is not there.
    pub(crate) fn optional_dependencies(
        &self,
        name: &str,
        version: &str,
    ) -> Result<Option<BTreeMap<String, String>>, NpmError> {
        let answer = self.view(name, version, &["optionalDependencies"])?;
        Ok(answer.map(|answer| texts(&answer["optionalDependencies"])))
    }

    /// A package's tags, or none where there is no such package.
    pub(crate) fn tags(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, NpmError> {
        let listed = absent_as_none(self.retried(|| self.run(&["dist-tag", "ls", name])))?;
        // npm prints these as text whatever is asked for.
        Ok(listed.map(|listed| {
            listed
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(tag, version)| (tag.to_owned(), version.to_owned()))
                .collect()
        }))
    }

    /// Publishes a tarball, once: whoever asked looks whether an error came too late to matter.
    pub(crate) fn publish(
        &self,
        tarball_path: &Path,
        tag: &str,
        access: Access,
        with_provenance: bool,
    ) -> Result<(), NpmError> {
        let tarball_path = tarball_path.to_string_lossy();
        let mut arguments = vec!["publish", &tarball_path, "--tag", tag];
        arguments.extend(["--access", access.name(), "--ignore-scripts"]);
        if with_provenance {
            arguments.push("--provenance");
        }
        self.run(&arguments).map(drop)
    }

    /// Lets a tag name a version.
    pub(crate) fn set_tag(&self, name: &str, version: &str, tag: &str) -> Result<(), NpmError> {
        let spec = format!("{name}@{version}");
        self.retried(|| self.run(&["dist-tag", "add", &spec, tag]))
            .map(drop)
    }

    /// The fields of a version and its number, so that npm always answers with an object.
    fn view(&self, name: &str, version: &str, fields: &[&str]) -> Result<Option<Value>, NpmError> {
        let spec = format!("{name}@{version}");
        let arguments: Vec<&str> = ["view", &spec, "name", "version"]
            .iter()
            .chain(fields)
            .copied()
            .collect();
        let answer = absent_as_none(self.retried(|| self.ask(&arguments)))?;
        Ok(answer.filter(|answer| answer["version"] == version))
    }

    /// Tries again what may pass.
    fn retried<T>(&self, work: impl Fn() -> Result<T, NpmError>) -> Result<T, NpmError> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match work() {
                Err(error) if error.may_pass() => std::thread::sleep(pause),
                outcome => return outcome,
            }
            pause *= 2;
        }
        work()
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value, NpmError> {
        answer::parse(&self.run(arguments)?)
    }

    fn run(&self, arguments: &[&str]) -> Result<String, NpmError> {
        let sh = tools::shell().map_err(NpmError::not_run)?;
        answer::read(self.npm(&sh).args(arguments).arg("--json"))
    }

    /// npm, asking this registry and nothing else for the scope's packages.
    fn npm<'sh>(&self, sh: &'sh Shell) -> Cmd<'sh> {
        let command = tools::npm(sh)
            .arg(format!("--registry={}", self.url))
            .arg(format!("--{}:registry={}", self.scope, self.url))
            .envs(self.environment())
            .env("npm_config_update_notifier", "false")
            // Whether a request may be repeated is decided here, by what the registry then has.
            .env("npm_config_fetch_retries", "0");
        let answer_within = self.patience.answer_within.as_millis().to_string();
        command.env("npm_config_fetch_timeout", answer_within)
    }
}

/// Where npm gets packages on this machine.
fn machine_url() -> Result<String> {
    npm_setting("registry")?.context("npm is configured with no registry")
}

/// A setting of the machine's npm, none where it has no value.
fn npm_setting(key: &str) -> Result<Option<String>> {
    let sh = tools::shell()?;
    let value = tools::npm(&sh)
        .args(["config", "get", key])
        // Asking leaves no trace.
        .env("npm_config_logs_max", "0")
        .env("npm_config_update_notifier", "false")
        .quiet()
        .ignore_stderr()
        .read()
        .with_context(|| format!("npm does not say what `{key}` is"))?;
    Ok(Some(value).filter(|value| !matches!(value.as_str(), "" | "undefined" | "null")))
}

fn absent_as_none<T>(answer: Result<T, NpmError>) -> Result<Option<T>, NpmError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

fn texts(object: &Value) -> BTreeMap<String, String> {
    let entries = object.as_object().into_iter().flatten();
    entries
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Registry;

    #[test]
    fn shows_no_credentials() {
        for (url, expected) in [
            ("https://a:b@example.com/npm/", "https://example.com/npm/"),
            ("https://example.com/@scope", "https://example.com/@scope"),
        ] {
            assert_eq!(Registry::at(url, "@scope").shown(), expected);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://localhost:4873/", true),
            ("http://127.0.0.1:4873", true),
            ("http://[::1]:4873/", true),
            ("http://a:b@localhost/", true),
            ("https://localhost@example.com/", false),
            ("https://registry.npmjs.org/", false),
            ("https://localhost.example.com/", false),
            ("https://example.com/localhost/", false),
            ("https://127.0.0.1.example.com:80/", false),
        ] {
            assert_eq!(Registry::at(url, "@scope").is_loopback(), expected, "{url}");
        }
    }
}
