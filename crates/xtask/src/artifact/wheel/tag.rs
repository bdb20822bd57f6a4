//! Platform tags of wheels, which promise installers the oldest system that a wheel runs on.

use std::fmt;

use crate::artifact::binary::Version;
use crate::artifact::{Problems, Rules};
use crate::policy::Platform;

/// One platform tag, such as `manylinux_2_28_x86_64`.
pub(super) struct PlatformTag {
    text: String,
    /// The oldest version of the C library or the system, where the tag names one.
    floor: Option<Version>,
}

impl PlatformTag {
    /// Reads a tag, if it is one of the platform's.
    pub(super) fn parse(text: &str, platform: &Platform) -> Option<Self> {
        let is_arm = platform.cpu == "arm64";
        let processor = match (platform.os.as_str(), is_arm) {
            ("win32", false) => "amd64",
            ("linux", true) => "aarch64",
            (_, true) => "arm64",
            (_, false) => "x86_64",
        };
        let family = text.strip_suffix(processor)?.strip_suffix('_')?;
        let start = match (platform.os.as_str(), platform.libc.as_deref()) {
            ("win32", _) => "win",
            ("darwin", _) => "macosx",
            (_, Some("musl")) => "musllinux",
            _ => "manylinux",
        };
        let rest = if family == "linux" && start == "manylinux" {
            ""
        } else {
            family.strip_prefix(start)?
        };
        let floor = match rest {
            "" if family == "win" || family == "linux" => None,
            "2014" => Version::parse("2.17"),
            _ => Some(Version::parse(&rest.strip_prefix('_')?.replace('_', "."))?),
        };
        Some(Self {
            text: text.to_owned(),
            floor,
        })
    }

    /// What the tag promises must hold for the program, and be no less than the policy promises.
    pub(super) fn check_floor(
        &self,
        rules: Rules<'_>,
        program_floor: Option<&str>,
        problems: &mut Problems,
    ) {
        let Some(floor) = &self.floor else {
            let is_windows = rules.platform.os == "win32";
            problems.unless(
                is_windows,
                "tag",
                format!("`{self}` names no oldest system"),
            );
            return;
        };
        // musl has no versions that a program could ask for.
        if rules.platform.libc.as_deref() == Some("musl") {
            return;
        }
        let needed = program_floor
            .and_then(|floor| floor.rsplit(' ').next())
            .and_then(Version::parse);
        if let Some(needed) = needed {
            problems.unless(
                needed <= *floor,
                "tag",
                format!("`{self}` promises {floor}; the program needs {needed}"),
            );
        }
        let platform = rules.platform;
        let promised = platform.glibc.as_deref().or(platform.macos.as_deref());
        if let Some(promised) = promised.and_then(Version::parse) {
            problems.unless(
                *floor <= promised,
                "tag",
                format!("`{self}` asks for {floor}; the policy promises {promised}"),
            );
        }
    }
}

impl fmt::Display for PlatformTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
