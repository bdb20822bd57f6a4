//! The tools that a fresh machine lacks, each at a pinned version, all below `target/tools`.
//!
//! A machine needs Rust, Node and Python; everything else comes from their package registries
//! as the machine has them configured.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Cmd, Shell, cmd};

use crate::{digest, repo, say, uv};

/// Cargo subcommands, with the version that is built when the machine has none that will do.
const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
    minimum: "0.18.0",
};
const CARGO_NEXTEST: CargoTool = CargoTool {
    name: "cargo-nextest",
    version: "0.9.143",
    minimum: "0.9.100",
};

struct CargoTool {
    name: &'static str,
    version: &'static str,
    minimum: &'static str,
}

/// A virtual environment that one of the files of pins describes.
pub(crate) struct PythonTools {
    bin_dir: PathBuf,
}

impl PythonTools {
    /// uv, maturin and ruff.
    pub(crate) fn ensure() -> Result<Self> {
        Self::of_pins("python", "python-tools.txt", "uv, maturin and ruff")
    }

    /// zig and cargo-zigbuild.
    pub(crate) fn cross() -> Result<Self> {
        Self::of_pins("cross", "python-cross.txt", "zig and cargo-zigbuild")
    }

    /// gRPC for Python, as a user's client has it.
    pub(crate) fn grpc() -> Result<Self> {
        Self::of_pins("grpc", "python-grpc.txt", "gRPC for Python")
    }

    /// The server that measurements compare with.
    pub(crate) fn bench() -> Result<Self> {
        Self::of_pins("bench", "python-bench.txt", "FastAPI")
    }

    /// Makes the environment, or takes the one that these pins already made.
    fn of_pins(name: &str, file: &str, content: &str) -> Result<Self> {
        let pins_path = repo::path("release").join(file);
        let pins = fs_err::read(&pins_path)
            .context("Pins of the Python tools; write them with `cargo xtask lock`")?;
        let key = &digest::of_reader(&pins[..])?.sha256[..16];
        let venv_dir = dir().join(format!("{name}-{key}"));
        let tools = Self {
            bin_dir: venv_dir.join(if cfg!(windows) { "Scripts" } else { "bin" }),
        };
        // Written last, so that an interrupted set-up is begun again.
        let stamp_path = venv_dir.join("ktx-tools-ready");
        if stamp_path.exists() && tools.program("python").exists() {
            return Ok(tools);
        }
        say::step(&format!("Installing {content}"));
        if venv_dir.exists() {
            fs_err::remove_dir_all(&venv_dir)?;
        }
        let sh = Shell::new()?;
        let python = system_python(&sh)?;
        without_pip_redirects(cmd!(sh, "{python} -m venv {venv_dir}"))
            .quiet()
            .run()?;
        let venv_python = tools.program("python");
        let pip = cmd!(
            sh,
            "{venv_python} -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r {pins_path}"
        );
        without_pip_redirects(pip).quiet().run()?;
        fs_err::write(&stamp_path, key)?;
        Ok(tools)
    }

    /// Where the environment's programs are.
    pub(crate) fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// Where a program of the environment is.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir
            .join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    }

    /// A command that runs one of the environment's programs.
    pub(crate) fn command<'sh>(&self, sh: &'sh Shell, name: &str) -> Cmd<'sh> {
        without_pip_redirects(sh.cmd(self.program(name)))
    }

    /// Downloads a wheel as another platform has it, of what `wanted` tells pip; gives its path.
    pub(crate) fn download(
        &self,
        platform_tag: &str,
        dir: &Path,
        wanted: &[&OsStr],
    ) -> Result<PathBuf> {
        let sh = shell()?;
        let download = self
            .command(&sh, "python")
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--only-binary", ":all:"])
            .args(["--platform", platform_tag, "--dest"])
            .arg(dir)
            .args(uv::index_url().map(|url| format!("--index-url={url}")))
            .args(wanted);
        uv::read(download)?;
        let entry = fs_err::read_dir(dir)?
            .next()
            .context("pip fetched nothing")??;
        Ok(entry.path())
    }
}

/// Fetches the one package that a file of pins names as another platform has it, and unpacks it.
pub(crate) fn foreign_wheel(file: &str, platform_tag: &str) -> Result<PathBuf> {
    let pins_path = repo::path("release").join(file);
    let key = &digest::of_file(&pins_path)?.sha256[..16];
    let dir = dir().join(format!("{platform_tag}-{key}"));
    if dir.exists() {
        return Ok(dir);
    }
    say::step(&format!(
        "Fetching what `release/{file}` names for {platform_tag}"
    ));
    let work_dir = tempfile::tempdir_in(self::dir())?;
    let (wheels_dir, tree) = (work_dir.path().join("wheels"), work_dir.path().join("tree"));
    let wheel_path = PythonTools::ensure()?.download(
        platform_tag,
        &wheels_dir,
        &[
            "--require-hashes".as_ref(),
            "--requirement".as_ref(),
            pins_path.as_os_str(),
        ],
    )?;
    zip::ZipArchive::new(fs_err::File::open(wheel_path)?)?.extract(&tree)?;
    fs_err::rename(tree, &dir)?;
    Ok(dir)
}

/// Installs the Node packages when the lock file asks for others than are there.
pub(crate) fn ensure_node_modules() -> Result<()> {
    let lock = fs_err::read(repo::path("package-lock.json"))?;
    let key = digest::of_reader(&lock[..])?.sha256;
    let stamp_path = repo::path("node_modules/.ktx-lock");
    if fs_err::read_to_string(&stamp_path).is_ok_and(|stamp| stamp == key) {
        return Ok(());
    }
    say::step("Installing the Node packages");
    let sh = shell()?;
    // Not `npm ci`: it refuses a lock without the optional packages of every other platform,
    // and not every registry mirrors those.
    npm(&sh)
        .args([
            "install",
            "--no-save",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ])
        .args(["--loglevel", "error"])
        .quiet()
        .ignore_stdout()
        .run()?;
    fs_err::write(&stamp_path, key)?;
    Ok(())
}

/// A shell whose working directory is the checkout.
pub(crate) fn shell() -> Result<Shell> {
    let sh = Shell::new()?;
    sh.change_dir(repo::root());
    Ok(sh)
}

/// npm, which on Windows is a script.
pub(crate) fn npm(sh: &Shell) -> Cmd<'_> {
    sh.cmd(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// A program of the Node packages.
pub(crate) fn node_program(name: &str) -> PathBuf {
    let suffix = if cfg!(windows) { ".cmd" } else { "" };
    repo::path("node_modules/.bin").join(format!("{name}{suffix}"))
}

/// cargo-deny, built once if the machine has none.
pub(crate) fn ensure_cargo_deny() -> Result<PathBuf> {
    CARGO_DENY.ensure()
}

/// cargo-nextest, built once if the machine has none.
pub(crate) fn ensure_cargo_nextest() -> Result<PathBuf> {
    CARGO_NEXTEST.ensure()
}

impl CargoTool {
    fn ensure(&self) -> Result<PathBuf> {
        let sh = shell()?;
        let root_dir = dir().join(format!("{}-{}", self.name, self.version));
        let built_path =
            root_dir
                .join("bin")
                .join(format!("{}{}", self.name, std::env::consts::EXE_SUFFIX));
        if built_path.exists() {
            return Ok(built_path);
        }
        let subcommand = self.name.trim_start_matches("cargo-");
        let name = self.name;
        let found = cmd!(sh, "{name} {subcommand} --version")
            .quiet()
            .ignore_stderr()
            .read();
        if let Ok(found) = found
            && first_version(&found).is_some_and(|version| is_at_least(version, self.minimum))
        {
            return Ok(PathBuf::from(name));
        }
        say::step(&format!(
            "Building {name} {} (once; takes minutes)",
            self.version
        ));
        let version = self.version;
        // Its own target directory: the tool's build must not be thrown away with ours.
        let target_dir = dir().join("build");
        cmd!(
            sh,
            "cargo install --quiet --locked --debug --version {version} --root {root_dir} {name}"
        )
        .env("CARGO_TARGET_DIR", &target_dir)
        .env_remove("RUSTFLAGS")
        .quiet()
        .run()?;
        // Hundreds of megabytes that nothing reads again.
        fs_err::remove_dir_all(&target_dir)?;
        Ok(built_path)
    }
}

/// Takes away what would let pip or uv install from somewhere that the pins do not know.
fn without_pip_redirects(cmd: Cmd<'_>) -> Cmd<'_> {
    [
        "PIP_FIND_LINKS",
        "PIP_EXTRA_INDEX_URL",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_USER",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONHOME",
    ]
    .into_iter()
    .fold(cmd, Cmd::env_remove)
}

fn system_python(sh: &Shell) -> Result<&'static str> {
    let names: &[&str] = if cfg!(windows) {
        &["python", "python3"]
    } else {
        &["python3", "python"]
    };
    for name in names {
        let probe = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
        if cmd!(sh, "{name} -c {probe}")
            .quiet()
            .ignore_stdout()
            .ignore_stderr()
            .run()
            .is_ok()
        {
            return Ok(name);
        }
    }
    bail!("No Python 3.10 or newer with the `venv` and `ensurepip` modules on PATH")
}

/// Where the tools are.
pub(crate) fn dir() -> PathBuf {
    repo::path("target/tools")
}

/// Where zig keeps what it compiled of its own.
pub(crate) fn zig_cache_dir() -> PathBuf {
    dir().join("zig-cache")
}

fn first_version(text: &str) -> Option<&str> {
    text.split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
}

fn is_at_least(version: &str, minimum: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(['.', '-'])
            .map_while(|part| part.parse().ok())
            .collect()
    };
    numbers(version) >= numbers(minimum)
}

/// The interpreter of an environment.
pub(crate) fn venv_python(venv_dir: &Path) -> PathBuf {
    if cfg!(windows) {
        venv_dir.join("Scripts/python.exe")
    } else {
        venv_dir.join("bin/python")
    }
}

#[cfg(test)]
mod tests {
    use super::{first_version, is_at_least};

    #[test]
    fn compares_versions_by_number() {
        assert!(is_at_least("0.9.143", "0.9.100"));
        assert!(!is_at_least("0.9.9", "0.9.100"));
        assert_eq!(
            first_version("cargo-nextest 0.9.143 (60fa45f63 2026-08-04)"),
            Some("0.9.143")
        );
    }
}
