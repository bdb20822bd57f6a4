//! A user's project: an empty home, no uv on PATH, the packed packages installed with npm.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xshell::{Cmd, Shell, cmd};

use crate::{tools, uv};

/// The project; it is deleted with this value.
pub(crate) struct Project {
    root: TempDir,
    path: OsString,
}

impl Project {
    /// Makes the project and installs the tarballs in it.
    pub(crate) fn with_packages(tarballs: &[PathBuf]) -> Result<Self> {
        let project = Self {
            root: tempfile::Builder::new().prefix("ktx-project-").tempdir()?,
            path: path_without_uv()?,
        };
        fs_err::create_dir(project.home_dir())?;
        fs_err::create_dir(project.dir())?;
        fs_err::write(
            project.dir().join("package.json"),
            "{ \"private\": true }\n",
        )?;
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
        self.root.path().join("project")
    }

    /// The home directory of the project's user.
    pub(crate) fn home_dir(&self) -> PathBuf {
        self.root.path().join("home")
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
        let rest = std::env::split_paths(&self.path);
        Ok(std::env::join_paths(
            std::iter::once(dir.to_owned()).chain(rest),
        )?)
    }

    /// Gives a command the environment of the project's user.
    pub(crate) fn clean<'sh>(&self, command: Cmd<'sh>) -> Cmd<'sh> {
        let home = self.home_dir();
        let command = command
            .env("PATH", &self.path)
            .env("HOME", &home)
            .env("USERPROFILE", &home)
            .env("LOCALAPPDATA", home.join("AppData"));
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .filter(|name| {
                name.starts_with("KTX_") || name.starts_with("XDG_") || name.starts_with("npm_")
            })
            .fold(command, Cmd::env_remove)
    }
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
