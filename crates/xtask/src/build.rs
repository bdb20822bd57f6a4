//! How artifacts are compiled: the same bytes on every machine and in every directory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use xshell::Cmd;

use crate::artifact::{cargo_home_dir, registry_dirs};
use crate::target::Target;
use crate::zig::Zig;
use crate::{addon, repo, rust_std};

/// The oldest time that a zip archive can state.
const ARCHIVE_TIME: &str = "315532800";

/// What is compiled, which decides how it is linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Loaded into a program that exists already.
    Library,
    /// A program of its own.
    Program,
}

/// The compiler for one target.
pub(crate) struct Compiler<'t> {
    pub(crate) target: &'t Target,
    /// None where this machine's compiler needs no help.
    pub(crate) zig: Option<Zig>,
}

impl<'t> Compiler<'t> {
    /// Sees to it that all is there that compiling for the target needs.
    pub(crate) fn ensure(target: &'t Target) -> Result<Self> {
        let _alone = setting_up();
        Ok(Self {
            target,
            zig: Zig::for_target(target)?,
        })
    }

    /// Gives a command that compiles its flags; those of the machine do not count.
    ///
    /// `target_dir` is where it compiles: generated code carries its path.
    pub(crate) fn reproducible<'sh>(
        &self,
        command: Cmd<'sh>,
        kind: Kind,
        target_dir: &Path,
    ) -> Result<Cmd<'sh>> {
        // Later entries win, so the more special ones follow the more general ones.
        let mut remapped = vec![
            (cargo_home_dir()?, "/cargo"),
            (rust_std::sysroot()?, "/rust"),
            (repo::root().to_owned(), "/ktx"),
            (target_dir.to_owned(), "/target"),
        ];
        remapped.extend(registry_dirs()?.into_iter().map(|dir| (dir, "/cargo")));
        remapped.extend(self.zig.iter().flat_map(Zig::remapped));
        let mut flags: Vec<String> = remapped
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
            .collect();
        flags.extend(flags_for(self.target, kind));
        let mut command = command
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("SOURCE_DATE_EPOCH", ARCHIVE_TIME);
        if let Some(version) = &self.target.platform.macos {
            command = command.env("MACOSX_DEPLOYMENT_TARGET", version);
        }
        match &self.zig {
            Some(zig) => {
                let _alone = setting_up();
                zig.environment(command, self.target, kind)
            }
            None => Ok(command),
        }
    }
}

/// What builds share is installed and written by one of them at a time.
fn setting_up() -> MutexGuard<'static, ()> {
    static SETTING_UP: Mutex<()> = Mutex::new(());
    SETTING_UP.lock().expect("setting up does not panic")
}

fn flags_for(target: &Target, kind: Kind) -> Vec<String> {
    let mut flags = Vec::new();
    if target.is_musl() {
        // A library that a program loads must use that program's libc; a program with a libc
        // of its own runs everywhere.
        let sign = match kind {
            Kind::Library => '-',
            Kind::Program => '+',
        };
        flags.push(format!("-Ctarget-feature={sign}crt-static"));
        // zig brings what Rust's own copy of musl would.
        flags.push("-Clink-self-contained=no".to_owned());
    }
    if target.platform.os == "darwin" && kind == Kind::Library {
        // A library carries its own path, which by default is where it was linked.
        flags.push(format!(
            "-Clink-arg=-Wl,-install_name,@rpath/{}",
            addon::FILE_NAME
        ));
    }
    if target.triple.starts_with("x86_64-unknown-linux-") {
        // Tables for unwinding are much smaller where a register holds the frame;
        // other systems and processors keep one anyway.
        flags.push("-Cforce-frame-pointers=yes".to_owned());
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::{Kind, flags_for};
    use crate::policy::Policy;
    use crate::target::Target;

    #[test]
    fn gives_flags_for_the_target_and_not_for_this_machine() {
        let policy = Policy::load().unwrap();
        let flags =
            |id: &str, kind| flags_for(&Target::named(&policy, id).unwrap(), kind).join(" ");
        let musl = flags("linux-arm64-musl", Kind::Library);
        assert!(musl.contains("target-feature=-crt-static"), "{musl}");
        assert!(!musl.contains("frame-pointers"), "{musl}");
        assert!(flags("linux-x64-musl", Kind::Program).contains("+crt-static"));
        assert!(flags("linux-x64-gnu", Kind::Library).contains("frame-pointers"));
        assert!(flags("darwin-arm64", Kind::Library).ends_with("@rpath/ktx.node"));
        assert_eq!(flags("darwin-arm64", Kind::Program), "");
    }
}
