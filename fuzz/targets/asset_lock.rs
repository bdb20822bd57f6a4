//! The dependency lock of the asset.
#![no_main]

use ktx_asset::{Feature, Lock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(lock) = Lock::parse(bytes) else { return };
    // What uv is given are requirements with hashes, and no other option.
    for line in lock.requirements(&Feature::ALL).lines() {
        let is_hash = line.trim_start().starts_with("--hash=sha256:");
        let options = line.split_whitespace().filter(|it| it.starts_with('-'));
        assert_eq!(options.count(), usize::from(is_hash), "{line}");
        assert!(is_hash || line.contains("=="), "{line}");
    }
    let _ = lock.packages(&Feature::ALL);
});
