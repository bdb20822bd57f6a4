//! The presets of a Python environment, in the order in which they require
//! each other: `uv → python → venv → packages → probe`.

mod packages;
mod probe;
mod python;
mod uv;
mod venv;

pub use packages::{PACKAGES, PackagesPreset};
pub use probe::{PROBE, ProbePreset};
pub use python::{PYTHON, PythonPreset};
pub use uv::{UV, UvPreset};
pub use venv::{VENV, VenvPreset};
