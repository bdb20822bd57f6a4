//! The package managers that a machine need not have, at pinned versions below `target/tools`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::machine::Machine;
use super::managers::Manager;
use crate::npm_tools::NpmTools;

const MANAGERS: NpmTools = NpmTools {
    name: "package-managers",
    shown: "pnpm, yarn and bun",
    pins_dir: "release/package-managers",
    // Two of them call their program `yarn`, so none is linked. Not every registry mirrors the
    // optional packages of other platforms, without which `npm ci` refuses the lock.
    arguments: &["install", "--no-save", "--no-bin-links"],
};

/// What the pins name, installed.
#[derive(Default)]
pub(super) struct Tools {
    modules_dir: PathBuf,
    bun: Option<PathBuf>,
}

impl Tools {
    /// Installs what the pins name, or takes what was installed for them; nothing where npm alone
    /// is wanted.
    pub(super) fn ensure(managers: &[Manager]) -> Result<Self> {
        if managers.iter().all(|manager| *manager == Manager::Npm) {
            return Ok(Self::default());
        }
        let modules_dir = MANAGERS.ensure()?.join("node_modules");
        let bun = bun_in(&modules_dir.join("@oven"));
        Ok(Self { modules_dir, bun })
    }

    /// Why a package manager does not run on this machine, if it does not.
    pub(super) async fn reason_against(
        &self,
        machine: &Machine,
        manager: Manager,
    ) -> Option<String> {
        if manager != Manager::Bun {
            return None;
        }
        let Some(path) = &self.bun else {
            return Some("npm has no bun for this machine".to_owned());
        };
        let mut command = machine.command(&path.to_string_lossy(), &machine.home_dir());
        command.arguments.push("--version".to_owned());
        let error = machine.try_run(&command).await.err()?;
        Some(format!("bun does not run on this machine: {error}"))
    }

    /// The program of a package manager, with the arguments that make it that.
    pub(super) fn program(&self, manager: Manager) -> Vec<String> {
        let script = match manager {
            Manager::Npm => return vec![npm_program("npm")],
            Manager::Bun => {
                let bun = self.bun.as_ref().map(|path| path.to_string_lossy());
                return vec![bun.unwrap_or("bun".into()).into_owned()];
            }
            Manager::Pnpm => "pnpm/bin/pnpm.cjs",
            Manager::YarnClassic => "yarn/bin/yarn.js",
            Manager::YarnPnp => "@yarnpkg/cli-dist/bin/yarn.js",
        };
        let path = self.modules_dir.join(script);
        vec!["node".to_owned(), path.to_string_lossy().into_owned()]
    }
}

/// npm or npx, which are scripts on Windows.
pub(super) fn npm_program(name: &str) -> String {
    let suffix = if cfg!(windows) { ".cmd" } else { "" };
    format!("{name}{suffix}")
}

/// The program of bun: npm installs it in a package that is made for the machine.
fn bun_in(scope_dir: &Path) -> Option<PathBuf> {
    fs_err::read_dir(scope_dir)
        .ok()?
        .filter_map(|entry| {
            let dir = entry.ok()?.path().join("bin");
            Some(dir.join(format!("bun{}", std::env::consts::EXE_SUFFIX)))
        })
        .find(|path| path.exists())
}
