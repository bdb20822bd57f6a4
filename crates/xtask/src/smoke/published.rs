//! What is on the registry, looked at as a stranger would, and waited for while it is not there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ktx_os::command::{Command, CommandError};
use serde_json::Value;

use super::journal::Seen;
use super::machine::{self, Machine};
use super::{Request, managers};

/// How often a version that is not there yet is looked for.
const PAUSE: Duration = Duration::from_secs(2);

/// One version of a package.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// As npm states it: `sha512-` and base64.
    pub(super) integrity: String,
}

/// The packages that this machine gets.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) root: Package,
    pub(super) platform: Package,
}

impl Published {
    pub(super) fn packages(&self) -> [&Package; 2] {
        [&self.root, &self.platform]
    }
}

impl Seen for Published {
    fn seen(&self) -> String {
        format!("{} is {}", self.root.name, self.root.integrity)
    }
}

/// What the registry says of a version.
enum Answer {
    There {
        integrity: String,
        tagged: Option<String>,
    },
    NotThere,
}

/// Waits for the version, its tag, and the package of this machine's platform.
pub(super) async fn wait(machine: &Machine, request: &Request<'_>) -> Result<Published> {
    let platform = request.policy.platform_package(request.policy.host()?);
    let deadline = Instant::now() + Duration::from_secs(request.policy.smoke.availability_seconds);
    Ok(Published {
        root: wait_for(machine, request, request.package, deadline).await?,
        platform: wait_for(machine, request, &platform, deadline).await?,
    })
}

/// Whether the registry answers those who have no npm configuration.
pub(super) async fn is_open(machine: &Machine, request: &Request<'_>) -> bool {
    look(machine, request, request.package).await.is_ok()
}

async fn wait_for(
    machine: &Machine,
    request: &Request<'_>,
    name: &str,
    deadline: Instant,
) -> Result<Package> {
    let version = request.version;
    // Only the package that is asked for has the tag that is asked for.
    let tag = request.tag.filter(|_| name == request.package);
    loop {
        let missing = match look(machine, request, name).await? {
            Answer::There { integrity, tagged } => match tag {
                Some(tag) if tagged.as_deref() != Some(version) => {
                    let names = tagged.map_or("nothing".to_owned(), |other| format!("`{other}`"));
                    format!("The tag `{tag}` of `{name}` names {names}, not `{version}`,")
                }
                _ => {
                    return Ok(Package {
                        name: name.to_owned(),
                        integrity,
                    });
                }
            },
            Answer::NotThere => format!("`{name}@{version}` is not there"),
        };
        if Instant::now() >= deadline {
            bail!(
                "{missing} on {} after {} s; if it was published, run `{}` later",
                request.registry.url(),
                request.policy.smoke.availability_seconds,
                request.again(),
            );
        }
        machine.pause(PAUSE).await?;
    }
}

async fn look(machine: &Machine, request: &Request<'_>, name: &str) -> Result<Answer> {
    let spec = format!("{name}@{}", request.version);
    let mut command = managers::npm(machine, "npm", &machine.home_dir(), request);
    command.arguments.extend(
        ["view", &spec, "version", "dist.integrity", "dist-tags"]
            .into_iter()
            .chain(["--json", "--prefer-online"])
            .map(str::to_owned),
    );
    let stdout = match machine.try_run(&command).await {
        Ok(output) => output.stdout,
        Err(error) if is_absence(&error) => return Ok(Answer::NotThere),
        Err(error) => return Err(machine::explained(&command, error)),
    };
    // Some versions of npm print nothing where there is no such version.
    if stdout.trim().is_empty() {
        return Ok(Answer::NotThere);
    }
    let answer: Value = parse(&command, &stdout)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Answer::There {
        integrity: text(&answer["dist.integrity"])
            .with_context(|| format!("The registry states no integrity for `{spec}`"))?,
        tagged: request.tag.and_then(|tag| text(&answer["dist-tags"][tag])),
    })
}

/// Whether npm says that the registry has no such version.
fn is_absence(error: &CommandError) -> bool {
    error.output().is_some_and(|output| {
        serde_json::from_str::<Value>(&output.stdout)
            .is_ok_and(|answer| answer["error"]["code"] == "E404")
    })
}

fn parse(command: &Command, stdout: &str) -> Result<Value> {
    serde_json::from_str(stdout)
        .with_context(|| format!("`{command}` printed no JSON: `{}`", stdout.trim()))
}

/// Fails unless a lock file holds the integrity of every package that was installed.
pub(super) fn check_lock(path: &Path, published: &Published) -> Result<()> {
    let text = fs_err::read_to_string(path)?;
    for package in published.packages() {
        if !text.contains(&package.integrity) {
            bail!(
                "`{}` was installed as something else than what is published, whose integrity is `{}`\n{}",
                package.name,
                package.integrity,
                text.lines()
                    .filter(|line| line.contains("sha"))
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
    }
    Ok(())
}
