//! The platform that this code runs on.

/// The platform that this code runs on, as pins and packages name it.
pub const HOST_PLATFORM: &str = if cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu"
)) {
    "linux-x64-gnu"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "musl"
)) {
    "linux-x64-musl"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "aarch64",
    target_env = "gnu"
)) {
    "linux-arm64-gnu"
} else if cfg!(all(
    target_os = "linux",
    target_arch = "aarch64",
    target_env = "musl"
)) {
    "linux-arm64-musl"
} else if cfg!(all(target_os = "macos", target_arch = "aarch64")) {
    "darwin-arm64"
} else if cfg!(all(target_os = "macos", target_arch = "x86_64")) {
    "darwin-x64"
} else if cfg!(all(target_os = "windows", target_arch = "x86_64")) {
    "win32-x64-msvc"
} else {
    "unsupported"
};
