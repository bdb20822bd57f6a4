//! A user's project: an empty home, no uv on PATH, the packed packages installed with npm.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xshell::{Cmd, Shell, cmd};

use crate::{tools, uv};

/// Somebody who has nothing yet: an empty home, and no uv on PATH. All of it is deleted with this
/// value.
pub(crate) struct User {
    root: TempDir,
    path: OsString,
}

impl User {
    /// Makes the home in a temporary directory whose name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let user = Self {
            root: tempfile::Builder::new().prefix(prefix).tempdir()?,
            path: path_without_uv()?,
        };
        fs_err::create_dir(user.home_dir())?;
        Ok(user)
    }

    /// The directory that holds everything of the user's.
    pub(crate) fn root_dir(&self) -> &Path {
        self.root.path()
    }

    /// The home directory.
    pub(crate) fn home_dir(&self) -> PathBuf {
        self.root_dir().join("home")
    }

    /// Makes a directory with a `package.json` beside the home.
    pub(crate) fn make_project(&self, name: &str) -> Result<PathBuf> {
        let dir = self.root_dir().join(name);
        fs_err::create_dir(&dir)?;
        fs_err::write(dir.join("package.json"), "{ \"private\": true }\n")?;
        Ok(dir)
    }

    /// What the user's commands see: this process's variables without what would configure ktx or
    /// a package manager, and the user's own directories.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let home = self.home_dir();
        let own: [(&str, OsString); 4] = [
            ("PATH", self.path.clone()),
            ("HOME", home.clone().into()),
            ("USERPROFILE", home.clone().into()),
            ("LOCALAPPDATA", home.join("AppData").into()),
        ];
        let names = own.each_ref().map(|(name, _)| *name);
        std::env::vars_os()
            .filter(move |(name, _)| {
                let name = name.to_string_lossy().to_ascii_uppercase();
                !configures(&name) && !names.contains(&name.as_str())
            })
            .chain(own.map(|(name, value)| (name.into(), value)))
    }

    /// Deletes all that is the user's.
    pub(crate) fn delete(self) -> Result<()> {
        let dir = self.root_dir().to_owned();
        self.root
            .close()
            .with_context(|| format!("Cannot delete `{}`", dir.display()))
    }
}

/// A project of such a user's.
pub(crate) struct Project {
    user: User,
    dir: PathBuf,
}

impl Project {
    /// Makes the project and installs the tarballs in it.
    pub(crate) fn with_packages(tarballs: &[PathBuf]) -> Result<Self> {
        let user = User::new("ktx-project-")?;
        let dir = user.make_project("project")?;
        let project = Self { user, dir };
        project.install(tarballs)?;
        Ok(project)
    }

    /// Installs tarballs, or packages of the registry, in the project.
    pub(crate) fn install(&self, packages: &[impl AsRef<OsStr>]) -> Result<()> {
        let sh = self.shell()?;
        let mut command = self
            .clean(tools::npm(&sh))
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .args(packages);
        // npm's own configuration and cache are the machine's: they say where packages come from.
        if let Some(home) = std::env::home_dir() {
            let cache = cmd!(sh, "npm config get cache")
                .env("HOME", &home)
                .quiet()
                .read()?;
            command = command
                .env("npm_config_userconfig", home.join(".npmrc"))
                .env("npm_config_cache", cache);
        }
        command.quiet().ignore_stdout().run()?;
        Ok(())
    }

    /// Where the packages are installed.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The home directory of the project's user.
    pub(crate) fn home_dir(&self) -> PathBuf {
        self.user.home_dir()
    }

    /// A shell in the project's directory.
    pub(crate) fn shell(&self) -> Result<Shell> {
        let sh = Shell::new()?;
        sh.change_dir(self.dir());
        Ok(sh)
    }

    /// A ktx command as a user types it.
    pub(crate) fn ktx<'sh>(&self, sh: &'sh Shell) -> Cmd<'sh> {
        let npx = if cfg!(windows) { "npx.cmd" } else { "npx" };
        self.clean(sh.cmd(npx)).args(["--no-install", "ktx"])
    }

    /// Ends every daemon that was started in the project.
    pub(crate) fn stop_daemons(&self) -> Result<()> {
        let sh = self.shell()?;
        uv::read(self.ktx(&sh).args(["runtime", "stop", "--all"]))?;
        Ok(())
    }

    /// The PATH of the project's user, with another directory before the rest.
    pub(crate) fn path_after(&self, dir: &Path) -> Result<OsString> {
        let rest = std::env::split_paths(&self.user.path);
        Ok(std::env::join_paths(
            std::iter::once(dir.to_owned()).chain(rest),
        )?)
    }

    /// Gives a command the environment of the project's user.
    pub(crate) fn clean<'sh>(&self, command: Cmd<'sh>) -> Cmd<'sh> {
        command.env_clear().envs(self.user.environment())
    }
}

/// Whether a variable, in capitals, tells ktx, Node or a package manager what to do.
fn configures(name: &str) -> bool {
    let starts = [
        "KTX_",
        "XDG_",
        "NPM_",
        "PNPM_",
        "YARN_",
        "BUN_",
        "COREPACK_",
    ];
    starts.iter().any(|start| name.starts_with(start))
        || ["NODE_OPTIONS", "NODE_PATH"].contains(&name)
}

/// PATH without the directories that hold a uv.
fn path_without_uv() -> Result<OsString> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let has_uv = |dir: &Path| {
        dir.join(format!("uv{}", std::env::consts::EXE_SUFFIX))
            .exists()
    };
    let kept: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|dir| !has_uv(dir))
        .collect();
    for program in ["node", "npm"] {
        let is_there = kept.iter().any(|dir| {
            dir.join(program).exists()
                || dir.join(format!("{program}.exe")).exists()
                || dir.join(format!("{program}.cmd")).exists()
        });
        ensure!(
            is_there,
            "`{program}` is only in directories that also hold `uv`"
        );
    }
    Ok(std::env::join_paths(kept)?)
}
