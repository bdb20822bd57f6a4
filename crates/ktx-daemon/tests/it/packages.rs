//! The package that workers need, in the environment of a test; those of
//! `ktx-service` include this file as well.

use std::path::Path;
use std::process::{Command, Stdio};

/// Installs the version that the lock names, with `KTX_TEST_UV` or the uv of
/// the machine, from its cache if it is there.
pub(crate) fn install_msgpack(python: &Path) {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../release/requirements.lock");
    let lock = fs_err::read_to_string(lock).unwrap();
    let package = lock.lines().find(|line| line.starts_with("msgpack=="));
    let package = package.unwrap().trim_end_matches([' ', '\\']);
    let uv = std::env::var_os("KTX_TEST_UV").unwrap_or_else(|| "uv".into());
    let install = |network: &[&str]| {
        let installed = Command::new(&uv)
            .args(["pip", "install", "--no-config", "--quiet", "--no-deps"])
            .args(network)
            .arg("--python")
            .arg(python)
            .arg(package)
            .stderr(Stdio::null())
            .status();
        let installed = installed.expect("KTX_TEST_UV names uv, or it is on PATH");
        installed.success()
    };
    let is_there = install(&["--offline"]) || install(&[]);
    assert!(is_there, "msgpack cannot be installed");
}
