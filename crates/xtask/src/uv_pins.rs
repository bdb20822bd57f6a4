//! `cargo xtask uv-pins`: the wheel and the binary of the one uv that ktx fetches, per platform.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{self, Digested};
use crate::policy::{Platform, Policy, UvStrategy};
use crate::tools::PythonTools;
use crate::{repo, say};

const PINS: &str = "release/uv-pins.json";

#[derive(Args)]
pub(crate) struct Options {
    /// Compare the committed pins with the package index; write nothing
    #[arg(long)]
    check: bool,
}

/// `release/uv-pins.json`.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Pins {
    pub(crate) version: String,
    /// By platform id.
    pub(crate) platforms: Map<String, Value>,
}

#[derive(Serialize)]
struct Pin {
    file: String,
    #[serde(flatten)]
    wheel: Digested,
    binary: Binary,
}

#[derive(Serialize)]
struct Binary {
    path: String,
    #[serde(flatten)]
    content: Digested,
}

/// Writes or checks the pins.
pub(crate) fn run(options: &Options) -> Result<()> {
    let policy = Policy::load()?;
    let UvStrategy::PinnedWheel = policy.uv.strategy;
    say::step(&format!(
        "Reading uv {} from the package index",
        policy.uv.version
    ));
    let tools = PythonTools::ensure()?;
    let mut platforms = Map::new();
    for platform in &policy.platforms {
        let pin = pin(&tools, &policy.uv.version, platform)
            .with_context(|| format!("uv {} for {}", policy.uv.version, platform.id))?;
        say::detail(&format!("{}: {}", platform.id, pin.file));
        platforms.insert(platform.id.clone(), serde_json::to_value(pin)?);
    }
    let pins = Pins {
        version: policy.uv.version,
        platforms,
    };
    if options.check {
        ensure!(
            load()? == pins,
            "`{PINS}` is not what the index serves; write it with `cargo xtask uv-pins`"
        );
        say::result(&format!("{PINS} is what the index serves"));
        return Ok(());
    }
    fs_err::write(
        repo::path(PINS),
        serde_json::to_string_pretty(&pins)? + "\n",
    )?;
    say::result(PINS);
    Ok(())
}

/// The committed pins.
pub(crate) fn load() -> Result<Pins> {
    let text = fs_err::read_to_string(repo::path(PINS))?;
    serde_json::from_str(&text).with_context(|| format!("`{PINS}` is not valid"))
}

/// Fetches a platform's wheel; pip compares it with the digest that the index states.
fn pin(tools: &PythonTools, version: &str, platform: &Platform) -> Result<Pin> {
    let dir = tempfile::tempdir()?;
    let wanted = format!("uv=={version}");
    let path = tools.download(&platform.uv_wheel, dir.path(), &[wanted.as_ref()])?;
    describe(&path)
}

fn describe(wheel_path: &Path) -> Result<Pin> {
    let file = wheel_path
        .file_name()
        .context("A wheel has a name")?
        .to_string_lossy()
        .into_owned();
    let mut archive = zip::ZipArchive::new(fs_err::File::open(wheel_path)?)?;
    let path = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name.ends_with(".data/scripts/uv") || name.ends_with(".data/scripts/uv.exe"))
        .with_context(|| format!("`{file}` has no uv binary"))?
        .into_owned();
    let content = digest::of_reader(archive.by_name(&path)?)?;
    Ok(Pin {
        file,
        wheel: digest::of_file(wheel_path)?,
        binary: Binary { path, content },
    })
}
