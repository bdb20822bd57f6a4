//! Python environments through their public door.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bootstrap;
mod presets;
