//! A project's page in a package index: its media type in the first line, then
//! the page.
#![no_main]

use ktx_env::bootstrap::BootstrapError;
use ktx_env::fuzzing::find_file;
use libfuzzer_sys::fuzz_target;

const FILE: &str = "uv-1.0-py3-none-any.whl";
const URL: &str = "https://index.example/simple/uv/";

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let (content_type, page) = bytes.split_at(end.unwrap_or(0));
    let content_type = String::from_utf8_lossy(content_type);
    let url = URL.parse().expect("it is an address");
    match find_file(page, &content_type, &url, FILE) {
        Ok(found) => assert!(matches!(found.scheme(), "http" | "https"), "{found}"),
        Err(BootstrapError::NotAnIndex { .. } | BootstrapError::FileNotListed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
});
