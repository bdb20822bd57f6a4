//! Python environments: uv, interpreters, and the presets that describe what
//! must hold for an environment.
//!
//! Nothing here knows of the managed runtime. A caller describes an
//! environment ([`Specification`]), gives the means to work with it
//! ([`Context`]), and has an [`Orchestrator`] check it or make it hold.

pub mod bootstrap;
mod certificates;
mod context;
mod error;
mod evidence;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod platform;
mod preset;
mod presets;
mod progress;
mod records;
mod uv;

pub use context::{Context, Facts, Packages, Specification, Uv};
pub use error::{EnvError, explain};
pub use evidence::{Evidence, Stamp};
pub use log::Log;
pub use platform::HOST_PLATFORM;
pub use preset::{
    ApplyReport, CheckReport, Orchestrator, PresetId, PresetProvider, PresetReport, PresetStatus,
    Registry,
};
pub use presets::{
    PACKAGES, PROBE, PYTHON, PackagesPreset, ProbePreset, PythonPreset, UV, UvPreset, VENV,
    VenvPreset,
};
pub use progress::{Event, State};
pub use records::Installed;
