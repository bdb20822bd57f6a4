//! The life of daemons through the public door: the built `ktx-daemon` in a
//! real virtual environment, spoken to over gRPC.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../ktx-daemon/tests/it/packages.rs"]
mod packages;
mod place;
mod start;
mod state;
mod status;
mod stop;
mod support;
