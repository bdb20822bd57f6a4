//! What a worker writes to its supervisor.
#![no_main]

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use ktx_daemon::channel::Channel;
use ktx_daemon::outcome::from_report;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

/// Shorter than what is tried, so that frames are on both sides of it.
const LONGEST: u64 = 512;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("the system has room for a runtime")
});

fuzz_target!(|bytes: &[u8]| {
    RUNTIME.block_on(async {
        let (mut channel, worker) = Channel::new().expect("the system has room for a socket");
        drop(worker.input);
        let mut report = UnixStream::from(worker.report);
        report.write_all(bytes).expect("a socket holds that much");
        drop(report);
        while let Ok(frame) = channel.receive(LONGEST).await {
            assert!(frame.field(0).len() as u64 <= LONGEST);
            let _ = from_report(frame);
        }
    });
});
