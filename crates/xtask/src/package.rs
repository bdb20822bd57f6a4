//! The npm packages as values: every file with its mode and bytes, and the tarball that holds
//! exactly these.
//!
//! npm would pack the same files into other bytes with every version of the zlib in Node, and with
//! the modes that the machine's umask gives; here both are fixed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value, json};

use crate::policy::{Names, Platform, Policy};
use crate::{addon, lock, manifest, repo, tools};

/// Where the files of the asset are in a platform's package.
pub(crate) const ASSET_DIR: &str = "python";
/// The time of every packed file, which is the one that npm writes.
const FILE_TIME: u64 = 499_162_500;
/// The gzip header's word for a system that is not named.
const NO_SYSTEM: u8 = 255;
const SOURCE_DIR: &str = "npm/ktx";

/// One npm package.
pub(crate) struct Package {
    pub(crate) name: String,
    /// By path, with `/` between directories.
    pub(crate) files: BTreeMap<String, File>,
}

/// One file of a package.
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    /// Whether it is started as a program.
    pub(crate) is_program: bool,
}

impl Package {
    /// A platform's package, from its addon and its wheel.
    pub(crate) fn platform(
        policy: &Policy,
        platform: &Platform,
        addon_path: &Path,
        wheel_path: &Path,
    ) -> Result<Self> {
        let lock_path = repo::path(lock::PATH);
        let wheel_name = wheel_path.file_name().context("A wheel has a name")?;
        let in_asset = |name: &str| format!("{ASSET_DIR}/{name}");
        let mut package = Self::new(policy.platform_package(platform))?;
        package.add(addon::FILE_NAME, fs_err::read(addon_path)?);
        package.add(
            &in_asset(&wheel_name.to_string_lossy()),
            fs_err::read(wheel_path)?,
        );
        package.add(&in_asset(lock::FILE_NAME), fs_err::read(&lock_path)?);
        package.add(
            &in_asset(ktx_asset::MANIFEST_FILE),
            manifest::describe(wheel_path, &lock_path)?.into_bytes(),
        );
        package.add(
            "package.json",
            to_json(&platform_manifest(policy, platform))?,
        );
        package.add("README.md", platform_readme(policy, platform).into_bytes());
        Ok(package)
    }

    /// The package that people install, built from its sources, for the platforms that are published
    /// with it: yarn does not install a package that names others, optional or not.
    pub(crate) fn root(policy: &Policy, platforms: &[&Platform]) -> Result<Self> {
        tools::ensure_node_modules()?;
        let sh = tools::shell()?;
        tools::npm(&sh)
            .args(["run", "--silent", "build"])
            .quiet()
            .run()?;
        Self::root_from(policy, platforms, &repo::path(SOURCE_DIR))
    }

    /// The package that people install, as it was built in a directory.
    pub(crate) fn root_from(
        policy: &Policy,
        platforms: &[&Platform],
        source_dir: &Path,
    ) -> Result<Self> {
        let names = Names::of(policy)?;
        let sources: Map<String, Value> = serde_json::from_str(
            &names.in_text(&fs_err::read_to_string(source_dir.join("package.json"))?),
        )?;
        let mut package = Self::new(policy.root_package())?;
        let dirs = sources
            .get("files")
            .and_then(Value::as_array)
            .with_context(|| format!("`{SOURCE_DIR}/package.json` has no `files`"))?;
        for dir in dirs.iter().filter_map(Value::as_str) {
            package.add_tree(&source_dir.join(dir), dir)?;
        }
        let readme = names.in_text(&fs_err::read_to_string(repo::path("README.md"))?);
        package.add("README.md", readme.into_bytes());
        for program in programs(&sources) {
            package
                .files
                .get_mut(&program)
                .with_context(|| format!("`bin` names `{program}`, which is not there"))?
                .is_program = true;
        }
        let published = Value::Object(root_manifest(policy, platforms, sources));
        package.add("package.json", to_json(&published)?);
        Ok(package)
    }

    /// A package with nothing but the licence.
    fn new(name: String) -> Result<Self> {
        let mut package = Self {
            name,
            files: BTreeMap::new(),
        };
        package.add("LICENSE", fs_err::read(repo::path("LICENSE"))?);
        Ok(package)
    }

    fn add(&mut self, name: &str, content: Vec<u8>) {
        let file = File {
            content,
            is_program: false,
        };
        self.files.insert(name.to_owned(), file);
    }

    fn add_tree(&mut self, path: &Path, name: &str) -> Result<()> {
        if !path.is_dir() {
            self.add(name, fs_err::read(path)?);
            return Ok(());
        }
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            let child = format!("{name}/{}", entry.file_name().to_string_lossy());
            self.add_tree(&entry.path(), &child)?;
        }
        Ok(())
    }

    /// The tarball; the same files give the same bytes on every machine.
    pub(crate) fn tarball(&self) -> Result<Vec<u8>> {
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(NO_SYSTEM)
            .write(Vec::new(), Compression::best());
        let mut archive = tar::Builder::new(gzip);
        // First what readers look for first.
        let (first, rest): (Vec<_>, Vec<_>) = self
            .files
            .iter()
            .partition(|(name, _)| *name == "package.json");
        for (name, file) in first.into_iter().chain(rest) {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(if file.is_program { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(FILE_TIME);
            header.set_size(file.content.len() as u64);
            header.set_path(format!("package/{name}"))?;
            header.set_cksum();
            archive.append(&header, &file.content[..])?;
        }
        Ok(archive.into_inner()?.finish()?)
    }
}

/// The file name that npm gives a package's tarball: the scope without its mark, then the name.
pub(crate) fn file_name(package: &str) -> String {
    let name = package.trim_start_matches('@').replace('/', "-");
    format!("{name}-{}.tgz", repo::VERSION)
}

/// What is published is what people need: no scripts that could run, no development tools.
fn root_manifest(
    policy: &Policy,
    platforms: &[&Platform],
    mut manifest: Map<String, Value>,
) -> Map<String, Value> {
    for key in ["scripts", "devDependencies", "private"] {
        manifest.shift_remove(key);
    }
    let platforms: Map<String, Value> = platforms
        .iter()
        .map(|platform| {
            (
                policy.platform_package(platform),
                Value::from(repo::VERSION),
            )
        })
        .collect();
    manifest.insert("name".into(), policy.root_package().into());
    manifest.insert("version".into(), repo::VERSION.into());
    manifest.insert("optionalDependencies".into(), platforms.into());
    manifest.insert(
        "publishConfig".into(),
        json!({ "access": policy.access.name() }),
    );
    manifest
}

fn platform_manifest(policy: &Policy, platform: &Platform) -> Value {
    let mut manifest = json!({
        "name": policy.platform_package(platform),
        "version": repo::VERSION,
        "description": format!("The part of {} that is made for {}", policy.root_package(), platform.id),
        "license": "Apache-2.0",
        "repository": { "type": "git", "url": format!("git+{}", policy.repository) },
        "os": [platform.os],
        "cpu": [platform.cpu],
        "main": addon::FILE_NAME,
        "files": [addon::FILE_NAME, ASSET_DIR],
        "preferUnplugged": true,
        "publishConfig": { "access": policy.access.name() },
    });
    if let Some(libc) = &platform.libc {
        manifest["libc"] = json!([libc]);
    }
    manifest
}

fn platform_readme(policy: &Policy, platform: &Platform) -> String {
    let root = policy.root_package();
    format!(
        "# {}\n\nThe native addon and the Python wheel of [{root}](https://www.npmjs.com/package/{root}) for {}.\n\
         It is installed with {root} and is of no use without it.\n",
        policy.platform_package(platform),
        platform.id
    )
}

/// The files that `bin` names.
fn programs(manifest: &Map<String, Value>) -> Vec<String> {
    let bin = manifest.get("bin").and_then(Value::as_object);
    bin.into_iter()
        .flat_map(Map::values)
        .filter_map(Value::as_str)
        .map(|path| path.trim_start_matches("./").to_owned())
        .collect()
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    Ok((serde_json::to_string_pretty(value)? + "\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use flate2::read::GzDecoder;
    use serde_json::{Map, json};

    use super::{File, Package, platform_manifest, platform_readme, root_manifest, to_json};
    use crate::policy::{Names, Policy};
    use crate::repo;

    fn package(names: &[&str]) -> Package {
        let mut package = Package {
            name: "@scope/sample".to_owned(),
            files: BTreeMap::new(),
        };
        for name in names {
            let file = File {
                content: name.repeat(1000).into_bytes(),
                is_program: *name == "dist/b.cjs",
            };
            package.files.insert((*name).to_owned(), file);
        }
        package
    }

    #[test]
    fn packs_the_same_bytes_whatever_order_files_come_in() {
        let names = ["README.md", "dist/b.cjs", "package.json", "dist/a.js"];
        let mut reversed = names;
        reversed.reverse();
        assert_eq!(
            package(&names).tarball().unwrap(),
            package(&reversed).tarball().unwrap()
        );
    }

    #[test]
    fn names_the_platforms_that_are_published_and_no_others() {
        let policy = Policy::load().unwrap();
        let host = policy.host().unwrap();
        let manifest = root_manifest(&policy, &[host], Map::new());
        assert_eq!(
            manifest["optionalDependencies"],
            json!({ policy.platform_package(host): crate::repo::VERSION })
        );
    }

    #[test]
    fn has_the_name_that_the_policy_states_and_no_other() {
        let current = Policy::load().unwrap();
        let mut policy = Policy::load().unwrap();
        policy.scope = "@renamed".to_owned();
        let names = Names::of(&policy).unwrap();
        let text_of = |path| names.in_text(&fs_err::read_to_string(repo::path(path)).unwrap());
        let sources = serde_json::from_str(&text_of("npm/ktx/package.json")).unwrap();
        let platforms: Vec<_> = policy.platforms.iter().collect();
        let mut texts = vec![
            to_json(&root_manifest(&policy, &platforms, sources).into()).unwrap(),
            text_of("README.md").into_bytes(),
        ];
        for platform in platforms {
            texts.push(to_json(&platform_manifest(&policy, platform)).unwrap());
            texts.push(platform_readme(&policy, platform).into_bytes());
        }
        for text in texts {
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(&policy.root_package()), "{text}");
            assert!(!text.contains(&current.scope), "{text}");
        }
    }

    #[test]
    fn states_nothing_of_the_machine_that_packs() {
        let tarball = package(&["dist/b.cjs", "package.json"]).tarball().unwrap();
        // No time, no name, no system (RFC 1952).
        assert_eq!(tarball[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
        let mut unpacked = Vec::new();
        GzDecoder::new(&tarball[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        let mut archive = tar::Archive::new(&unpacked[..]);
        let headers: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = header.path().unwrap().display().to_string();
                let owner = (header.uid().unwrap(), header.gid().unwrap());
                (path, header.mode().unwrap(), owner, header.mtime().unwrap())
            })
            .collect();
        let time = super::FILE_TIME;
        assert_eq!(
            headers,
            [
                ("package/package.json".to_owned(), 0o644, (0, 0), time),
                ("package/dist/b.cjs".to_owned(), 0o755, (0, 0), time),
            ]
        );
    }
}
