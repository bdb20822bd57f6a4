//! The virtual environment: a directory whose interpreter runs.

use std::path::Path;

use async_trait::async_trait;
use ktx_os::command::CommandError;

use crate::context::Context;
use crate::error::{EnvError, reason};
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::presets::python::{PYTHON, START_TIMEOUT};
use crate::presets::uv::UV;

/// The name of the preset.
pub const VENV: PresetId = "venv";

/// Fails unless the interpreter is the one of the environment that is named:
/// without its `pyvenv.cfg`, it runs as the interpreter that it was made with.
const SCRIPT: &str = "\
import encodings, os, sys
if not os.path.samefile(sys.prefix, sys.argv[1]):
    sys.exit(f'its environment is {sys.prefix}')
";

/// The environment's interpreter is there and runs.
///
/// An interpreter whose files are, to the last stamp, the ones that were seen
/// running is not started again.
pub struct VenvPreset;

#[async_trait]
impl PresetProvider for VenvPreset {
    fn id(&self) -> PresetId {
        VENV
    }

    fn requires(&self) -> &'static [PresetId] {
        &[UV, PYTHON]
    }

    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError> {
        if context.facts(|facts| facts.believed.contains(VENV)) {
            return Ok(CheckReport::healthy("created"));
        }
        check_interpreter(context).await
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        let interpreter = context.facts(|facts| facts.interpreter.clone());
        let command = context.uv()?.venv(context, interpreter.as_deref());
        context
            .run(VENV, &command)
            .await
            .map_err(|source| EnvError::command(VENV, source))?;
        if context.specification.is_believed() {
            context.facts(|facts| facts.believed.insert(VENV));
        }
        Ok(ApplyReport {
            detail: format!("Created {}", context.specification.directory.display()),
        })
    }
}

/// Looks at the interpreter, and starts it if it is not known to run.
pub(crate) async fn check_interpreter(context: &Context<'_>) -> Result<CheckReport, EnvError> {
    let python = &context.specification.python;
    if !exists(python) {
        return Ok(CheckReport::new(
            PresetStatus::Missing,
            format!("Missing Python executable: {}", python.display()),
        ));
    }
    let Some(evidence) = &context.specification.evidence else {
        return Ok(CheckReport::healthy(python.display().to_string()));
    };
    if evidence.interpreter_is_unchanged() {
        return Ok(CheckReport::healthy(python.display().to_string()));
    }
    let mut arguments: Vec<String> = ["-I", "-c", SCRIPT].map(str::to_owned).into();
    arguments.push(
        context
            .specification
            .directory
            .to_string_lossy()
            .into_owned(),
    );
    let command = context.command(
        &python.to_string_lossy(),
        arguments,
        Vec::new(),
        START_TIMEOUT,
    );
    match context.run(VENV, &command).await {
        Ok(_) => Ok(CheckReport::healthy(python.display().to_string())),
        Err(CommandError::Cancelled { .. }) => Err(EnvError::Cancelled),
        Err(error) => Ok(CheckReport::new(
            PresetStatus::Broken,
            format!(
                "Python executable does not run: {} ({})",
                python.display(),
                reason(&error)
            ),
        )),
    }
}

/// Whether something is at `path`; a link to nowhere is nothing.
pub(crate) fn exists(path: &Path) -> bool {
    fs_err::metadata(path).is_ok()
}
