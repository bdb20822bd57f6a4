//! The manifest of an installed runtime.
#![no_main]

use std::sync::LazyLock;

use ktx_fuzz::{DIRECTORY, write};
use ktx_os::environment::Environment;
use ktx_runtime::{Layout, LayoutOptions, Platform, recorded};
use libfuzzer_sys::fuzz_target;

const VERSION: &str = "0.1.0";
const MANIFEST: &str = "0.1.0/manifest.json";

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    Layout::new(&LayoutOptions {
        cli_version: VERSION.to_owned(),
        platform: Platform::HOST,
        environment: Environment::default(),
        home_dir: None,
        runtime_root: Some(DIRECTORY.to_string_lossy().into_owned()),
        asset_dir: None,
        default_asset_dir: None,
    })
    .expect("the root is given")
});

fuzz_target!(|bytes: &[u8]| {
    let path = write(MANIFEST, bytes);
    match recorded(&LAYOUT) {
        Ok((layout, manifest)) => {
            // What is run is in an environment of this runtime.
            assert!(layout.venv_dir.starts_with(&LAYOUT.version_dir));
            assert_eq!(manifest.python.executable, layout.python_path);
            assert_eq!(manifest.python.daemon_executable, layout.daemon_path);
            let again = serde_json::to_vec(&manifest).expect("a manifest can be written");
            fs_err::write(&path, again).expect("the system has room for a file");
            let (_, same) = recorded(&LAYOUT).expect("what was written can be read");
            assert_eq!(same, manifest);
        }
        Err(error) => {
            let message = error.to_string();
            let knows_place = message.contains(&*path.to_string_lossy());
            assert!(knows_place || message.contains("for CLI"), "{message}");
        }
    }
});
