//! The manifest of the asset, as it is read from an npm package.
#![no_main]

use ktx_asset::{AssetError, AssetManifest, MANIFEST_FILE, verify};
use ktx_fuzz::{DIRECTORY, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = write(MANIFEST_FILE, bytes);
    match AssetManifest::read(&DIRECTORY) {
        Ok(manifest) => {
            let names = [Some(&manifest.wheel), manifest.lock.as_ref()];
            for record in names.into_iter().flatten() {
                let joined = DIRECTORY.join(&record.file);
                assert_eq!(joined.parent(), Some(DIRECTORY.as_path()));
            }
            // Neither a wheel nor a lock is there but what the manifest is.
            assert!(verify(&DIRECTORY).is_err());
        }
        Err(AssetError::UnsafeName { .. }) => {}
        Err(error) => {
            let message = error.to_string();
            assert!(message.contains(&*path.to_string_lossy()), "{message}");
        }
    }
});
