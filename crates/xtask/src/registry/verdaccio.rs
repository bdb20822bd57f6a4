//! Verdaccio, a real registry on the loopback interface: what is released locally, and by tests, is
//! published to it. Packages that are not ours come through it from the machine's own registry.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::{Value, json};

use super::{Own, Registry, machine_url, npm_setting};
use crate::npm_tools::NpmTools;
use crate::policy::Policy;
use crate::repo;

/// Which one is installed, and how it is started.
const SOURCE_DIR: &str = "release/verdaccio";
const VERDACCIO: NpmTools = NpmTools {
    name: "verdaccio",
    shown: "Verdaccio",
    pins_dir: SOURCE_DIR,
    arguments: &["ci"],
};
const START: &str = "serve.cjs";
/// It takes one or two seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_mins(1);
const END_WITHIN: Duration = Duration::from_secs(5);

/// A running registry; it ends with this value, and with this process however that ends.
pub(crate) struct Verdaccio {
    child: Child,
    /// Verdaccio runs for as long as this is open.
    lifeline: Option<ChildStdin>,
    registry: Registry,
    _lock: fs::File,
}

impl Verdaccio {
    /// Starts the registry that remembers what earlier local releases published.
    pub(crate) fn start(policy: &Policy) -> Result<Self> {
        Self::start_in(policy, &Self::kept_dir())
    }

    /// Starts it without what they published.
    pub(crate) fn start_fresh(policy: &Policy) -> Result<Self> {
        let (dir, lock) = claim(&Self::kept_dir())?;
        let packages_dir = dir.join("storage");
        if packages_dir.exists() {
            fs::remove_dir_all(packages_dir)?;
        }
        Self::run(policy, &dir, lock)
    }

    fn kept_dir() -> PathBuf {
        repo::output_dir().join("registry")
    }

    /// Starts a registry that keeps everything that it has below `dir`.
    pub(crate) fn start_in(policy: &Policy, dir: &Path) -> Result<Self> {
        let (dir, lock) = claim(dir)?;
        Self::run(policy, &dir, lock)
    }

    fn run(policy: &Policy, dir: &Path, lock: fs::File) -> Result<Self> {
        let program_dir = VERDACCIO.ensure()?;
        let errors_path = dir.join("errors");
        let (errors, _) = fs::File::create(&errors_path)?.into_parts();
        let mut command = Command::new("node");
        command
            .arg(repo::path(SOURCE_DIR).join(START))
            .current_dir(&program_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        if let Some(certificates) = certificates()? {
            command.env("NODE_EXTRA_CA_CERTS", certificates);
        }
        let mut child = command.spawn().context("`node` does not start")?;
        let lifeline = child.stdin.take();
        let answers = child.stdout.take();
        let mut verdaccio = Self {
            child,
            lifeline,
            registry: Registry::at("", &policy.scope).with_own(Own {
                user_config_path: dir.join("npmrc"),
                cache_dir: dir.join("cache"),
            }),
            _lock: lock,
        };
        let settings = json!({
            "dir": dir,
            "own": format!("{}/*", policy.scope),
            "uplink": machine_url()?,
        });
        if let Some(lifeline) = &mut verdaccio.lifeline {
            writeln!(lifeline, "{settings}")?;
        }
        let answers = answers.context("Verdaccio's output is a pipe")?;
        match first_line(answers).recv_timeout(READY_WITHIN) {
            Ok(line) => {
                let ready: Value = serde_json::from_str(&line)
                    .with_context(|| format!("Verdaccio said `{}`", line.trim_end()))?;
                let url = ready["url"]
                    .as_str()
                    .context("Verdaccio says where it is")?;
                url.clone_into(&mut verdaccio.registry.url);
                Ok(verdaccio)
            }
            Err(error) => {
                let what = match error {
                    RecvTimeoutError::Timeout => {
                        format!("was not ready within {} s", READY_WITHIN.as_secs())
                    }
                    RecvTimeoutError::Disconnected => "ended before it was ready".to_owned(),
                };
                let said = fs::read_to_string(&errors_path)?;
                bail!("Verdaccio {what}; it said `{}`", said.trim_end())
            }
        }
    }

    /// The registry, with npm logged in.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}

impl Drop for Verdaccio {
    fn drop(&mut self) {
        self.lifeline = None;
        let begun = Instant::now();
        while begun.elapsed() < END_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of a pipe, which is read to its end so that no writer waits for a reader.
fn first_line(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = String::new();
        if lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            // Nobody waits any more when it came too late.
            let _ = sender.send(line);
        }
        let _ = std::io::copy(&mut lines, &mut std::io::sink());
    });
    receiver
}

/// What npm trusts beyond Node's own certificates.
fn certificates() -> Result<Option<String>> {
    match std::env::var_os("NODE_EXTRA_CA_CERTS") {
        Some(_) => Ok(None),
        None => npm_setting("cafile"),
    }
}

/// Makes a folder that only its owner may enter, and locks it.
fn claim(dir: &Path) -> Result<(PathBuf, fs::File)> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    let dir = fs::canonicalize(dir)?;
    let path = dir.join("lock");
    let lock = fs::File::create(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok((dir, lock)),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "Another run is using the local registry; when it has ended, run this again (it holds `{}`)",
            repo::shown(&path)
        ),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("`{}` cannot be locked", repo::shown(&path)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdaccio;
    use crate::policy::Policy;

    #[test]
    fn answers_knows_its_user_and_ends_with_its_value() {
        let policy = Policy::load().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let verdaccio = Verdaccio::start_in(&policy, dir.path()).unwrap();
        let registry = verdaccio.registry().clone();
        assert!(registry.is_loopback());
        registry.ping().unwrap();
        assert_eq!(registry.whoami().unwrap(), "publisher");
        let name = policy.root_package();
        assert_eq!(registry.version(&name, "0.1.0").unwrap(), None);
        assert_eq!(registry.tags(&name).unwrap(), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs_err::metadata(dir.path().join("npmrc")).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        drop(verdaccio);
        assert!(registry.ping().is_err());
    }
}
