//! The probe: the finished environment is executed before anybody is told
//! that it is ready.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ktx_os::command::CommandError;

use crate::context::Context;
use crate::error::{EnvError, reason};
use crate::evidence::{Evidence, Stamp};
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::presets::packages::PACKAGES;
use crate::presets::python::START_TIMEOUT;
use crate::records;

/// The name of the preset.
pub const PROBE: PresetId = "probe";

/// How long all imports together may take, the first time and cold.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(2);

/// Imports the modules named as arguments, then prints, a line each, what the
/// interpreter is and the files that it cannot run without. It imports nothing
/// else: this is on the path of every installation.
const SCRIPT: &str = "\
import os, sys
for name in sys.argv[1:]:
    __import__(name)
major, minor, patch = sys.version_info[:3]
print(f'{major}.{minor}.{patch}')
libraries = [f'libpython{major}.{minor}.{end}' for end in ('so.1.0', 'dylib')]
for path in (
    sys._base_executable,
    sys.executable,
    os.__file__,
    os.path.join(sys.prefix, 'pyvenv.cfg'),
    *(os.path.join(sys.base_prefix, 'lib', library) for library in libraries),
):
    if os.path.isfile(path):
        print(path)
";

/// The interpreter imports what it must, and the executables answer.
pub struct ProbePreset;

#[async_trait]
impl PresetProvider for ProbePreset {
    fn id(&self) -> PresetId {
        PROBE
    }

    fn requires(&self) -> &'static [PresetId] {
        &[PACKAGES]
    }

    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError> {
        let specification = context.specification;
        if specification.imports.is_empty() {
            return Ok(CheckReport::healthy("nothing to probe"));
        }
        let python = specification.python.to_string_lossy();
        let mut arguments: Vec<String> = ["-I", "-c", SCRIPT].map(str::to_owned).into();
        arguments.extend(specification.imports.iter().cloned());
        let import = context.command(&python, arguments, Vec::new(), IMPORT_TIMEOUT);
        let (imported, answered) =
            tokio::join!(context.run(PROBE, &import), ask_executables(context));
        let broken = |what: &str, error: CommandError| match error {
            CommandError::Cancelled { .. } => Err(EnvError::Cancelled),
            error => Ok(CheckReport::new(
                PresetStatus::Broken,
                format!("{what}: {}", reason(&error)),
            )),
        };
        let output = match imported {
            Ok(output) => output,
            Err(error) => {
                return broken("The installed Python does not import its packages", error);
            }
        };
        if let Err((name, error)) = answered {
            return broken(&format!("The installed {name} does not run"), error);
        }
        let mut lines = output.stdout.lines();
        let (Some(version), files) = (lines.next(), lines.map(PathBuf::from)) else {
            return Ok(CheckReport::new(
                PresetStatus::Broken,
                "The installed Python did not say what it is",
            ));
        };
        let packages = match records::read(&specification.directory, None) {
            Ok(packages) => packages,
            Err(fault) => return Ok(CheckReport::new(PresetStatus::Broken, fault.to_string())),
        };
        let detail = format!("Python {version} with {} packages", packages.len());
        let files = files
            .map(|path| Stamp::of(&path).map_err(|source| EnvError::Io { path, source }))
            .collect::<Result<Vec<_>, _>>()?;
        let evidence = Evidence {
            interpreter: files
                .first()
                .map_or_else(PathBuf::new, |stamp| stamp.path.clone()),
            python_version: version.to_owned(),
            packages,
            files,
        };
        context.facts(|facts| facts.evidence = Some(evidence));
        Ok(CheckReport::healthy(detail))
    }

    /// An environment that does not work is not repaired in place; what may
    /// have been the moment is looked at once more.
    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        let CheckReport { status, detail, .. } = self.check(context).await?;
        if status == PresetStatus::Healthy {
            Ok(ApplyReport { detail })
        } else {
            Err(EnvError::Probe { detail })
        }
    }
}

async fn ask_executables(context: &Context<'_>) -> Result<(), (String, CommandError)> {
    for (name, path) in &context.specification.executables {
        let command = context.command(
            &path.to_string_lossy(),
            vec!["--version".to_owned()],
            Vec::new(),
            START_TIMEOUT,
        );
        context
            .run(PROBE, &command)
            .await
            .map_err(|error| (name.clone(), error))?;
    }
    Ok(())
}
