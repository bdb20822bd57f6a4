//! What ktx needs of the operating system: files that appear whole or not at
//! all, locks that say who holds them, child processes that end with their
//! caller, and environments that carry nothing by accident.
//!
//! This crate knows nothing of Python. It never prints, exits, reads the
//! arguments or changes the environment of the process it runs in.

pub mod code;
pub mod command;
pub mod environment;
pub mod files;
pub mod json;
pub mod lock;
pub mod process;
pub mod variables;
