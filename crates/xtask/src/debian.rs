//! Packages of Debian, fetched and unpacked below `target/tools`: nothing is installed, no right
//! beyond those of the user is needed, and apt verifies what it verifies anywhere.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::{say, tools, uv};

/// Where packages are looked for; the later one has newer compilers.
const SUITES: [&str; 2] = ["trixie", "trixie-backports"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// One package as apt names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    /// As Debian names it, such as `arm64`; none means that the content is the same for all.
    pub(crate) architecture: Option<&'a str>,
    /// What its version begins with, if not any will do.
    pub(crate) version: Option<&'a str>,
    /// What is kept of it; the empty path keeps all.
    pub(crate) content: &'a str,
}

/// Whether this machine has what fetches packages.
pub(crate) fn is_reachable() -> bool {
    let sh = Shell::new().expect("the working directory exists");
    cfg!(target_os = "linux") && Path::new(KEYRING).exists() && has_programs(&sh).is_ok()
}

fn has_programs(sh: &Shell) -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        ensure!(
            cmd!(sh, "{program} --version")
                .quiet()
                .ignore_stdout()
                .run()
                .is_ok(),
            "This machine has no `{program}`"
        );
    }
    Ok(())
}

impl Package<'_> {
    /// Gives where the package is unpacked, and fetches it the first time.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let parts = [Some(self.name), self.architecture, self.version];
        let name: Vec<&str> = parts.into_iter().flatten().collect();
        let dir = tools::dir().join(format!("debian-{}", name.join("-")));
        if dir.exists() {
            return Ok(dir);
        }
        self.fetch(&dir)
            .with_context(|| format!("Debian's package `{}` could not be had", name.join(" ")))?;
        Ok(dir)
    }

    fn fetch(&self, dir: &Path) -> Result<()> {
        let apt = Apt::ensure()?;
        let versions = apt.versions(&self.full_name())?;
        let version = self.select(&versions)?;
        say::step(&format!("Fetching Debian's `{}` {version}", self.name));
        let work_dir = tempfile::tempdir_in(tools::dir())?;
        apt.sh.change_dir(work_dir.path());
        let wanted = format!("{}={version}", self.full_name());
        uv::read(
            apt.command("apt-get")
                .args(["--quiet", "download", &wanted]),
        )?;
        let archive = fs_err::read_dir(work_dir.path())?
            .next()
            .context("apt-get downloaded nothing")??
            .path();
        let tree = work_dir.path().join("tree");
        uv::read(cmd!(apt.sh, "dpkg-deb --extract {archive} {tree}"))?;
        let content = tree.join(self.content);
        ensure!(content.exists(), "It holds no `{}`", self.content);
        let kept = work_dir.path().join("kept");
        let place = kept.join(self.content);
        fs_err::create_dir_all(place.parent().unwrap_or(&kept))?;
        fs_err::rename(content, place)?;
        // Last, so that what is there is whole.
        fs_err::rename(kept, dir)?;
        Ok(())
    }

    fn full_name(&self) -> String {
        match self.architecture {
            Some(architecture) => format!("{}:{architecture}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// The newest version that will do.
    fn select<'v>(&self, versions: &'v [String]) -> Result<&'v str> {
        let wanted = self.version.unwrap_or_default();
        let found = versions.iter().find(|version| {
            version
                .strip_prefix(wanted)
                .is_some_and(|rest| wanted.is_empty() || rest.starts_with(['+', '-', '~']))
        });
        match found {
            Some(version) => Ok(version),
            None => bail!(
                "{} have version {}, not {wanted}",
                SUITES.join(" and "),
                versions.join(", ")
            ),
        }
    }
}

/// apt with lists of its own, so that it reads and writes nothing of the machine's.
struct Apt {
    sh: Shell,
    dir: PathBuf,
}

impl Apt {
    fn ensure() -> Result<Self> {
        let sh = Shell::new()?;
        has_programs(&sh)?;
        ensure!(
            Path::new(KEYRING).exists(),
            "There is no `{KEYRING}`; install it with `apt-get install debian-archive-keyring`"
        );
        let apt = Self {
            sh,
            dir: tools::dir().join("apt"),
        };
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            fs_err::create_dir_all(apt.dir.join(dir))?;
        }
        fs_err::write(apt.dir.join("status"), "")?;
        let mirror = mirror(&apt.sh);
        let mut sources = String::new();
        for suite in SUITES {
            writeln!(sources, "deb [signed-by={KEYRING}] {mirror} {suite} main")?;
        }
        fs_err::write(apt.dir.join("sources.list"), sources)?;
        uv::read(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Cmd<'_> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        [
            format!("Dir::State={}", path("state")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            format!("Dir::Etc::SourceList={}", path("sources.list")),
            "Dir::Etc::SourceParts=-".to_owned(),
            "APT::Architectures::=amd64".to_owned(),
            "APT::Architectures::=arm64".to_owned(),
            // Root would otherwise become a user who may not read here.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ]
        .iter()
        .fold(self.sh.cmd(program), |command, option| {
            command.args(["-o", option])
        })
    }

    /// Newest first.
    fn versions(&self, name: &str) -> Result<Vec<String>> {
        let listed = uv::read(self.command("apt-cache").args(["madison", name]))?;
        let mut versions: Vec<String> = Vec::new();
        for version in listed.lines().filter_map(|line| line.split('|').nth(1)) {
            let version = version.trim().to_owned();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        ensure!(
            !versions.is_empty(),
            "{} have no `{name}`",
            SUITES.join(" and ")
        );
        Ok(versions)
    }
}

/// The mirror that the machine takes its own packages from, where it is a Debian.
fn mirror(sh: &Shell) -> String {
    let listed = cmd!(
        sh,
        "apt-get indextargets --format $(REPO_URI) 'Created-By: Packages' 'Origin: Debian'"
    )
    .quiet()
    .ignore_stderr()
    .read()
    .unwrap_or_default();
    let found = listed.lines().find(|line| !line.contains("security"));
    found.unwrap_or(MIRROR).to_owned()
}

#[cfg(test)]
mod tests {
    use super::Package;

    #[test]
    fn takes_the_newest_version_of_the_wanted_release_only() {
        let package = Package {
            name: "rust-src",
            architecture: None,
            version: Some("1.95.0"),
            content: "",
        };
        let versions =
            ["1.96.1+dfsg1-2", "1.95.0+dfsg1-2~bpo13+1", "1.95.0+dfsg1-1"].map(str::to_owned);
        assert_eq!(package.select(&versions).unwrap(), "1.95.0+dfsg1-2~bpo13+1");
        let error = package.select(&versions[..1]).unwrap_err().to_string();
        assert!(error.contains("1.96.1+dfsg1-2, not 1.95.0"), "{error}");
        let other = Package {
            version: Some("1.9"),
            ..package
        };
        assert!(other.select(&versions).is_err());
    }
}
