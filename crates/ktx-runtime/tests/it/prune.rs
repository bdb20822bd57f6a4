//! What prune removes, and what it never touches.

use fs_err as fs;
use ktx_runtime::{DaemonPaths, prune};

use crate::support::{World, names};

#[test]
fn removes_other_versions_and_nothing_else() {
    let world = World::new();
    let root = world.path("runtime");
    for version in ["0.1.0", "0.2.0-rc.1", "0.2.0", "cache", "uv", "1.0"] {
        fs::create_dir_all(root.join(version).join(".venv")).unwrap();
    }
    fs::write(root.join("README.txt"), "not a runtime\n").unwrap();
    let preview = prune("0.2.0", &root, true).unwrap();
    assert_eq!(names(root.clone()).len(), 7);
    let pruned = prune("0.2.0", &root, false).unwrap();
    assert_eq!(pruned.stale, [root.join("0.1.0"), root.join("0.2.0-rc.1")]);
    assert_eq!(pruned.stale, preview.stale);
    assert_eq!(pruned.removed, pruned.stale);
    assert_eq!(pruned.kept, [root.join("0.2.0")]);
    assert_eq!(names(root), ["0.2.0", "1.0", "README.txt", "cache", "uv"]);
}

#[test]
fn keeps_a_version_that_is_in_use() {
    let world = World::new();
    let environment = world.path("runtime/0.1.0/.venv-abc");
    fs::create_dir_all(&environment).unwrap();
    let lease = fs::File::create(environment.join(".ktx-lease")).unwrap();
    lease.file().lock_shared().unwrap();
    let pruned = prune("0.2.0", &world.path("runtime"), false).unwrap();
    assert_eq!(pruned.kept, [world.path("runtime/0.1.0")]);
    drop(lease);
    let pruned = prune("0.2.0", &world.path("runtime"), false).unwrap();
    assert_eq!(pruned.removed, [world.path("runtime/0.1.0")]);
}

#[test]
fn removes_what_daemons_of_removed_versions_left_behind() {
    let world = World::new();
    let root = world.path("runtime");
    for version in ["0.1.0", "0.2.0"] {
        fs::create_dir_all(root.join(version).join(".venv")).unwrap();
    }
    let plant = |key: &str, version: &str| {
        let daemon = DaemonPaths::new(&root.join("daemons"), key);
        fs::create_dir_all(&daemon.directory).unwrap();
        fs::write(&daemon.log_path, "a line\n").unwrap();
        fs::write(&daemon.version_path, version).unwrap();
    };
    plant("00000000000000aa", "0.1.0");
    plant("00000000000000bb", "0.2.0");
    plant("00000000000000cc", "0.0.9");
    fs::create_dir_all(root.join("daemons/no daemon")).unwrap();
    prune("0.2.0", &root, true).unwrap();
    assert_eq!(names(root.join("daemons")).len(), 4);
    prune("0.2.0", &root, false).unwrap();
    let mut left = names(root.join("daemons"));
    left.retain(|name| !name.contains(".lock"));
    assert_eq!(left, ["00000000000000bb", "no daemon"]);
}

#[test]
fn keeps_a_daemon_whose_state_says_another_version_than_its_label() {
    let world = World::new();
    let root = world.path("runtime");
    fs::create_dir_all(root.join("0.2.0")).unwrap();
    let daemon = DaemonPaths::new(&root.join("daemons"), "00000000000000aa");
    fs::create_dir_all(&daemon.directory).unwrap();
    fs::write(&daemon.version_path, "0.2.1").unwrap();
    fs::write(&daemon.state_path, r#"{"version": "0.2.0"}"#).unwrap();
    prune("0.2.0", &root, false).unwrap();
    assert!(daemon.state_path.exists());
    fs::write(&daemon.state_path, "{").unwrap();
    prune("0.2.0", &root, false).unwrap();
    assert!(!daemon.directory.exists());
}

#[cfg(unix)]
#[test]
fn takes_the_one_lock_of_a_root_by_whatever_path() {
    let world = World::new();
    fs::create_dir(world.path("runtime")).unwrap();
    std::os::unix::fs::symlink(world.path("runtime"), world.path("link")).unwrap();
    for path in ["runtime", "link"] {
        prune("0.2.0", &world.path(path), false).unwrap();
    }
    assert_eq!(
        names(world.path("")),
        ["asset", "link", "runtime", "runtime.lock"]
    );
}

#[cfg(unix)]
#[test]
fn never_follows_a_link() {
    let world = World::new();
    fs::create_dir_all(world.path("home/precious")).unwrap();
    fs::create_dir_all(world.path("runtime/0.0.9/.venv")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), world.path("runtime/0.1.0")).unwrap();
    std::os::unix::fs::symlink(world.path("home"), world.path("runtime/0.0.9/.venv/home")).unwrap();
    let pruned = prune("0.2.0", &world.path("runtime"), false).unwrap();
    assert_eq!(pruned.removed, [world.path("runtime/0.0.9")]);
    assert!(world.path("home/precious").is_dir());
    assert!(world.path("runtime/0.1.0").is_symlink());
}

#[test]
fn finds_nothing_where_there_is_no_root() {
    let world = World::new();
    let pruned = prune("0.2.0", &world.path("runtime"), false).unwrap();
    assert!(pruned.stale.is_empty() && pruned.kept.is_empty());
    assert_eq!(names(world.path("")), ["asset"]);
}
