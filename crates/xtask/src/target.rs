//! What an artifact is built for and by what: this machine's compiler as it is, or zig, which
//! links for every platform and against the oldest libc that the policy names.

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
}

/// What compiles and links.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// This machine's compiler, against this machine's libc.
    Native,
    /// zig links; the standard library is one that rustup installed.
    Zig,
    /// zig links; the standard library is compiled too.
    ZigAndStd,
}

impl Target {
    /// This machine's platform, for what stays on this machine.
    pub(crate) fn native(policy: &Policy) -> Result<Self> {
        let platform = policy.host()?.clone();
        Ok(Self {
            triple: platform.rust_target.clone(),
            platform,
            how: How::Native,
        })
    }

    /// A platform, for what other machines run.
    pub(crate) fn release(policy: &Policy, platform: &Platform) -> Result<Self> {
        let is_host = policy.host().is_ok_and(|host| host.id == platform.id);
        // Other systems' own linkers already know the oldest release that they link for.
        if is_host && platform.os != "linux" {
            return Self::native(policy);
        }
        let triple = match &platform.cross_target {
            Some(triple) if !is_host => triple,
            _ => &platform.rust_target,
        };
        Ok(Self {
            platform: platform.clone(),
            triple: triple.clone(),
            how: if rust_std::is_installed(triple)? {
                How::Zig
            } else {
                How::ZigAndStd
            },
        })
    }

    /// The target with this platform id or Rust target, for what other machines run.
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
        Self::release(policy, platform)
    }

    /// The target that a command line names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::named(&Policy::load()?, name)
    }

    /// The target that was asked for, else this machine's own.
    pub(crate) fn or_native(asked: Option<&Self>) -> Result<Self> {
        match asked {
            Some(target) => Ok(target.clone()),
            None => Self::native(&Policy::load()?),
        }
    }

    /// Where built things go: what stays here is kept apart from what other machines run.
    pub(crate) fn dir(&self) -> PathBuf {
        let dir = repo::output_dir().join(match self.how {
            How::Native => "native",
            How::Zig | How::ZigAndStd => "artifacts",
        });
        dir.join(&self.platform.id)
    }

    pub(crate) fn is_native(&self) -> bool {
        self.how == How::Native
    }

    /// The platform as people are told of it.
    pub(crate) fn shown(&self) -> String {
        match self.how {
            How::Native => "this machine".to_owned(),
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

    /// What the name of a file that belongs to this target carries.
    pub(crate) fn key(&self) -> String {
        match self.how {
            How::Native => "native".to_owned(),
            How::Zig | How::ZigAndStd => self.platform.id.clone(),
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
    fn keeps_what_stays_here_apart_from_what_others_run() {
        let policy = Policy::load().unwrap();
        let native = Target::native(&policy).unwrap();
        assert_eq!(native.how, How::Native);
        let linux = Target::named(&policy, "linux-x64-gnu").unwrap();
        assert_ne!(linux.how, How::Native);
        assert_ne!(linux.dir(), native.dir());
        assert_eq!(linux.with_glibc(), "x86_64-unknown-linux-gnu.2.28");
        assert_eq!(linux.zig_name().unwrap(), "x86_64-linux-gnu.2.28");
        assert_eq!(linux.wheel_tag().unwrap().unwrap(), "manylinux_2_28");
    }
}
