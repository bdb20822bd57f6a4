//! `cargo xtask manifest`: the asset manifest, which names and hashes the wheel and its lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ktx_asset::{AssetManifest, Feature, FileRecord, Probe, SCHEMA_VERSION};
use serde_json::Map;

use crate::policy::Policy;
use crate::{artifact, digest, dist, lock, repo, say, stage, wheel};

#[derive(Args)]
pub(crate) struct Options {
    /// The asset directory, which holds one wheel and `requirements.lock` [default: the staged one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Fail if the manifest that is there is another; write nothing
    #[arg(long)]
    check: bool,
    /// Verify what a release made, by the release's own manifest [default: dist]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dir", "check"])]
    #[expect(
        clippy::option_option,
        reason = "the flag and its value are both optional"
    )]
    verify: Option<Option<PathBuf>>,
}

/// Writes or checks the manifest of an asset directory.
pub(crate) fn run(options: &Options) -> Result<()> {
    if let Some(dir) = &options.verify {
        let dir = dir.clone().unwrap_or_else(|| repo::path(dist::DIR));
        let manifest = dist::verify(&Policy::load()?, &dir)?;
        say::result(&format!("{}: {manifest}", repo::shown(&dir)));
        return Ok(());
    }
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => stage::platform_dir()?.join("python"),
    };
    let wheel_path = find_wheel(&dir)?;
    let text = describe(&wheel_path, &dir.join(lock::FILE_NAME))?;
    let path = dir.join(ktx_asset::MANIFEST_FILE);
    if options.check {
        ensure!(
            fs_err::read_to_string(&path)? == text,
            "`{}` does not describe the files beside it; write it with `cargo xtask manifest`",
            repo::shown(&path)
        );
        ktx_asset::verify(&dir)?;
    } else {
        fs_err::write(&path, text)?;
    }
    say::result(&repo::shown(&path));
    Ok(())
}

/// The manifest of a wheel and a lock, as JSON.
pub(crate) fn describe(wheel_path: &Path, lock_path: &Path) -> Result<String> {
    let metadata = artifact::Metadata::read(wheel_path)?;
    let imports = BTreeMap::from([
        (Feature::Core, names(&["ktx_daemon", "msgpack"])),
        (
            Feature::LocalEmbeddings,
            names(&["numpy", "onnxruntime", "tokenizers"]),
        ),
    ]);
    let manifest = AssetManifest {
        schema_version: SCHEMA_VERSION,
        distribution_name: metadata.name,
        normalized_name: artifact::NORMALIZED.to_owned(),
        version: metadata.version,
        wheel: record(wheel_path)?,
        requires_python: Some(metadata.requires_python),
        lock: Some(record(lock_path)?),
        probe: Some(Probe { imports }),
        other: Map::new(),
    };
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

fn find_wheel(dir: &Path) -> Result<PathBuf> {
    let mut wheels = wheel::in_dir(dir)?;
    let found = wheels.len();
    ensure!(
        found == 1,
        "`{}` holds {found} wheels; expected one",
        repo::shown(dir)
    );
    wheels.pop().context("A wheel was found")
}

fn record(path: &Path) -> Result<FileRecord> {
    let digested = digest::of_file(path)?;
    let file = path
        .file_name()
        .context("A file has a name")?
        .to_string_lossy()
        .into_owned();
    Ok(FileRecord {
        file,
        sha256: digested.sha256,
        bytes: digested.bytes,
        other: Map::new(),
    })
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
