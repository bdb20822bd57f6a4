//! Small libraries and programs for any platform, compiled from C by the linker of the releases.

use crate::artifact::Kind;
use crate::tools::{self, PythonTools};

/// What needs a C library.
const WITH_LIBC: &str = r#"
int puts(const char *);
void *napi_register_module_v1(void *env, void *exports) { puts("addon"); return exports; }
int main(void) { return puts("program") < 0; }
"#;
/// What needs nothing, as compiling a C library takes minutes.
const ALONE: &str = "
void *napi_register_module_v1(void *env, void *exports) { return exports; }
void _start(void) { for (;;); }
";
/// What needs a library of Windows.
const WINDOWS: &str = "
__declspec(dllimport) void ExitProcess(unsigned);
__declspec(dllexport) void *napi_register_module_v1(void *env, void *exports) {
    if (!env) ExitProcess(1);
    return exports;
}
int DllMainCRTStartup(void *module, unsigned reason, void *reserved) { return 1; }
void wWinMainCRTStartup(void) { ExitProcess(0); }
";

/// Compiles for a target as zig names it, with more arguments.
pub(super) fn compile(target: &str, kind: Kind, more: &[&str]) -> Vec<u8> {
    let tools = zig();
    let dir = tempfile::tempdir().unwrap();
    let (source, mut arguments) = if target.contains("windows") {
        (WINDOWS, vec!["-nostdlib", "-lkernel32"])
    } else if target.contains("musl") {
        (ALONE, vec!["-nostdlib"])
    } else {
        (WITH_LIBC, vec![])
    };
    match kind {
        Kind::Addon => arguments.push("-shared"),
        Kind::Program if target.contains("musl") => arguments.push("-static"),
        Kind::Program => {}
    }
    if !more.contains(&"-g") {
        arguments.push("-s");
    }
    fs_err::write(dir.path().join("sample.c"), source).unwrap();
    let sh = xshell::Shell::new().unwrap();
    sh.change_dir(dir.path());
    let cache_dir = tools::zig_cache_dir();
    tools
        .command(&sh, "python")
        .args(["-m", "ziglang", "cc", "-target", target, "-O1"])
        .args(["sample.c", "-o", "sample.bin"])
        .args(arguments)
        .args(more)
        .env("ZIG_GLOBAL_CACHE_DIR", &cache_dir)
        .env("ZIG_LOCAL_CACHE_DIR", &cache_dir)
        .quiet()
        .run()
        .unwrap();
    fs_err::read(dir.path().join("sample.bin")).unwrap()
}

/// zig; tests are processes of their own, and only one of them may install it.
fn zig() -> PythonTools {
    fs_err::create_dir_all(tools::dir()).unwrap();
    let lock = fs_err::File::create(tools::dir().join("tests.lock")).unwrap();
    lock.file().lock().unwrap();
    PythonTools::cross().unwrap()
}
