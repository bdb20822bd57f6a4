//! The registry of every environment variable that ktx reads, one constant
//! each, so that the documentation and the code cannot name different ones.

/// Directory that holds every runtime; overrides the platform's default.
pub const KTX_RUNTIME_ROOT: &str = "KTX_RUNTIME_ROOT";

/// Directory with the asset (`manifest.json`, wheel, lock); overrides the one
/// in the platform package.
pub const KTX_ASSET_DIR: &str = "KTX_ASSET_DIR";

/// Path of the uv executable to use; nothing else is tried when it is set.
pub const KTX_UV: &str = "KTX_UV";

/// `never` keeps ktx from fetching uv when none is found.
pub const KTX_UV_BOOTSTRAP: &str = "KTX_UV_BOOTSTRAP";

/// What is traced: a level, or levels by module, with commas between them
/// (`debug`, `warn,ktx_env=trace`); unset traces nothing.
pub const KTX_LOG: &str = "KTX_LOG";

/// Home directory on Linux and macOS.
pub const HOME: &str = "HOME";

/// Home directory on Windows.
pub const USERPROFILE: &str = "USERPROFILE";

/// Directory of per-user application data on Windows.
pub const LOCALAPPDATA: &str = "LOCALAPPDATA";

/// Directory of per-user data on Linux (XDG Base Directory Specification).
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";

/// The package index, as uv reads it.
pub const UV_DEFAULT_INDEX: &str = "UV_DEFAULT_INDEX";

/// The package index under uv's older name.
pub const UV_INDEX_URL: &str = "UV_INDEX_URL";

/// The package index as pip reads it; handed to uv as `UV_DEFAULT_INDEX`.
pub const PIP_INDEX_URL: &str = "PIP_INDEX_URL";
