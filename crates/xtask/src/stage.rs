//! This machine's platform package as a directory below `target/ktx/npm`, for whatever loads the
//! addon from the checkout.
//!
//! Every file is replaced whole and only when its content changes: a program may have the addon
//! loaded from here while it is built again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::package::{ASSET_DIR, Package};
use crate::policy::{Platform, Policy};
use crate::{repo, say};

/// The staged directory of this machine's platform package.
pub(crate) fn platform_dir() -> Result<PathBuf> {
    let policy = Policy::load()?;
    let host = policy.host()?;
    Ok(dir_of(&policy.platform_package(host)))
}

/// Stages this machine's platform package, and makes it loadable in the checkout.
pub(crate) fn stage(policy: &Policy, package: &Package) -> Result<()> {
    say::step("Staging the platform package");
    let dir = dir_of(&package.name);
    for (name, file) in &package.files {
        let path = dir.join(name);
        fs_err::create_dir_all(path.parent().context("A staged file is in a directory")?)?;
        place(&path, &file.content)?;
    }
    remove_others(&dir.join(ASSET_DIR), package)?;
    ktx_asset::verify(&dir.join(ASSET_DIR))?;
    link_into_checkout(policy, policy.host()?, &dir)
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
    make_readable(path)
}

/// Temporary files are the user's alone; these are read by others too.
fn make_readable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = path;
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

/// Removes what an earlier version left in the asset.
fn remove_others(dir: &Path, package: &Package) -> Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{ASSET_DIR}/{}", entry.file_name().to_string_lossy());
        if !package.files.contains_key(&name) {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn dir_of(package: &str) -> PathBuf {
    let name = package.rsplit('/').next().unwrap_or(package);
    repo::output_dir().join("npm").join(name)
}
