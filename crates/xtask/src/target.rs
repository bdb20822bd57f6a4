//! What an artifact is built for and by what: zig, which links for every platform and against the
//! oldest libc that the policy names, or this machine's own linker, where that knows it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::policy::{Platform, Policy};
use crate::{repo, rust_std};

/// A platform and how it is built for on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) platform: Platform,
    /// As rustc names it.
    pub(crate) triple: String,
    pub(crate) how: How,
    /// Whether this machine can run what is built.
    pub(crate) is_host: bool,
}

/// What compiles and links.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// This machine's linker, which knows the oldest release that it links for.
    Native,
    /// zig links; the standard library is one that rustup installed.
    Zig,
    /// zig links; the standard library is compiled too.
    ZigAndStd,
}

impl Target {
    /// This machine's platform.
    pub(crate) fn host(policy: &Policy) -> Result<Self> {
        Self::of(policy, policy.host()?)
    }

    /// A platform of the policy.
    pub(crate) fn of(policy: &Policy, platform: &Platform) -> Result<Self> {
        let is_host = policy.host().is_ok_and(|host| host.id == platform.id);
        let triple = match &platform.cross_target {
            Some(triple) if !is_host => triple,
            _ => &platform.rust_target,
        };
        let how = if is_host && platform.os != "linux" {
            How::Native
        } else if rust_std::is_installed(triple)? {
            How::Zig
        } else {
            How::ZigAndStd
        };
        Ok(Self {
            platform: platform.clone(),
            triple: triple.clone(),
            how,
            is_host,
        })
    }

    /// The target with this platform id or Rust target.
    pub(crate) fn named(policy: &Policy, name: &str) -> Result<Self> {
        let found = policy.platforms.iter().find(|platform| {
            [&platform.id, &platform.rust_target].contains(&&name.to_owned())
                || platform.cross_target.as_deref() == Some(name)
        });
        let Some(platform) = found else {
            let ids: Vec<&str> = policy
                .platforms
                .iter()
                .map(|platform| platform.id.as_str())
                .collect();
            bail!(
                "no such platform in `release/policy.json`, which has {}",
                ids.join(", ")
            );
        };
        Self::of(policy, platform)
    }

    /// The target that a command line names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::named(&Policy::load()?, name)
    }

    /// The target that was asked for, else this machine's own.
    pub(crate) fn or_host(asked: Option<&Self>) -> Result<Self> {
        match asked {
            Some(target) => Ok(target.clone()),
            None => Self::host(&Policy::load()?),
        }
    }

    /// Where built things go.
    pub(crate) fn dir(&self) -> PathBuf {
        repo::output_dir().join("artifacts").join(&self.platform.id)
    }

    /// The platform as people are told of it.
    pub(crate) fn shown(&self) -> String {
        match self.how {
            How::Native => self.platform.id.clone(),
            How::Zig => format!("{} with zig", self.platform.id),
            How::ZigAndStd => format!("{} with zig, the standard library too", self.platform.id),
        }
    }

    /// What decides how it is built for the target, besides what is built.
    pub(crate) fn inputs(&self) -> &'static [&'static str] {
        match self.how {
            How::Native => &["crates/xtask/src/target.rs"],
            How::Zig | How::ZigAndStd => &[
                "crates/xtask/src/target.rs",
                "crates/xtask/src/zig.rs",
                "crates/xtask/src/link.rs",
                "crates/xtask/src/unwinder.rs",
                "crates/xtask/src/apple.rs",
                "release/python-cross.txt",
            ],
        }
    }

    pub(crate) fn is_musl(&self) -> bool {
        self.platform.libc.as_deref() == Some("musl")
    }

    pub(crate) fn is_glibc(&self) -> bool {
        self.platform.libc.as_deref() == Some("glibc")
    }

    /// A Linux target as zig names it.
    pub(crate) fn zig_name(&self) -> Option<String> {
        let (processor, system) = self.triple.split_once("-unknown-")?;
        let name = format!("{processor}-{system}");
        Some(match &self.platform.glibc {
            Some(version) => format!("{name}.{version}"),
            None => name,
        })
    }

    /// The target as cargo-zigbuild takes it: with the oldest glibc to link for.
    pub(crate) fn with_glibc(&self) -> String {
        match &self.platform.glibc {
            Some(version) => format!("{}.{version}", self.triple),
            None => self.triple.clone(),
        }
    }

    /// The wheel's platform tag, where it is not maturin that knows it best.
    pub(crate) fn wheel_tag(&self) -> Result<Option<String>> {
        if self.how == How::Native || self.platform.os != "linux" {
            return Ok(None);
        }
        if self.is_musl() {
            // The first release with 64-bit times, and the one that Rust itself is made for.
            return Ok(Some("musllinux_1_2".to_owned()));
        }
        let version =
            self.platform.glibc.as_ref().with_context(|| {
                format!("`platforms` entry `{}` needs a `glibc`", self.platform.id)
            })?;
        Ok(Some(format!("manylinux_{}", version.replace('.', "_"))))
    }

    /// The file name of a Rust dynamic library, built from the crate `name`.
    pub(crate) fn library(&self, name: &str) -> String {
        let stem = name.replace('-', "_");
        match self.platform.os.as_str() {
            "win32" => format!("{stem}.dll"),
            "darwin" => format!("lib{stem}.dylib"),
            _ => format!("lib{stem}.so"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{How, Target};
    use crate::policy::Policy;

    #[test]
    fn finds_a_target_by_each_of_its_names() {
        let policy = Policy::load().unwrap();
        for platform in &policy.platforms {
            let names = [
                Some(&platform.id),
                Some(&platform.rust_target),
                platform.cross_target.as_ref(),
            ];
            for name in names.into_iter().flatten() {
                let target = Target::named(&policy, name).unwrap();
                assert_eq!(target.platform.id, platform.id);
            }
        }
    }

    #[test]
    fn lists_the_platforms_when_it_knows_no_such_name() {
        let error = Target::parse("linux-mips").unwrap_err().to_string();
        assert!(error.contains("linux-x64-gnu"), "{error}");
        assert!(error.contains("win32-x64-msvc"), "{error}");
    }

    #[test]
    fn links_linux_against_the_oldest_libc() {
        let policy = Policy::load().unwrap();
        let linux = Target::named(&policy, "linux-x64-gnu").unwrap();
        assert_ne!(linux.how, How::Native);
        assert_eq!(linux.with_glibc(), "x86_64-unknown-linux-gnu.2.28");
        assert_eq!(linux.zig_name().unwrap(), "x86_64-linux-gnu.2.28");
        assert_eq!(linux.wheel_tag().unwrap().unwrap(), "manylinux_2_28");
    }
}
