//! `ktx-daemon serve` as its clients see it: the built binary in a real virtual
//! environment, spoken to over gRPC.
#![cfg(unix)]

mod family;
mod support;

mod cancelling;
mod descendants;
mod isolation;
mod leaving;
mod limits;
mod listening;
mod serving;
mod sessions;
mod starting;
mod streaming;
