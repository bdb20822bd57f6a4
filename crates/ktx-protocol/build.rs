//! Compiles the `.proto` files, without a `protoc` on the machine.

use std::path::{Path, PathBuf};

use prost::Message;

const PROTO_DIR: &str = "proto";
const FILES: [&str; 3] = [
    "protocol/python.proto",
    "protocol/domain.proto",
    "ktx/v1/python.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={PROTO_DIR}");
    if std::env::var_os("CARGO_FEATURE_GRPC").is_none() {
        return Ok(());
    }
    let descriptors = protox::compile(FILES, [PROTO_DIR])?;
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // Reflection serves them.
    fs_err::write(
        directory.join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        // Clients bring a channel of their own.
        .build_transport(false)
        .out_dir(Path::new(&directory))
        .compile_fds(descriptors)?;
    Ok(())
}
