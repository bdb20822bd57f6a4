//! What a daemon and its clients say to each other: where a daemon is
//! reached, what it says when it starts, and the protocol it serves.

pub mod endpoint;
pub mod startup;

/// The protocol of this version. It counts up when a client of an earlier one
/// could not use a daemon any more, or the other way round.
pub const PROTOCOL_VERSION: u32 = 1;
