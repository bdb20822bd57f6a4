//! What a daemon and its clients say to each other: where a daemon is
//! reached, what it says when it starts, and the protocol it serves.

pub mod endpoint;
pub mod startup;

/// The protocol of this version. It counts up when a client of an earlier one
/// could not use a daemon any more, or the other way round.
pub const PROTOCOL_VERSION: u32 = 1;

/// The services that every provider of Python serves.
#[cfg(feature = "grpc")]
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "the code is generated; the .proto files hold the words"
)]
pub mod protocol {
    tonic::include_proto!("protocol");
}

/// The services of ktx's own.
#[cfg(feature = "grpc")]
pub mod ktx {
    /// Their first version.
    #[expect(
        missing_docs,
        clippy::pedantic,
        clippy::allow_attributes,
        reason = "the code is generated; the .proto files hold the words"
    )]
    pub mod v1 {
        tonic::include_proto!("ktx.v1");
    }
}

/// The descriptors of all services, as a `FileDescriptorSet`.
#[cfg(feature = "grpc")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
