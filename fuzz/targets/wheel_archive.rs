//! The wheel that uv is taken from, as an archive.
#![no_main]

use ktx_env::bootstrap::{Binary, BootstrapError, Pin};
use ktx_env::fuzzing::unpack;
use ktx_fuzz::DIRECTORY;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|wheel: &[u8]| {
    // The digest is that of a file in no wheel: nothing gets as far as to the
    // disk for good.
    let pin = Pin {
        file: "uv.whl".to_owned(),
        sha256: String::new(),
        bytes: 0,
        binary: Binary {
            path: "uv-1/scripts/uv".to_owned(),
            sha256: String::new(),
            bytes: 16,
        },
    };
    match unpack(wheel, &pin, &DIRECTORY) {
        Err(BootstrapError::Archive { .. } | BootstrapError::Checksum { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(file) => panic!("{} passed for uv", file.path().display()),
    }
    let left = fs_err::read_dir(&*DIRECTORY).expect("it can be listed");
    assert_eq!(left.count(), 0);
});
