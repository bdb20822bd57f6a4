//! uv as the release tools run it: from the pinned tools, deaf to the machine's configuration.

use anyhow::Result;
use xshell::{Cmd, Shell};

use crate::tools::PythonTools;

/// A uv command that takes the index and the certificates from the environment and nothing else.
pub(crate) fn command<'sh>(sh: &'sh Shell, tools: &PythonTools) -> Cmd<'sh> {
    let cmd = tools
        .command(sh, "uv")
        .env("UV_NO_CONFIG", "1")
        .env("UV_PYTHON_DOWNLOADS", "never");
    let cmd = [
        "UV_FIND_LINKS",
        "UV_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_CONSTRAINT",
        "UV_OVERRIDE",
        "UV_EXCLUDE_NEWER",
    ]
    .into_iter()
    .fold(cmd, Cmd::env_remove);
    match index_url() {
        Some(url) => cmd.env("UV_DEFAULT_INDEX", url),
        None => cmd,
    }
}

/// The Python package index that the environment names, if it names one.
pub(crate) fn index_url() -> Option<String> {
    ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
}

/// Runs a command and gives its output; what it wrote to stderr is in the error.
pub(crate) fn read(cmd: Cmd<'_>) -> Result<String> {
    let shown = cmd.to_string();
    let output = cmd.quiet().ignore_status().output()?;
    anyhow::ensure!(
        output.status.success(),
        "`{shown}` failed\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8(output.stdout)?)
}
