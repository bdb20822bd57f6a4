//! Tells the linker that Node provides the symbols of Node-API.

fn main() {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // There they are looked up when the addon is loaded, as with Microsoft's linker; what
    // `napi_build` does instead needs a library that Node does not come with.
    if is("CARGO_CFG_TARGET_OS", "windows") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    napi_build::setup();
}
