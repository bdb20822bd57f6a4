//! `ktx-daemon` as its callers see it: the built binary in a real virtual
//! environment.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod code;
mod daemon;
mod environment;
mod lifetime;
mod limits;
mod output;
#[cfg(unix)]
mod packages;
mod request;
mod support;
mod value;
