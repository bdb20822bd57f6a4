//! The registry of every environment variable that ktx reads or sets, one
//! constant each, so that no two places can disagree on a name.
//!
//! Proxies are read in lower case too, which wins, as in curl.

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
/// (`debug`, `warn,ktx_env=debug`); unset traces nothing.
pub const KTX_LOG: &str = "KTX_LOG";

/// Home directory on Linux and macOS.
pub const HOME: &str = "HOME";

/// Home directory on Windows.
pub const USERPROFILE: &str = "USERPROFILE";

/// Directory of per-user application data on Windows.
pub const LOCALAPPDATA: &str = "LOCALAPPDATA";

/// Directory of per-user data on Linux (XDG Base Directory Specification).
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";

/// Directory for a user's sockets on Linux (XDG Base Directory Specification).
pub const XDG_RUNTIME_DIR: &str = "XDG_RUNTIME_DIR";

/// Directory for temporary files.
pub const TMPDIR: &str = "TMPDIR";

/// The package index, as uv reads it.
pub const UV_DEFAULT_INDEX: &str = "UV_DEFAULT_INDEX";

/// The package index under uv's older name.
pub const UV_INDEX_URL: &str = "UV_INDEX_URL";

/// The package index as pip reads it; handed to uv as `UV_DEFAULT_INDEX`.
pub const PIP_INDEX_URL: &str = "PIP_INDEX_URL";

/// The variables that name a package index; the first one that is set counts.
pub const INDEXES: [&str; 3] = [UV_DEFAULT_INDEX, UV_INDEX_URL, PIP_INDEX_URL];

/// The proxy for `https` addresses.
pub const HTTPS_PROXY: &str = "HTTPS_PROXY";

/// The proxy for `http` addresses.
pub const HTTP_PROXY: &str = "HTTP_PROXY";

/// The proxy for addresses that no other variable names one for.
pub const ALL_PROXY: &str = "ALL_PROXY";

/// Hosts, domains, addresses and networks (CIDR) that are reached directly.
pub const NO_PROXY: &str = "NO_PROXY";

/// File with the certificates that are trusted in place of the system's.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// Directory with the certificates that are trusted in place of the system's.
pub const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// File with certificates that are trusted besides, as Node reads it.
pub const NODE_EXTRA_CA_CERTS: &str = "NODE_EXTRA_CA_CERTS";

/// File with certificates that are trusted besides, as pip reads it.
pub const PIP_CERT: &str = "PIP_CERT";

/// File with certificates that are trusted besides, as Requests reads it.
pub const REQUESTS_CA_BUNDLE: &str = "REQUESTS_CA_BUNDLE";

/// The variables whose certificates are trusted besides the others.
pub const EXTRA_CERTIFICATES: [&str; 3] = [NODE_EXTRA_CA_CERTS, PIP_CERT, REQUESTS_CA_BUNDLE];

/// Set for uv: it trusts the system's certificates.
pub const UV_NATIVE_TLS: &str = "UV_NATIVE_TLS";

/// Set for uv: it reads no configuration files.
pub const UV_NO_CONFIG: &str = "UV_NO_CONFIG";

/// Set for uv: its cache.
pub const UV_CACHE_DIR: &str = "UV_CACHE_DIR";

/// Set for uv: where it looks for credentials that it was told to keep, and
/// makes a lock as soon as an index asks for any.
pub const UV_CREDENTIALS_DIR: &str = "UV_CREDENTIALS_DIR";

/// Set for uv: it copies out of its cache.
pub const UV_LINK_MODE: &str = "UV_LINK_MODE";

/// Set for uv: it draws no progress bars.
pub const UV_NO_PROGRESS: &str = "UV_NO_PROGRESS";

/// Set for uv: the seconds that it waits for an answer, or for more of one.
pub const UV_HTTP_TIMEOUT: &str = "UV_HTTP_TIMEOUT";

/// Set for uv: how often it asks again.
pub const UV_HTTP_RETRIES: &str = "UV_HTTP_RETRIES";

/// Set for uv: where it installs interpreters.
pub const UV_PYTHON_INSTALL_DIR: &str = "UV_PYTHON_INSTALL_DIR";

/// Set for uv: it writes no colours.
pub const NO_COLOR: &str = "NO_COLOR";
