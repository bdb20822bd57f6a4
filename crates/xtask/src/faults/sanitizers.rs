//! The crates' tests under LLVM's thread sanitizer. The standard library is compiled with it, or
//! it would know nothing of what that synchronises, and with its own assertions, which see
//! undefined behaviour where it is entered.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xshell::cmd;

use super::row::{Outcome, Row};
use crate::steps::capture;
use crate::tools::{self, PythonTools};
use crate::{repo, rust_std, say};

/// The target that the toolchain brings the sanitizer for; with it named, programs that only
/// build something are compiled without.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The crates, and what the table files them under.
const CRATES: [(&str, &str); 7] = [
    ("ktx-os", "install"),
    ("ktx-runtime", "install"),
    ("ktx-asset", "asset"),
    ("ktx-env", "uv"),
    ("ktx-protocol", "daemon"),
    ("ktx-service", "daemon"),
    ("ktx-daemon", "daemon"),
];

/// What the sanitizer ends a report with.
const REPORT: &str = "SUMMARY: ThreadSanitizer:";

/// tokio registers a descriptor with a duplicate of the one that it waits with. The sanitizer takes
/// them for two, so that it sees nothing between the making of what events are put into and them.
const SUPPRESSIONS: &str = "race:tokio::runtime::io::driver::Driver\n";

/// It counts the descriptors of a process, and the sanitizer's file is one more.
const LEFT_OUT: &str = "test(has_no_descriptors_of_others)";

/// Runs the tests of the crates among `only`, or of all if that names no row.
pub(super) fn rows(only: &[String]) -> Result<Vec<Row>> {
    let is_wanted = |package: &str| only.is_empty() || only.contains(&name(package));
    let wanted: Vec<_> = CRATES.into_iter().filter(|(it, _)| is_wanted(it)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let sanitizer = Sanitizer::ensure();
    if let Ok(sanitizer) = &sanitizer {
        sanitizer.build()?;
    }
    let watch = |(package, area): (&str, &'static str)| {
        let outcome = match &sanitizer {
            Ok(sanitizer) => sanitizer.watch(package)?,
            Err(missing) => Outcome::NotDone(format!("{missing:#}")),
        };
        let fault = format!("data races in the tests of `{package}`, under ThreadSanitizer");
        Ok(Row::new(&name(package), area, &fault, "none", outcome))
    };
    wanted.into_iter().map(watch).collect()
}

fn name(package: &str) -> String {
    format!("races-in-{package}")
}

/// The thread sanitizer, set up to watch every process that it is built into.
struct Sanitizer {
    std_dir: PathBuf,
    nextest: PathBuf,
    uv_path: PathBuf,
    target_dir: PathBuf,
}

impl Sanitizer {
    /// Fails with what the machine lacks.
    fn ensure() -> Result<Self> {
        let runtime = rust_std::sysroot()?
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib/librustc-stable_rt.tsan.a");
        ensure!(
            runtime.exists(),
            "there is no `{}`; a toolchain of rustup for {TARGET} has it",
            runtime.display()
        );
        let sanitizer = Self {
            std_dir: rust_std::sources(TARGET)?,
            nextest: tools::ensure_cargo_nextest()?,
            uv_path: PythonTools::ensure()?.program("uv"),
            target_dir: repo::path("target/sanitizers"),
        };
        sanitizer.write_options()?;
        Ok(sanitizer)
    }

    fn reports_dir(&self) -> PathBuf {
        self.target_dir.join("reports")
    }

    fn options_path(&self) -> PathBuf {
        self.target_dir.join("options.o")
    }

    /// Has every program read its options from a file: the daemon hands no environment variable
    /// down that could hold them. With them each process says that it is watched, in a file of its
    /// own; of signals it would speak before it knows that file.
    fn write_options(&self) -> Result<()> {
        fs_err::create_dir_all(&self.target_dir)?;
        let path = |name: &str| self.target_dir.join(name);
        fs_err::write(path("suppressions"), SUPPRESSIONS)?;
        let options = format!(
            "log_path='{}'\nsuppressions='{}'\nverbosity=1\n\
             handle_segv=0\nhandle_sigbus=0\nhandle_sigfpe=0\n",
            self.reports_dir().join("process").display(),
            path("suppressions").display()
        );
        fs_err::write(path("options"), options)?;
        let source = path("options.c");
        let text = format!(
            "const char *__tsan_default_options(void) {{ return \"include='{}'\"; }}\n",
            path("options").display()
        );
        fs_err::write(&source, text)?;
        let (sh, object) = (tools::shell()?, self.options_path());
        cmd!(sh, "cc -c {source} -o {object}")
            .quiet()
            .run()
            .context("there is no compiler of C; install it with `apt-get install gcc`")
    }

    fn build(&self) -> Result<()> {
        say::step("Building the tests with ThreadSanitizer (minutes the first time)");
        capture("races-build", self.nextest(&["run", "--no-run"]))?;
        Ok(())
    }

    /// Always for the same packages: others would have other features, and be compiled anew.
    fn nextest(&self, arguments: &[&str]) -> Command {
        let flags = [
            "-Zsanitizer=thread".to_owned(),
            "-Zstrict-init-checks".to_owned(),
            format!("-Clink-arg={}", self.options_path().display()),
        ];
        let daemon = self.target_dir.join(TARGET).join("debug/ktx-daemon");
        let mut command = Command::new(&self.nextest);
        command
            .current_dir(repo::root())
            .arg("nextest")
            .args(arguments)
            .args(["--locked", "--target", TARGET])
            .arg("-Zbuild-std=std,panic_unwind")
            .args(CRATES.map(|(package, _)| format!("--package={package}")))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &self.std_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("CARGO_TARGET_DIR", &self.target_dir)
            // Unoptimised and watched, a program is too slow for what tests wait for.
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env("KTX_TEST_UV", &self.uv_path)
            .env("KTX_TEST_DAEMON", daemon)
            .env_remove("TSAN_OPTIONS");
        command
    }

    fn watch(&self, package: &str) -> Result<Outcome> {
        let reports_dir = self.reports_dir();
        if reports_dir.exists() {
            fs_err::remove_dir_all(&reports_dir)?;
        }
        fs_err::create_dir(&reports_dir)?;
        let filter = format!("package({package}) - {LEFT_OUT}");
        let arguments = ["run", "--no-fail-fast", "--filterset", &filter];
        let ran = capture(&name(package), self.nextest(&arguments));
        let processes = processes(&reports_dir)?;
        if let Some(report) = processes.iter().find(|said| said.contains(REPORT)) {
            return Ok(Outcome::Failed(report.clone()));
        }
        let output = match ran {
            Ok(output) => output,
            Err(error) => return Ok(Outcome::Failed(format!("{error:#}"))),
        };
        let times = passed(&output).context("nextest does not say how many tests it ran")?;
        ensure!(!processes.is_empty(), "No process says that it was watched");
        let seen = format!("{times} tests in {} processes, none", processes.len());
        Ok(Outcome::Held { times, seen })
    }
}

/// What the sanitizer said in each process.
fn processes(reports_dir: &Path) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for entry in fs_err::read_dir(reports_dir)? {
        let bytes = fs_err::read(entry?.path())?;
        said.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(said)
}

/// How many tests passed, as nextest sums it up.
fn passed(output: &str) -> Option<u64> {
    let summary = output
        .lines()
        .rev()
        .find(|line| line.contains("Summary ["))?;
    let (_, counts) = summary.split_once(" tests run: ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn reads_how_many_tests_passed() {
        let output = "PASS a\n     Summary [   4.1s] 138 tests run: 138 passed, 1 skipped\n";
        assert_eq!(passed(output), Some(138));
        assert_eq!(passed("error: no tests to run\n"), None);
    }
}
