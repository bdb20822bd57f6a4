//! The linker that cargo calls when zig links for Linux.
//!
//! zig's command line has no words for all that makes a library small, though its linker has.
//! So zig links, says what it told its linker, and that linker runs once more with the words.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use xshell::Cmd;

use crate::tools::{self, PythonTools};
use crate::{digest, say};

/// What the process is told, which cargo calls without arguments of ours.
const TARGET: &str = "KTX_LINK_TARGET";
const ZIGBUILD: &str = "KTX_LINK_ZIGBUILD";
const PYTHON: &str = "KTX_LINK_PYTHON";
const UNWINDER: &str = "KTX_LINK_UNWINDER";
/// What rustc calls the library that unwinds.
const UNWINDER_ARGUMENT: &str = "-lgcc_s";
/// zig's name for its linker.
const LINKER: &str = "ld.lld";

/// What makes small libraries: functions of the same code are one, strings share their ends, and
/// names are found by one table.
const SMALL: [&str; 3] = ["--icf=all", "-O2", "--hash-style=gnu"];

/// How to link for one target.
pub(crate) struct Linking<'a> {
    /// The target as Rust knows it, and as zig does.
    pub(crate) triple: &'a str,
    pub(crate) zig_name: &'a str,
    /// The library that unwinds, where zig's own is not to be put into what is linked.
    pub(crate) unwinder: Option<PathBuf>,
}

impl Linking<'_> {
    /// Makes cargo link with this program.
    pub(crate) fn environment<'sh>(
        &self,
        command: Cmd<'sh>,
        tools: &PythonTools,
    ) -> Result<Cmd<'sh>> {
        let name = self.triple.to_uppercase().replace('-', "_");
        let command = command
            .env(format!("CARGO_TARGET_{name}_LINKER"), program()?)
            .env(TARGET, self.zig_name)
            .env(ZIGBUILD, tools.program("cargo-zigbuild"))
            .env(PYTHON, tools.program("python"));
        Ok(match &self.unwinder {
            Some(path) => command.env(UNWINDER, path),
            None => command.env_remove(UNWINDER),
        })
    }
}

/// A link to this program. Cargo links again when its linker has another path, and sees nothing
/// else of it; so the path changes with the way of linking.
fn program() -> Result<PathBuf> {
    let way = concat!(include_str!("link.rs"), include_str!("unwinder.rs"));
    let key = &digest::of_reader(way.as_bytes())?.sha256[..16];
    let path = tools::dir().join(format!("link-{key}"));
    let program = std::env::current_exe()?;
    if fs_err::read_link(&path).is_ok_and(|current| current == program) {
        return Ok(path);
    }
    let work_dir = tempfile::tempdir_in(tools::dir())?;
    let fresh = work_dir.path().join("link");
    #[cfg(unix)]
    fs_err::os::unix::fs::symlink(&program, &fresh)?;
    #[cfg(not(unix))]
    fs_err::copy(&program, &fresh)?;
    fs_err::rename(fresh, &path)?;
    Ok(path)
}

/// Links, if this process was started to do that.
pub(crate) fn run_if_linker() -> Option<ExitCode> {
    let target = std::env::var(TARGET).ok()?;
    Some(match link(&target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    })
}

fn link(target: &str) -> Result<()> {
    let program = |name| std::env::var_os(name).with_context(|| format!("`{name}` is not set"));
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(unwinder) = std::env::var_os(UNWINDER) {
        let uses = arguments
            .iter_mut()
            .filter(|argument| *argument == UNWINDER_ARGUMENT);
        uses.for_each(|argument| argument.clone_from(&unwinder));
    }
    let zig = Command::new(program(ZIGBUILD)?)
        .args([
            "zig",
            "cc",
            "--",
            "-g",
            "-fno-sanitize=all",
            "-target",
            target,
        ])
        .args(&arguments)
        .env("ZIG_VERBOSE_LINK", "1")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&zig.stderr);
    ensure!(zig.status.success(), "{}", said.trim_end());
    std::io::stdout().write_all(&zig.stdout)?;
    let mut words = command_of(&said, output_of(&arguments)?)?;
    words.extend(SMALL);
    let linked = Command::new(program(PYTHON)?)
        .args(["-m", "ziglang"])
        .args(words)
        .stdin(Stdio::null())
        .status()?;
    ensure!(
        linked.success(),
        "`{LINKER} {}` ended with {linked}",
        SMALL.join(" ")
    );
    Ok(())
}

/// The file that the arguments of a linker name as the one to write.
fn output_of(arguments: &[OsString]) -> Result<&Path> {
    let position = arguments.iter().position(|argument| argument == "-o");
    position
        .and_then(|index| arguments.get(index + 1))
        .map(Path::new)
        .context("The linker was not told what to write")
}

/// The command with which zig wrote a file, in what zig says when it is asked.
fn command_of<'s>(said: &'s str, output: &Path) -> Result<Vec<&'s str>> {
    let line = said.lines().rev().find(|line| line.starts_with(LINKER));
    let words: Vec<&str> = line
        .context("zig did not say how it links")?
        .split_whitespace()
        .collect();
    // It says words without quotes, so a path with a space would be two.
    ensure!(
        words
            .windows(2)
            .any(|pair| pair[0] == "-o" && Path::new(pair[1]) == output),
        "zig did not say how it links `{}`; a path with a space cannot be linked",
        output.display()
    );
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{command_of, output_of};

    const SAID: &str = "warning: unused\nar rcs /c/libunwind.a /c/u.o\n\
        ld.lld -shared -o /c/libc.so.6 /c/c.o\n\
        ld.lld --gc-sections -shared -o /t/libktx.so /t/a.o /c/libc.so.6\n";

    #[test]
    fn finds_the_command_that_wrote_the_output() {
        let words = command_of(SAID, Path::new("/t/libktx.so")).unwrap();
        assert_eq!(words.first(), Some(&"ld.lld"));
        assert_eq!(words.last(), Some(&"/c/libc.so.6"));
        assert!(words.contains(&"--gc-sections"));
    }

    #[test]
    fn refuses_a_command_that_wrote_something_else() {
        assert!(command_of(SAID, Path::new("/t/my libktx.so")).is_err());
        assert!(command_of("error: no", Path::new("/t/libktx.so")).is_err());
    }

    #[test]
    fn knows_what_the_linker_is_to_write() {
        let arguments = ["-shared", "-o", "/t/libktx.so", "a.o"].map(OsString::from);
        assert_eq!(output_of(&arguments).unwrap(), Path::new("/t/libktx.so"));
        assert!(output_of(&arguments[..2]).is_err());
    }
}
