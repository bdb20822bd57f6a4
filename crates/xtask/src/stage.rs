//! The package directories as they will be packed, below `target/ktx/npm`.
//!
//! Every file is replaced whole and only when its content changes: a program may have the addon
//! loaded from here while it is built again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::policy::{Names, Platform, Policy};
use crate::target::Target;
use crate::{addon, lock, manifest, repo, say, tools, wheel};

/// The staged directory of this machine's platform package.
pub(crate) fn platform_dir() -> Result<PathBuf> {
    let policy = Policy::load()?;
    let host = policy.host()?;
    Ok(dir_of(&policy.platform_package(host)))
}

/// Builds and stages this machine's platform package, and makes it loadable in the checkout.
pub(crate) fn stage_platform(policy: &Policy) -> Result<PathBuf> {
    let host = policy.host()?;
    let target = Target::native(policy)?;
    let wheel_path = wheel::build(&target)?;
    let addon = addon::build(&target)?;

    say::step("Staging the platform package");
    let dir = dir_of(&policy.platform_package(host));
    let python_dir = dir.join("python");
    fs_err::create_dir_all(&python_dir)?;
    let wheel_name = wheel_path.file_name().context("A wheel has a name")?;
    let lock_path = repo::path(lock::PATH);
    place(&python_dir.join(wheel_name), &fs_err::read(&wheel_path)?)?;
    place(
        &python_dir.join(lock::FILE_NAME),
        &fs_err::read(&lock_path)?,
    )?;
    place(
        &python_dir.join(ktx_asset::MANIFEST_FILE),
        manifest::describe(&wheel_path, &lock_path)?.as_bytes(),
    )?;
    place(&dir.join("ktx.node"), &fs_err::read(&addon.path)?)?;
    place(
        &dir.join("package.json"),
        &to_json(&platform_manifest(policy, host))?,
    )?;
    place(
        &dir.join("README.md"),
        platform_readme(policy, host).as_bytes(),
    )?;
    place(&dir.join("LICENSE"), &fs_err::read(repo::path("LICENSE"))?)?;
    let expected = [
        wheel_name.to_string_lossy().into_owned(),
        lock::FILE_NAME.into(),
        ktx_asset::MANIFEST_FILE.into(),
    ];
    remove_others(&python_dir, &expected)?;
    ktx_asset::verify(&python_dir)?;
    link_into_checkout(policy, host, &dir)?;
    Ok(dir)
}

/// Builds and stages the package that users install.
pub(crate) fn stage_root(policy: &Policy) -> Result<PathBuf> {
    say::step("Building the npm package");
    tools::ensure_node_modules()?;
    let sh = tools::shell()?;
    tools::npm(&sh)
        .args(["run", "--silent", "build"])
        .quiet()
        .run()?;

    let source_dir = repo::path("npm/ktx");
    let names = Names::of(policy)?;
    let manifest: Map<String, Value> = serde_json::from_str(
        &names.in_text(&fs_err::read_to_string(source_dir.join("package.json"))?),
    )?;
    let dir = dir_of(&policy.root_package());
    if dir.exists() {
        fs_err::remove_dir_all(&dir)?;
    }
    fs_err::create_dir_all(&dir)?;
    let files = manifest
        .get("files")
        .and_then(Value::as_array)
        .context("`npm/ktx/package.json` has no `files`")?;
    for name in files.iter().filter_map(Value::as_str) {
        copy_tree(&source_dir.join(name), &dir.join(name))?;
    }
    place(
        &dir.join("package.json"),
        &to_json(&Value::Object(root_manifest(policy, manifest)))?,
    )?;
    place(
        &dir.join("README.md"),
        names
            .in_text(&fs_err::read_to_string(repo::path("README.md"))?)
            .as_bytes(),
    )?;
    place(&dir.join("LICENSE"), &fs_err::read(repo::path("LICENSE"))?)?;
    Ok(dir)
}

/// What is published is what people need: no scripts that could run, no development tools.
fn root_manifest(policy: &Policy, mut manifest: Map<String, Value>) -> Map<String, Value> {
    for key in ["scripts", "devDependencies", "private"] {
        manifest.shift_remove(key);
    }
    let platforms: Map<String, Value> = policy
        .platforms
        .iter()
        .filter(|platform| platform.required)
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
        "repository": { "type": "git", "url": concat!("git+", env!("CARGO_PKG_REPOSITORY"), ".git") },
        "os": [platform.os],
        "cpu": [platform.cpu],
        "main": "ktx.node",
        "files": ["ktx.node", "python"],
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

/// Makes the loader's `require` of the platform package work in the checkout.
fn link_into_checkout(policy: &Policy, platform: &Platform, dir: &Path) -> Result<()> {
    let link_path = repo::path("node_modules").join(policy.platform_package(platform));
    if link_path.exists() && fs_err::canonicalize(&link_path)? == fs_err::canonicalize(dir)? {
        return Ok(());
    }
    fs_err::create_dir_all(link_path.parent().context("A package has a scope")?)?;
    if link_path.is_symlink() {
        fs_err::remove_file(&link_path)?;
    }
    let target = Path::new("../..").join(dir.strip_prefix(repo::root())?);
    #[cfg(unix)]
    fs_err::os::unix::fs::symlink(target, &link_path)?;
    #[cfg(windows)]
    fs_err::os::windows::fs::symlink_dir(target, &link_path)?;
    Ok(())
}

/// Replaces a file unless it already holds `content`.
fn place(path: &Path, content: &[u8]) -> Result<()> {
    if fs_err::read(path).is_ok_and(|current| current == content) {
        return Ok(());
    }
    let parent = path.parent().context("A staged file is in a directory")?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    std::io::Write::write_all(&mut file, content)?;
    file.persist(path)?;
    set_mode(path, content.starts_with(b"#!"))
}

/// Tarballs record modes, so they must not depend on the machine's umask.
fn set_mode(path: &Path, is_program: bool) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if is_program { 0o755 } else { 0o644 };
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = (path, is_program);
    Ok(())
}

/// Copies a file, or a directory with all that is in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs_err::create_dir_all(to)?;
        for entry in fs_err::read_dir(from)? {
            let name = entry?.file_name();
            copy_tree(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    place(to, &fs_err::read(from)?)
}

fn remove_others(dir: &Path, expected: &[String]) -> Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if !expected
            .iter()
            .any(|name| entry.file_name() == name.as_str())
        {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    Ok((serde_json::to_string_pretty(value)? + "\n").into_bytes())
}

fn dir_of(package: &str) -> PathBuf {
    let name = package.rsplit('/').next().unwrap_or(package);
    repo::output_dir().join("npm").join(name)
}
