//! The base interpreter: found with uv, else on the `PATH`, else installed by
//! uv; executed before it is believed.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use ktx_os::command::CommandError;
use pep440_rs::{Version, VersionSpecifiers};

use crate::context::Context;
use crate::error::EnvError;
use crate::preset::{ApplyReport, CheckReport, PresetId, PresetProvider, PresetStatus};
use crate::presets::uv::UV;

/// The name of the preset.
pub const PYTHON: PresetId = "python";

/// How long an interpreter may take to start and say what it is.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Prints the version and the path of an interpreter, a line each.
const SCRIPT: &str = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.executable)";

/// An interpreter in the required range runs.
pub struct PythonPreset;

#[async_trait]
impl PresetProvider for PythonPreset {
    fn id(&self) -> PresetId {
        PYTHON
    }

    fn requires(&self) -> &'static [PresetId] {
        &[UV]
    }

    async fn check(&self, context: &Context<'_>) -> Result<CheckReport, EnvError> {
        let Some(request) = context.specification.requires_python.as_deref() else {
            return Ok(CheckReport::healthy("left to uv"));
        };
        // The parser's own words bring the widths of all characters with them.
        let range = VersionSpecifiers::from_str(request).map_err(|_| EnvError::PythonRange {
            range: request.to_owned(),
        })?;
        if let Some(precedent) = &context.specification.precedent
            && Version::from_str(&precedent.python_version)
                .is_ok_and(|version| range.contains(&version))
            && precedent.interpreter_is_unchanged()
        {
            let path = precedent.interpreter.clone();
            let detail = format!("Python {} at {}", precedent.python_version, path.display());
            context.facts(|facts| facts.interpreter = Some(path));
            return Ok(CheckReport::healthy(detail));
        }
        let uv = context.uv()?;
        let mut candidates = Vec::new();
        for find in [
            uv.find_python(context, request),
            uv.find_kept_python(context, request),
        ] {
            match context.run(PYTHON, &find).await {
                Ok(output) => candidates.push(output.stdout.trim().to_owned()),
                Err(CommandError::Cancelled { .. }) => return Err(EnvError::Cancelled),
                Err(_) => {}
            }
            if let Some(found) = believe(context, &range, &mut candidates).await? {
                return Ok(found);
            }
        }
        candidates.push("python3".to_owned());
        if let Some(found) = believe(context, &range, &mut candidates).await? {
            return Ok(found);
        }
        Ok(CheckReport::new(
            PresetStatus::Missing,
            format!("no Python interpreter {request} was found"),
        ))
    }

    async fn apply(&self, context: &Context<'_>) -> Result<ApplyReport, EnvError> {
        let request = context
            .specification
            .requires_python
            .as_deref()
            .unwrap_or_default();
        let install = context.uv()?.install_python(context, request)?;
        match context.run(PYTHON, &install).await {
            Ok(_) => Ok(ApplyReport {
                detail: format!("Installed Python {request}"),
            }),
            Err(CommandError::Cancelled { .. }) => Err(EnvError::Cancelled),
            Err(source) => Err(EnvError::NoPython {
                range: request.to_owned(),
                failure: Box::new(source),
            }),
        }
    }
}

/// Executes the candidates, and takes the first that runs and is in `range`.
async fn believe(
    context: &Context<'_>,
    range: &VersionSpecifiers,
    candidates: &mut Vec<String>,
) -> Result<Option<CheckReport>, EnvError> {
    for candidate in candidates.drain(..) {
        let arguments = ["-I", "-S", "-c", SCRIPT].map(str::to_owned).into();
        let command = context.command(&candidate, arguments, Vec::new(), START_TIMEOUT);
        let answer = match context.run(PYTHON, &command).await {
            Ok(output) => output.stdout,
            Err(CommandError::Cancelled { .. }) => return Err(EnvError::Cancelled),
            Err(_) => continue,
        };
        let mut lines = answer.lines();
        let version = lines.next().and_then(|line| Version::from_str(line).ok());
        let (Some(version), Some(path)) = (version, lines.next().map(PathBuf::from)) else {
            continue;
        };
        if range.contains(&version) && path.is_absolute() {
            let detail = format!("Python {version} at {}", path.display());
            context.facts(|facts| facts.interpreter = Some(path));
            return Ok(Some(CheckReport::healthy(detail)));
        }
    }
    Ok(None)
}
