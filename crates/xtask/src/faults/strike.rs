//! Runs a command and strikes it at one of the system calls with which it changes files: the call
//! fails, or the process is killed before it.
//!
//! All threads of the command count together, and only calls on paths that begin with a prefix:
//! a sweep over the numbers meets every call. (strace counts each thread for itself, so what a
//! second thread does first cannot be met, and its filters know no prefixes.) Children of the
//! command are left alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::libc::{self, c_long, user_regs_struct};
use nix::sys::ptrace::{self, Options as Trace};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The longest path that the kernel takes.
const PATH_MAX: usize = 4096;

#[derive(Args)]
pub(crate) struct Options {
    /// Count calls on paths that begin with this
    #[arg(long)]
    below: PathBuf,
    /// Write each counted call to this file, a line for each: its kind and its path
    #[arg(long)]
    report: PathBuf,
    /// Count calls of these kinds [default: all that change something]
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Strike the call with this number, counted from 1 [default: none]
    #[arg(long)]
    at: Option<usize>,
    /// Let the call fail with this error, such as `ENOSPC`, instead of killing the process
    #[arg(long, requires = "at", value_parser = parse_errno)]
    error: Option<Errno>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

/// What a system call does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    Write,
    Rename,
    Fsync,
    /// Opens a file, making or emptying it.
    Create,
    /// Opens a file in any way.
    Open,
    Mkdir,
    Unlink,
    Flock,
    Mode,
}

/// Where a system call names its file.
#[derive(Clone, Copy)]
enum File {
    /// A descriptor in the first argument.
    Descriptor,
    /// A descriptor in the argument with this index.
    DescriptorAt(usize),
    /// A path in the first argument.
    Path,
    /// A directory in the first argument and a path in the second.
    At,
}

const CALLS: &[(c_long, Kind, File)] = &[
    (libc::SYS_write, Kind::Write, File::Descriptor),
    (libc::SYS_writev, Kind::Write, File::Descriptor),
    (libc::SYS_pwrite64, Kind::Write, File::Descriptor),
    (libc::SYS_pwritev, Kind::Write, File::Descriptor),
    (libc::SYS_ftruncate, Kind::Write, File::Descriptor),
    (libc::SYS_fallocate, Kind::Write, File::Descriptor),
    (libc::SYS_sendfile, Kind::Write, File::Descriptor),
    (
        libc::SYS_copy_file_range,
        Kind::Write,
        File::DescriptorAt(2),
    ),
    (libc::SYS_truncate, Kind::Write, File::Path),
    (libc::SYS_rename, Kind::Rename, File::Path),
    (libc::SYS_renameat, Kind::Rename, File::At),
    (libc::SYS_renameat2, Kind::Rename, File::At),
    (libc::SYS_link, Kind::Rename, File::Path),
    (libc::SYS_linkat, Kind::Rename, File::At),
    (libc::SYS_fsync, Kind::Fsync, File::Descriptor),
    (libc::SYS_fdatasync, Kind::Fsync, File::Descriptor),
    (libc::SYS_syncfs, Kind::Fsync, File::Descriptor),
    (libc::SYS_open, Kind::Open, File::Path),
    (libc::SYS_openat, Kind::Open, File::At),
    (libc::SYS_creat, Kind::Create, File::Path),
    (libc::SYS_mkdir, Kind::Mkdir, File::Path),
    (libc::SYS_mkdirat, Kind::Mkdir, File::At),
    (libc::SYS_unlink, Kind::Unlink, File::Path),
    (libc::SYS_unlinkat, Kind::Unlink, File::At),
    (libc::SYS_rmdir, Kind::Unlink, File::Path),
    (libc::SYS_flock, Kind::Flock, File::Descriptor),
    (libc::SYS_chmod, Kind::Mode, File::Path),
    (libc::SYS_fchmod, Kind::Mode, File::Descriptor),
    (libc::SYS_fchmodat, Kind::Mode, File::At),
    (libc::SYS_utimensat, Kind::Mode, File::At),
];

/// Runs the command, and ends as it does: with its code, or with 128 and the signal.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (program, arguments) = options
        .command
        .split_first()
        .context("There is a command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: between fork and exec the child makes this one system call.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(Into::into));
    }
    let child = command
        .spawn()
        .with_context(|| format!("Cannot start `{}`", program.display()))?;
    let process = Pid::from_raw(child.id().cast_signed());
    let mut tracer = Tracer {
        options,
        process,
        threads: HashMap::new(),
        report: String::new(),
        counted: 0,
    };
    let code = tracer.follow()?;
    fs_err::write(&options.report, &tracer.report)?;
    Ok(code)
}

struct Tracer<'o> {
    options: &'o Options,
    process: Pid,
    threads: HashMap<Pid, Stop>,
    report: String,
    counted: usize,
}

/// What the next stop of a thread at a system call is.
#[derive(Clone, Copy)]
enum Stop {
    Entry,
    Exit,
    /// The end of a call that was not made: it gives this error.
    Failed(Errno),
}

impl Tracer<'_> {
    fn follow(&mut self) -> Result<ExitCode> {
        // The first stop is at the program's first instruction.
        let first = waitpid(self.process, None)?;
        ensure!(
            matches!(first, WaitStatus::Stopped(_, Signal::SIGTRAP)),
            "The command did not start: {first:?}"
        );
        let trace = Trace::PTRACE_O_TRACESYSGOOD
            | Trace::PTRACE_O_TRACECLONE
            | Trace::PTRACE_O_TRACEEXEC
            | Trace::PTRACE_O_EXITKILL;
        ptrace::setoptions(self.process, trace)?;
        self.threads.insert(self.process, Stop::Entry);
        go_on(self.process, None)?;
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceSyscall(thread) => self.at_call(thread)?,
                WaitStatus::Stopped(thread, signal) => {
                    // A thread that is new begins with a stop that nobody asked for.
                    let is_new = self.threads.insert(thread, Stop::Entry).is_none();
                    go_on(thread, (!is_new).then_some(signal))?;
                }
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None)?,
                WaitStatus::Exited(thread, code) if thread == self.process => {
                    return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
                }
                WaitStatus::Signaled(thread, signal, _) if thread == self.process => {
                    let code = 128 + u8::try_from(signal as i32)?;
                    return Ok(ExitCode::from(code));
                }
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                    self.threads.remove(&thread);
                }
                status => bail!("The command is in an unknown state: {status:?}"),
            }
        }
    }

    fn at_call(&mut self, thread: Pid) -> Result<()> {
        let next = match self.threads.get(&thread).copied().unwrap_or(Stop::Entry) {
            Stop::Entry => self.enter(thread)?,
            Stop::Exit => Stop::Entry,
            Stop::Failed(error) => {
                if let Some(mut registers) = registers(thread)? {
                    registers.rax = i64::from(-(error as i32)).cast_unsigned();
                    ptrace::setregs(thread, registers)?;
                }
                Stop::Entry
            }
        };
        self.threads.insert(thread, next);
        go_on(thread, None)
    }

    fn enter(&mut self, thread: Pid) -> Result<Stop> {
        let Some(mut registers) = registers(thread)? else {
            return Ok(Stop::Exit);
        };
        let Some((kind, path)) = self.counted_call(thread, &registers) else {
            return Ok(Stop::Exit);
        };
        self.counted += 1;
        let kind = kind.to_possible_value().expect("no kind is hidden");
        writeln!(self.report, "{} {}", kind.get_name(), path.display())?;
        if self.options.at != Some(self.counted) {
            return Ok(Stop::Exit);
        }
        let Some(error) = self.options.error else {
            kill(self.process, Signal::SIGKILL)?;
            return Ok(Stop::Exit);
        };
        // No call has this number: nothing is done.
        registers.orig_rax = u64::MAX;
        ptrace::setregs(thread, registers)?;
        Ok(Stop::Failed(error))
    }

    /// What the call does and to which file, if it counts.
    fn counted_call(&self, thread: Pid, registers: &user_regs_struct) -> Option<(Kind, PathBuf)> {
        let number = c_long::try_from(registers.orig_rax).ok()?;
        let (_, kind, file) = CALLS.iter().find(|(call, ..)| *call == number)?;
        let arguments = [registers.rdi, registers.rsi, registers.rdx];
        let kind = match kind {
            Kind::Open => {
                let flags = arguments[if number == libc::SYS_open { 1 } else { 2 }];
                let makes = flags & u64::from((libc::O_CREAT | libc::O_TRUNC).cast_unsigned()) != 0;
                if makes { Kind::Create } else { Kind::Open }
            }
            kind => *kind,
        };
        let is_counted = if self.options.kinds.is_empty() {
            kind != Kind::Open
        } else {
            self.options.kinds.contains(&kind)
                || (kind == Kind::Create && self.options.kinds.contains(&Kind::Open))
        };
        if !is_counted {
            return None;
        }
        let path = match file {
            File::Descriptor => descriptor(thread, arguments[0])?,
            File::DescriptorAt(index) => descriptor(thread, arguments[*index])?,
            File::Path => working_dir(thread)?.join(text(thread, arguments[0])?),
            // Without a path the descriptor itself is meant.
            File::At if arguments[1] == 0 => descriptor(thread, arguments[0])?,
            File::At => descriptor(thread, arguments[0])?.join(text(thread, arguments[1])?),
        };
        let below = self.options.below.as_os_str().as_bytes();
        path.as_os_str()
            .as_bytes()
            .starts_with(below)
            .then_some((kind, path))
    }
}

/// `None` for a thread that is just killed.
fn registers(thread: Pid) -> Result<Option<user_regs_struct>> {
    match ptrace::getregs(thread) {
        Ok(registers) => Ok(Some(registers)),
        Err(Errno::ESRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(thread, signal) {
        // It is killed, which the next wait tells.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn descriptor(thread: Pid, number: u64) -> Option<PathBuf> {
    // The upper half of a register is not part of an int.
    let number = u32::try_from(number & u64::from(u32::MAX)).expect("the upper half is gone");
    if number.cast_signed() == libc::AT_FDCWD {
        return working_dir(thread);
    }
    fs_err::read_link(format!("/proc/{thread}/fd/{number}")).ok()
}

fn working_dir(thread: Pid) -> Option<PathBuf> {
    fs_err::read_link(format!("/proc/{thread}/cwd")).ok()
}

/// The text at an address of the command, up to its NUL.
fn text(thread: Pid, address: u64) -> Option<OsString> {
    use std::os::unix::fs::FileExt;

    let memory =
        fs_err::File::open(Path::new("/proc").join(thread.to_string()).join("mem")).ok()?;
    let mut bytes = vec![0; PATH_MAX];
    // Less is there where the memory ends.
    let length = memory.file().read_at(&mut bytes, address).ok()?;
    bytes.truncate(length);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    Some(OsString::from_vec(bytes))
}

fn parse_errno(name: &str) -> Result<Errno> {
    (1..200)
        .map(Errno::from_raw)
        .find(|error| format!("{error:?}") == name)
        .with_context(|| format!("no error is called `{name}`"))
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::parse_errno;

    #[test]
    fn knows_errors_by_their_names() {
        assert_eq!(parse_errno("ENOSPC").unwrap(), Errno::ENOSPC);
        assert_eq!(parse_errno("EDQUOT").unwrap(), Errno::EDQUOT);
        assert!(parse_errno("ENOTHING").is_err());
    }
}
