//! Python environments: uv, interpreters, and the presets that describe what
//! must hold for an environment.
//!
//! Nothing here knows of the managed runtime. A caller describes an
//! environment ([`Specification`]), gives the means to work with it
//! ([`Context`]), and has an [`Orchestrator`] check it or make it hold.

pub mod bootstrap;
mod context;
mod error;
mod evidence;
mod interpreter;
mod log;
mod packages;
mod preset;
mod probe;
mod progress;
mod records;
mod uv;
mod venv;

pub use context::{Context, Facts, Packages, Specification};
pub use error::EnvError;
pub use evidence::{Evidence, Stamp};
pub use interpreter::{PYTHON, PythonPreset};
pub use log::Log;
pub use packages::{PACKAGES, PackagesPreset};
pub use preset::{
    ApplyReport, CheckReport, Orchestrator, PresetId, PresetProvider, PresetReport, PresetStatus,
    Registry,
};
pub use probe::{PROBE, ProbePreset};
pub use progress::{Event, State};
pub use records::Installed;
pub use uv::{HOST_PLATFORM, UV, Uv, UvPreset};
pub use venv::{VENV, VenvPreset};
