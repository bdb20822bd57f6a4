//! The release toolchain: everything that builds, checks, packs or measures ktx is a verb here.

mod digest;
mod lock;
mod policy;
mod repo;
mod say;
mod tools;
mod uv;
mod uv_pins;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, check, pack and measure ktx.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Resolve the hash-locked Python dependencies and the pinned Python tools
    Lock(lock::Options),
    /// Pin the uv that ktx fetches where there is none
    UvPins(uv_pins::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Lock(options) => lock::run(&options),
        Verb::UvPins(options) => uv_pins::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}
