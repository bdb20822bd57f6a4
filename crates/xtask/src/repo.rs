//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The workspace's version, which everything else follows.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The checkout's top directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("xtask lives two levels below the root")
}

/// A path given from the checkout's top directory.
pub(crate) fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// Where verbs put what they build.
pub(crate) fn output_dir() -> PathBuf {
    path("target/ktx")
}

/// Where cargo puts what it builds.
pub(crate) fn cargo_target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => path("target"),
    }
}

/// A path as it is shown: from the checkout's top directory where it is below that.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
