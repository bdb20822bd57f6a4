//! What is written down of a daemon that runs.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use ktx_fuzz::{DIRECTORY, write};
use ktx_os::process::boot_id;
use ktx_service::{Daemons, Installation, Look, Place, Scope, status};
use libfuzzer_sys::fuzz_target;

const STATE: &str = "daemons/state.json";

/// What stands for the boot of this system in what is tried.
const BOOT: &str = "BOOT";

static DAEMONS: LazyLock<Daemons> = LazyLock::new(|| Daemons {
    directory: DIRECTORY.join("daemons"),
    // One place for whatever daemon is looked for.
    place: |directory, _| Place {
        directory: directory.to_owned(),
        state_path: directory.join("state.json"),
        log_path: directory.join("log"),
        version_path: directory.join("version"),
        lock_path: directory.join("lock"),
    },
});

fuzz_target!(|bytes: &[u8]| {
    let boot = boot_id().expect("the system was started");
    match std::str::from_utf8(bytes) {
        Ok(text) => write(STATE, text.replace(BOOT, boot).as_bytes()),
        Err(_) => write(STATE, bytes),
    };
    let installation = Installation {
        version: "0.1.0".to_owned(),
        wheel_sha256: "ab".repeat(32),
        features: vec!["core".to_owned()],
        environment: PathBuf::from("/env"),
        executable: PathBuf::from("/env/bin/ktx-daemon"),
    };
    let seen = status(&Look {
        daemons: &DAEMONS,
        version: "0.1.0",
        scope: &Scope::User,
        installation: Some(&installation),
        dialer: None,
    })
    .expect("the file can be read");
    if let Some(daemon) = seen.daemon {
        let text = serde_json::to_string(&daemon.state).expect("a state can be written");
        let again: ktx_service::State = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(again, daemon.state);
    }
});
