//! The managed runtime: one private Python environment for each version of
//! ktx, with a manifest that says whether it is ready.
//!
//! Every function takes the caller's environment as a value and returns what
//! it found; nothing is printed, and nothing is believed that was not seen.

mod doctor;
mod environments;
mod error;
mod install;
mod layout;
mod manifest;
mod prune;
mod status;

pub use doctor::{CheckStatus, DoctorCheck, doctor};
pub use error::RuntimeError;
pub use install::{Install, InstallStatus, Installed, install};
pub use layout::{DaemonPaths, Layout, LayoutOptions, Platform};
pub use manifest::{PythonPaths, RuntimeManifest, recorded};
pub use prune::{Pruned, prune};
pub use status::{Status, StatusKind, status};
