//! zig as compiler of C and as linker, for any platform from any machine.

use std::path::PathBuf;

use anyhow::Result;
use xshell::{Cmd, Shell};

use crate::build::Kind;
use crate::link::Linking;
use crate::target::{How, Target};
use crate::tools::{self, PythonTools};
use crate::{apple, rust_std, unwinder};

/// The parts of the standard library that a program with threads and panics is made of.
const STD: &str = "-Zbuild-std=std,panic_unwind";

/// zig, set up for one target.
pub(crate) struct Zig {
    tools: PythonTools,
    /// The standard library's sources, where it is compiled too.
    std_dir: Option<PathBuf>,
    /// What stands in for Apple's SDK.
    sdk_dir: Option<PathBuf>,
}

impl Zig {
    /// zig for a target, unless this machine's own compiler builds for it.
    pub(crate) fn for_target(target: &Target) -> Result<Option<Self>> {
        if target.how == How::Native {
            return Ok(None);
        }
        let std_dir = match target.how {
            How::ZigAndStd => Some(rust_std::sources(&target.triple)?),
            How::Zig | How::Native => None,
        };
        let sdk_dir = match target.platform.os.as_str() {
            "darwin" => Some(apple::sdk(target)?),
            _ => None,
        };
        Ok(Some(Self {
            tools: PythonTools::cross()?,
            std_dir,
            sdk_dir,
        }))
    }

    /// Compiles with cargo, for the target.
    pub(crate) fn cargo<'sh>(&self, sh: &'sh Shell, target: &Target) -> Cmd<'sh> {
        self.tools
            .command(sh, "cargo-zigbuild")
            .args(["zigbuild", "--target", &target.with_glibc()])
            .args(self.std_argument())
    }

    /// Lets `napi build` compile for the target with zig.
    pub(crate) fn under_napi<'sh>(&self, command: Cmd<'sh>, target: &Target) -> Result<Cmd<'sh>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs =
            std::iter::once(self.tools.bin_dir().to_owned()).chain(std::env::split_paths(&path));
        Ok(command
            .args(["--cross-compile", "--target", &target.with_glibc()])
            .env("PATH", std::env::join_paths(dirs)?))
    }

    /// What compiles the standard library too, where none is installed.
    pub(crate) fn std_argument(&self) -> Option<&'static str> {
        self.std_dir.is_some().then_some(STD)
    }

    /// What a command needs that links with zig.
    pub(crate) fn environment<'sh>(
        &self,
        command: Cmd<'sh>,
        target: &Target,
        kind: Kind,
    ) -> Result<Cmd<'sh>> {
        let cache_dir = tools::zig_cache_dir();
        let mut command = command
            .env("CARGO_ZIGBUILD_PYTHON_PATH", self.tools.program("python"))
            .env("CARGO_ZIGBUILD_CACHE_DIR", &cache_dir)
            .env("ZIG_GLOBAL_CACHE_DIR", &cache_dir)
            .env("ZIG_LOCAL_CACHE_DIR", &cache_dir)
            .env_remove("SDKROOT");
        if let Some(dir) = &self.std_dir {
            // Cargo's own name for the place of these sources. The other way, a sysroot with
            // links to the compiler's, would need a wrapper around rustc, which looks for its
            // sysroot where its libraries really are.
            command = command
                .env("__CARGO_TESTS_ONLY_SRC_ROOT", dir)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(dir) = &self.sdk_dir {
            command = command.env("SDKROOT", dir);
        }
        if target.platform.os == "win32" && kind == Kind::Library {
            command = command.env("LIBNODE_PATH", no_node()?);
        }
        let Some(zig_name) = target.zig_name() else {
            return Ok(command);
        };
        let unwinder = if target.is_glibc() && kind == Kind::Library {
            Some(unwinder::stub(target, &zig_name, &self.tools)?)
        } else {
            None
        };
        let linking = Linking {
            triple: &target.triple,
            zig_name: &zig_name,
            unwinder,
        };
        linking.environment(command, &self.tools)
    }

    /// Directories whose paths must not be in what is built, and what stands in their place.
    pub(crate) fn remapped(&self) -> Vec<(PathBuf, &'static str)> {
        self.std_dir
            .iter()
            .map(|dir| (dir.clone(), "/rust/library"))
            .collect()
    }
}

/// An empty library in place of Node's. `napi` asks for one where the linker is not Microsoft's,
/// the linker for one of another name; the addon looks up all that it needs of Node when it is
/// loaded.
fn no_node() -> Result<PathBuf> {
    let dir = tools::dir().join("no-node");
    fs_err::create_dir_all(&dir)?;
    for name in ["libnode.dll", "libnode.a"] {
        fs_err::write(dir.join(name), "!<arch>\n")?;
    }
    Ok(dir)
}
