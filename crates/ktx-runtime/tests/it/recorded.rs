//! What a manifest records is handed on, and only if it is this version's.

use fs_err as fs;
use ktx_runtime::{RuntimeError, recorded};

use crate::support::World;

#[tokio::test]
async fn hands_on_what_is_recorded_without_looking_at_it() {
    let world = World::new();
    let installed = world.install().await.unwrap();
    assert!(!installed.layout.venv_dir.exists());
    let (layout, manifest) = recorded(&world.layout()).unwrap();
    assert_eq!(layout, installed.layout);
    assert_eq!(manifest, installed.manifest);
}

#[tokio::test]
async fn says_why_there_is_nothing_to_hand_on() {
    let world = World::new();
    let path = world.layout().manifest_path;
    let refused = || recorded(&world.layout()).unwrap_err();
    let error = refused();
    assert_eq!(error.code().as_str(), "KTX_RUNTIME_MISSING");
    insta::assert_snapshot!(world.filtered(&error.to_string()), @"No runtime manifest at [world]/runtime/0.2.0/manifest.json");

    world.install().await.unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        whole.replace("\"cliVersion\": \"0.2.0\"", "\"cliVersion\": \"0.1.0\""),
    )
    .unwrap();
    insta::assert_snapshot!(refused(), @"Runtime is for CLI 0.1.0, current CLI is 0.2.0");
    fs::write(&path, "{").unwrap();
    assert!(matches!(refused(), RuntimeError::Missing { .. }));
    fs::write(&path, whole.replace("bin/ktx-daemon", "bin/sh")).unwrap();
    insta::assert_snapshot!(world.filtered(&refused().to_string()), @"Runtime manifest is invalid: `[world]/runtime/0.2.0/manifest.json` names `[world]/runtime/0.2.0/.venv/bin/sh`, which is not of this runtime");
    fs::write(
        &path,
        whole.replace("runtime/0.2.0/.venv/", "elsewhere/.venv/"),
    )
    .unwrap();
    insta::assert_snapshot!(world.filtered(&refused().to_string()), @"Runtime manifest is invalid: `[world]/runtime/0.2.0/manifest.json` names `[world]/elsewhere/.venv/bin/python`, which is not of this runtime");
    let newer = whole.replacen("\"schemaVersion\": 1", "\"schemaVersion\": 2", 1);
    fs::write(&path, newer).unwrap();
    assert!(matches!(refused(), RuntimeError::Newer { .. }));
}
