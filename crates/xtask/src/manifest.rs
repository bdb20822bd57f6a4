//! `cargo xtask manifest`: the asset manifest, which names and hashes the wheel and its lock.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use ktx_asset::{AssetManifest, Feature, FileRecord, Probe, SCHEMA_VERSION};
use serde_json::Map;

use crate::{digest, lock, repo, say, stage, version};

#[derive(Args)]
pub(crate) struct Options {
    /// The asset directory, which holds one wheel and `requirements.lock` [default: the staged one]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Fail if the manifest that is there is another; write nothing
    #[arg(long)]
    check: bool,
}

/// Writes or checks the manifest of an asset directory.
pub(crate) fn run(options: &Options) -> Result<()> {
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
    let metadata = Metadata::read(wheel_path)?;
    let expected = version::pep440(repo::VERSION)?;
    ensure!(
        metadata.name == "kaelio-ktx",
        "The wheel is `{}`, not `kaelio-ktx`",
        metadata.name
    );
    ensure!(
        metadata.version == expected,
        "The wheel's version is {}; expected {expected}",
        metadata.version
    );
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
        normalized_name: "kaelio_ktx".to_owned(),
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
    let mut wheels = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
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

/// What the wheel says of itself (the core metadata of the Python packaging specifications).
struct Metadata {
    name: String,
    version: String,
    requires_python: String,
}

impl Metadata {
    fn read(wheel_path: &Path) -> Result<Self> {
        let mut archive = zip::ZipArchive::new(fs_err::File::open(wheel_path)?)?;
        let entry = archive
            .file_names()
            .filter_map(Result::ok)
            .find(|name| name.ends_with(".dist-info/METADATA"))
            .context("The wheel has no METADATA")?
            .into_owned();
        let mut text = String::new();
        archive.by_name(&entry)?.read_to_string(&mut text)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let headers = text.split("\n\n").next().unwrap_or_default();
        let header = |name: &str| {
            headers
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("The wheel's METADATA has no `{name}`"))
        };
        Ok(Self {
            name: header("Name")?,
            version: header("Version")?,
            requires_python: header("Requires-Python")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Metadata;

    #[test]
    fn reads_headers_and_not_the_description() {
        let text =
            "Metadata-Version: 2.4\nName: kaelio-ktx\nVersion: 0.1.0\n\nRequires-Python: >=2\n";
        let error = Metadata::parse(text).err().unwrap().to_string();
        assert!(error.contains("Requires-Python"), "{error}");
    }
}
