//! The records of an installed wheel: the name of their directory in the first
//! line, then `RECORD`.
#![no_main]

use ktx_env::fuzzing::installed;
use ktx_fuzz::{DIRECTORY, write};
use libfuzzer_sys::fuzz_target;

const SITE_PACKAGES: &str = "lib/python3.11/site-packages";

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (name, record) = bytes.split_at(end);
    let name = String::from_utf8_lossy(name).replace(['/', '\0'], "");
    // Longer names than these no file system has.
    if name.len() > 200 {
        return;
    }
    write(&format!("{SITE_PACKAGES}/package.py"), b"pass\n");
    let record = write(&format!("{SITE_PACKAGES}/{name}.dist-info/RECORD"), record);
    let seen = installed(&DIRECTORY);
    let directory = record.parent().expect("it is in a directory");
    fs_err::remove_dir_all(directory).expect("it can be removed");
    match seen {
        Ok(packages) => assert_eq!(packages.len(), 1),
        Err(reason) => assert!(!reason.is_empty()),
    }
});
