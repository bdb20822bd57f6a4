//! Installations with a replaced executor and a minimal asset: what is run,
//! what is written, and what is left after a failure. Installations with a
//! real uv are tested on the packed packages.

use fs_err as fs;
use ktx_asset::Feature;
use ktx_runtime::{InstallStatus, StatusKind, install};

use crate::support::{World, plant_executables};

#[tokio::test]
async fn runs_three_commands_and_believes_their_outcome() {
    let world = World::new();
    let installed = world.install().await.unwrap();
    assert_eq!(installed.status, InstallStatus::Installed);
    let commands = world.filtered(&world.executor.commands.lock().unwrap().join("\n"));
    insta::assert_snapshot!(commands, @r"
    uv --version
    uv venv [world]/runtime/0.2.0/.venv
    uv pip install --python [world]/runtime/0.2.0/.venv/bin/python [world]/asset/kaelio_ktx-0.1.0-py3-none-any.whl
    ");
    assert_eq!(world.version_dir_names(), ["install.log", "manifest.json"]);
    assert_eq!(
        crate::support::names(world.path("")),
        ["asset", "runtime", "runtime.lock"]
    );
}

#[tokio::test]
async fn names_extras_of_the_wheel() {
    let world = World::new();
    let installation = ktx_runtime::Install {
        features: vec![Feature::LocalEmbeddings],
        ..world.installation()
    };
    let installed = install(installation).await.unwrap();
    assert_eq!(
        installed.manifest.features,
        [Feature::Core, Feature::LocalEmbeddings]
    );
    let commands = world.executor.commands.lock().unwrap();
    assert!(commands[2].ends_with(".whl[local-embeddings]"));
}

#[tokio::test]
async fn reuses_a_ready_runtime_without_running_anything() {
    let world = World::new();
    let first = world.install().await.unwrap();
    assert_eq!(world.status().await.kind, StatusKind::Broken);
    plant_executables(&first.layout);
    let second = world.install().await.unwrap();
    assert_eq!(second.status, InstallStatus::Ready);
    assert_eq!(second.manifest, first.manifest);
    assert_eq!(world.executor.commands.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn keeps_what_was_ready_and_the_log_when_a_rebuild_fails() {
    let world = World::new();
    let first = world.install().await.unwrap();
    plant_executables(&first.layout);
    *world.executor.fails.lock().unwrap() = Some("uv venv");
    let error = install(ktx_runtime::Install {
        force: true,
        ..world.installation()
    })
    .await
    .unwrap_err();
    insta::assert_snapshot!(
        world.filtered(&error.to_string()),
        @"Python runtime install failed: Cannot make the venv: bad python. Install log: [world]/runtime/0.2.0/install.log"
    );
    let log = fs::read_to_string(error.log_path().unwrap()).unwrap();
    assert!(log.contains("$ uv venv"));
    assert!(log.contains("creating\nbad python\n"));
    assert_eq!(world.status().await.kind, StatusKind::Ready);
    assert_eq!(
        world.version_dir_names(),
        [".venv", "install.log", "manifest.json"]
    );
}

#[tokio::test]
async fn builds_in_another_directory_and_removes_the_old_one_once_published() {
    let world = World::new();
    let first = world.install().await.unwrap();
    plant_executables(&first.layout);
    let second = install(ktx_runtime::Install {
        force: true,
        ..world.installation()
    })
    .await
    .unwrap();
    assert_ne!(second.layout.venv_dir, first.layout.venv_dir);
    assert_eq!(second.manifest.python.executable, second.layout.python_path);
    assert_eq!(world.version_dir_names(), ["install.log", "manifest.json"]);
}

#[tokio::test]
async fn keeps_an_environment_that_is_in_use() {
    let world = World::new();
    let first = world.install().await.unwrap();
    plant_executables(&first.layout);
    let lease = fs::File::create(first.layout.venv_dir.join(".ktx-lease")).unwrap();
    lease.file().lock_shared().unwrap();
    install(ktx_runtime::Install {
        force: true,
        ..world.installation()
    })
    .await
    .unwrap();
    assert!(first.layout.python_path.exists());
}

#[tokio::test]
async fn heals_whatever_the_manifest_has_become() {
    let world = World::new();
    let installed = world.install().await.unwrap();
    plant_executables(&installed.layout);
    let path = &installed.layout.manifest_path;
    let manifest = fs::read_to_string(path).unwrap();
    for length in (0..manifest.trim_end().len()).step_by(7) {
        fs::write(path, &manifest[..length]).unwrap();
        assert_eq!(
            world.status().await.kind,
            StatusKind::Broken,
            "truncated at {length}"
        );
    }
    assert_eq!(
        world.install().await.unwrap().status,
        InstallStatus::Installed
    );
}

#[tokio::test]
async fn leaves_a_newer_manifest_alone_unless_forced() {
    let world = World::new();
    let installed = world.install().await.unwrap();
    let path = &installed.layout.manifest_path;
    let newer = fs::read_to_string(path)
        .unwrap()
        .replace("\"schemaVersion\": 1", "\"schemaVersion\": 2");
    fs::write(path, &newer).unwrap();
    assert_eq!(world.status().await.kind, StatusKind::Mismatched);
    let error = world.install().await.unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_RUNTIME_NEWER");
    assert_eq!(fs::read_to_string(path).unwrap(), newer);
    install(ktx_runtime::Install {
        force: true,
        ..world.installation()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn reports_a_runtime_of_another_version() {
    let world = World::new();
    let installed = world.install().await.unwrap();
    let path = &installed.layout.manifest_path;
    let other = fs::read_to_string(path)
        .unwrap()
        .replace("\"cliVersion\": \"0.2.0\"", "\"cliVersion\": \"0.1.0\"");
    fs::write(path, other).unwrap();
    let status = world.status().await;
    assert_eq!(status.kind, StatusKind::Mismatched);
    insta::assert_snapshot!(status.detail, @"Runtime is for CLI 0.1.0, current CLI is 0.2.0");
}

#[cfg(unix)]
#[tokio::test]
async fn refuses_a_root_that_others_can_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    fs::create_dir(world.path("runtime")).unwrap();
    fs::set_permissions(world.path("runtime"), PermissionsExt::from_mode(0o777)).unwrap();
    let error = world.install().await.unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_ROOT_UNSAFE");
    insta::assert_snapshot!(
        world.filtered(&error.to_string()),
        @"Refusing to write to `[world]/runtime`: every user may write to it"
    );
}

#[tokio::test]
async fn undoes_a_cancelled_installation() {
    let world = World::new();
    let installation = world.installation();
    let cancellation = installation.cancellation.clone();
    let listener = move |event: ktx_env::Event| {
        if event.preset == "packages" {
            cancellation.cancel();
        }
    };
    let error = install(ktx_runtime::Install {
        listener: std::sync::Arc::new(listener),
        ..installation
    })
    .await
    .unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_ABORTED");
    assert_eq!(world.version_dir_names(), ["install.log"]);
}
