//! `cargo xtask cross`: builds for platforms other than this machine's, and runs what can be run.

mod machine;

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::machine::Machine;
use crate::artifact::Rules;
use crate::npm::Artifacts;
use crate::policy::Policy;
use crate::target::Target;
use crate::{repo, say};

const DAEMON: &str = "ktx-daemon";

#[derive(Args)]
pub(crate) struct Options {
    /// Platform ids of the policy or Rust targets [default: every platform]
    #[arg(value_name = "TARGET", value_parser = Target::parse)]
    targets: Vec<Target>,
}

/// Builds for each target, runs what was built, and says what came of it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let mut targets = options.targets.clone();
    if targets.is_empty() {
        for platform in &policy.platforms {
            targets.push(Target::of(&policy, platform)?);
        }
    }
    for target in &targets {
        let started = Instant::now();
        let built = Built::for_target(target, &policy)?;
        say::result(&format!(
            "{}: {}; {}; {:.0} s",
            target.platform.id,
            built.sizes()?,
            built.try_out()?,
            started.elapsed().as_secs_f64()
        ));
    }
    Ok(())
}

/// What was built for one target.
struct Built<'t> {
    target: &'t Target,
    artifacts: Artifacts,
}

impl<'t> Built<'t> {
    fn for_target(target: &'t Target, policy: &Policy) -> Result<Self> {
        let artifacts = Artifacts::build(target)?;
        let rules = Rules::of_target(policy, target);
        rules.check_addon(&artifacts.addon_path)?;
        rules.check_wheel(&artifacts.wheel_path)?;
        Ok(Self { target, artifacts })
    }

    fn sizes(&self) -> Result<String> {
        let bytes = |path: &Path| Ok::<_, anyhow::Error>(fs_err::metadata(path)?.len());
        let Artifacts {
            addon_path,
            wheel_path,
            ..
        } = &self.artifacts;
        let wheel = wheel_path.file_name().unwrap_or_default();
        Ok(format!(
            "addon {} bytes, {} {} bytes",
            bytes(addon_path)?,
            wheel.to_string_lossy(),
            bytes(wheel_path)?
        ))
    }

    /// Runs the daemon and loads the addon; says how, or that this machine cannot.
    fn try_out(&self) -> Result<String> {
        let Some(machine) = Machine::for_target(self.target)? else {
            return Ok("not run".to_owned());
        };
        self.run_daemon(&machine)?;
        self.load_addon(&machine)?;
        Ok(format!("run {machine}"))
    }

    fn run_daemon(&self, machine: &Machine) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let program = dir.path().join(DAEMON);
        fs_err::write(&program, daemon_of(&self.artifacts.wheel_path)?)?;
        make_executable(&program)?;
        let version = output(machine.program(&program)?.arg("--version"))?;
        ensure!(
            version == format!("{DAEMON} {}", repo::VERSION),
            "`{DAEMON} --version` printed `{version}`"
        );
        // Without an interpreter beside it there is nothing to serve, and it says so.
        let alone = machine
            .program(&program)?
            .args(["serve", "--listen", "127.0.0.1:0"])
            .output()?;
        let said = String::from_utf8_lossy(&alone.stderr);
        ensure!(
            !alone.status.success() && said.contains("interpreter"),
            "`{DAEMON} serve` without an interpreter ended with {} and said `{said}`",
            alone.status
        );
        Ok(())
    }

    fn load_addon(&self, machine: &Machine) -> Result<()> {
        let mut node = machine.node()?;
        // A promise, so that the threads of the addon do something.
        let code = "const ktx = require(process.argv[1]); \
             ktx.status({ cliVersion: ktx.version(), env: {}, homeDir: '/nowhere' }) \
             .then((status) => console.log(ktx.version(), status.kind, process.arch));";
        let printed = output(node.args(["-e", code]).arg(&self.artifacts.addon_path))?;
        let expected = format!("{} missing {}", repo::VERSION, self.target.platform.cpu);
        ensure!(
            printed == expected,
            "The addon for {} says `{printed}`, not `{expected}`",
            self.target.platform.id
        );
        Ok(())
    }
}

/// The daemon's program, as the wheel carries it.
fn daemon_of(wheel_path: &Path) -> Result<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(fs_err::File::open(wheel_path)?)?;
    let name = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name.ends_with(&format!(".data/scripts/{DAEMON}")))
        .with_context(|| format!("`{}` has no `{DAEMON}`", repo::shown(wheel_path)))?
        .into_owned();
    let mut content = Vec::new();
    archive.by_name(&name)?.read_to_end(&mut content)?;
    Ok(content)
}

fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// What a command prints, without the end of its last line; fails if the command does.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
