//! The asset: what the npm package carries for Python. One wheel, the lock of
//! its dependencies, and `manifest.json` that names and hashes both.
//!
//! Nothing of the asset is used before it is verified: [`verify`] reads the
//! manifest and hashes what it names, and [`Asset::copy_to`] hashes the very
//! bytes that it copies.

mod digest;
mod error;
mod feature;
mod lock;
mod manifest;

pub use digest::{Digest, hash};
pub use error::AssetError;
pub use feature::{Feature, UnknownFeature};
pub use lock::{Lock, LockSyntaxError, LockedPackage, normalize_name};
pub use manifest::{AssetManifest, FileRecord, MANIFEST_FILE, Probe, SCHEMA_VERSION};

use std::path::{Path, PathBuf};

/// An asset whose every file had, when it was read, the size and the sha256
/// that its manifest names.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The manifest.
    pub manifest: AssetManifest,
    /// The directory it was read from.
    pub directory: PathBuf,
}

impl Asset {
    /// The wheel in the asset directory.
    pub fn wheel_path(&self) -> PathBuf {
        self.directory.join(&self.manifest.wheel.file)
    }

    /// Copies the wheel, and the lock if there is one, into `directory`; each
    /// copy is verified while it is made, so a file that was exchanged after
    /// [`verify`] is refused. Returns the copied wheel and the lock.
    pub fn copy_to(&self, directory: &Path) -> Result<(PathBuf, Option<Lock>), AssetError> {
        let wheel = directory.join(&self.manifest.wheel.file);
        let mut copy = fs_err::File::create_new(&wheel).map_err(AssetError::copy(&wheel))?;
        self.manifest
            .wheel
            .verify(&self.directory, &mut copy)
            .inspect_err(|_| {
                // The attempt fails with the first error; the copy goes with
                // the directory it is in.
                let _ = fs_err::remove_file(&wheel);
            })?;
        Ok((wheel, self.read_lock()?))
    }

    /// The dependency lock, verified as it is read.
    pub fn read_lock(&self) -> Result<Option<Lock>, AssetError> {
        let Some(record) = &self.manifest.lock else {
            return Ok(None);
        };
        let mut text = Vec::new();
        record.verify(&self.directory, &mut text)?;
        let path = self.directory.join(&record.file);
        Lock::parse(&text)
            .map(Some)
            .map_err(|source| AssetError::Lock { path, source })
    }
}

/// Reads the asset in `directory` and verifies every file that it names.
///
/// # Errors
///
/// Tells a missing asset, an invalid manifest, a file name that leads outside
/// the asset and a file with other bytes apart.
pub fn verify(directory: &Path) -> Result<Asset, AssetError> {
    let manifest = AssetManifest::read(directory)?;
    let asset = Asset {
        manifest,
        directory: directory.to_owned(),
    };
    asset.manifest.wheel.verify(directory, std::io::sink())?;
    if let Some(lock) = &asset.manifest.lock {
        lock.verify(directory, std::io::sink())?;
    }
    Ok(asset)
}
