//! The line in which a daemon says where it listens.
#![no_main]

use ktx_protocol::startup::Ready;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    if let Ok(ready) = serde_json::from_str::<Ready>(line) {
        let text = serde_json::to_string(&ready).expect("it can be written");
        let again: Ready = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(again, ready);
    }
});
