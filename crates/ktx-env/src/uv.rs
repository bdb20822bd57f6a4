//! Every command line that ktx gives uv.

use std::path::Path;
use std::time::Duration;

use ktx_os::command::Command;
use ktx_os::variables;

use crate::bootstrap;
use crate::certificates;
use crate::context::{Context, Packages, Uv};
use crate::error::EnvError;

/// How long uv may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long uv may take to look at the interpreters of a machine, or to make
/// an empty environment with one.
const LOCAL_TIMEOUT: Duration = Duration::from_mins(2);

/// How long uv may take to download and install.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(30);

/// How often uv asks a silent index again: together with the first time, no
/// longer than ktx's own download stays without progress.
const RETRIES: u64 = bootstrap::SILENCE.as_secs() / bootstrap::STALL.as_secs() - 1;

/// Asks `program` for its version.
pub(crate) fn version(context: &Context<'_>, program: &str) -> Command {
    command(context, program, ["--version"], VERSION_TIMEOUT)
}

impl Uv {
    /// Finds an interpreter for `request`, a version specifier.
    pub(crate) fn find_python(&self, context: &Context<'_>, request: &str) -> Command {
        self.command(
            context,
            ["python", "find", "--no-project", "--system", request],
            LOCAL_TIMEOUT,
        )
    }

    /// Finds an interpreter among those that ktx keeps.
    pub(crate) fn find_kept_python(&self, context: &Context<'_>, request: &str) -> Command {
        let arguments = [
            "python",
            "find",
            "--no-project",
            "--managed-python",
            request,
        ];
        with_kept_python(context, self.command(context, arguments, LOCAL_TIMEOUT))
    }

    /// Installs an interpreter for `request` among those that ktx keeps.
    pub(crate) fn install_python(
        &self,
        context: &Context<'_>,
        request: &str,
    ) -> Result<Command, EnvError> {
        let arguments = ["python", "install", "--no-bin", request];
        let command = self.command(context, arguments, DOWNLOAD_TIMEOUT);
        with_certificates(context, with_kept_python(context, command))
    }

    /// Makes the empty environment.
    pub(crate) fn venv(&self, context: &Context<'_>, interpreter: Option<&Path>) -> Command {
        let mut arguments = vec!["venv".to_owned()];
        if let Some(interpreter) = interpreter {
            arguments.extend([
                "--no-project".to_owned(),
                "--python".to_owned(),
                text(interpreter),
            ]);
        }
        arguments.push(text(&context.specification.directory));
        let mut command = self.command(context, arguments, LOCAL_TIMEOUT);
        // What a cache remembers of an interpreter goes into the environment
        // as it stands; an empty one has uv ask the interpreter.
        if interpreter.is_some() {
            let cache = context.specification.workspace.join("cache");
            command
                .environment
                .set(variables::UV_CACHE_DIR, text(&cache));
        }
        command
    }

    /// Installs the packages. `requirements` is the file that locked ones
    /// stand in; `offline` takes them from the cache or fails at once.
    pub(crate) fn install(
        &self,
        context: &Context<'_>,
        requirements: &Path,
        offline: bool,
    ) -> Result<Command, EnvError> {
        let mut arguments: Vec<String> = ["pip", "install", "--python"].map(str::to_owned).into();
        arguments.push(text(&context.specification.python));
        match &context.specification.packages {
            Packages::Resolved { requirement } => arguments.push(requirement.clone()),
            Packages::Locked { .. } => {
                let flags = ["--require-hashes", "--no-deps", "--only-binary", ":all:"];
                arguments.extend(flags.map(str::to_owned));
                if offline {
                    arguments.push("--offline".to_owned());
                }
                arguments.extend(["-r".to_owned(), text(requirements)]);
            }
        }
        with_certificates(context, self.command(context, arguments, DOWNLOAD_TIMEOUT))
    }

    /// Removes a package from the cache.
    pub(crate) fn forget(&self, context: &Context<'_>, package: &str) -> Command {
        let arguments = ["cache", "clean", "--quiet", package];
        self.command(context, arguments, LOCAL_TIMEOUT)
    }

    fn command<S: Into<String>>(
        &self,
        context: &Context<'_>,
        arguments: impl IntoIterator<Item = S>,
        timeout: Duration,
    ) -> Command {
        command(context, &self.program, arguments, timeout)
    }
}

/// A uv command in the environment that all of them get: no configuration
/// files, ktx's own cache, nothing made in the home, copies instead of links
/// into the cache (what an environment does to its files must not reach it),
/// the caller's index, and no other index.
fn command<S: Into<String>>(
    context: &Context<'_>,
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    timeout: Duration,
) -> Command {
    let mut environment = vec![
        (variables::UV_NO_CONFIG, "1".to_owned()),
        (variables::UV_CACHE_DIR, text(&context.specification.cache)),
        (
            variables::UV_CREDENTIALS_DIR,
            text(&context.specification.cache.join("credentials")),
        ),
        (variables::UV_LINK_MODE, "copy".to_owned()),
        (variables::UV_NO_PROGRESS, "1".to_owned()),
        (
            variables::UV_HTTP_TIMEOUT,
            bootstrap::STALL.as_secs().to_string(),
        ),
        (variables::UV_HTTP_RETRIES, RETRIES.to_string()),
        (variables::NO_COLOR, "1".to_owned()),
    ];
    let index = variables::INDEXES
        .iter()
        .find_map(|name| context.environment.var(name));
    if let Some(index) = index {
        environment.push((variables::UV_DEFAULT_INDEX, index.to_owned()));
    }
    let arguments = arguments.into_iter().map(Into::into).collect();
    context.command(program, arguments, environment, timeout)
}

fn with_kept_python(context: &Context<'_>, mut command: Command) -> Command {
    command.environment.set(
        variables::UV_PYTHON_INSTALL_DIR,
        text(&context.specification.kept_python),
    );
    command
}

fn with_certificates(context: &Context<'_>, mut command: Command) -> Result<Command, EnvError> {
    let workspace = &context.specification.workspace;
    let trusted =
        certificates::for_uv(context.environment, workspace).map_err(|source| EnvError::Io {
            path: workspace.clone(),
            source,
        })?;
    for (name, value) in trusted {
        command.environment.set(name, value);
    }
    Ok(command)
}

/// A path as an argument. ktx's paths come from text, so nothing is lost.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
