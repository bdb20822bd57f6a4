//! The managed runtime through its public door.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod install;
mod layout;
mod prune;
mod recorded;
mod support;
