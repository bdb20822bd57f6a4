//! The release toolchain: everything that builds, checks, packs or measures ktx is a verb here.

mod addon;
mod apple;
mod artifact;
mod bench;
mod build;
mod changelog;
mod cross;
mod debian;
mod demo;
mod digest;
mod dist;
mod docs;
mod faults;
mod figures;
mod fresh;
mod link;
mod lock;
mod manifest;
mod npm;
mod npm_tools;
mod package;
mod policy;
mod project;
mod promote;
mod registry;
mod release;
mod repo;
mod rust_std;
mod say;
mod smoke;
mod stage;
mod steps;
mod suites;
mod target;
mod test;
mod tidy;
mod tools;
mod unwinder;
mod uv;
mod uv_pins;
mod version;
mod wheel;
mod zig;

use std::process::ExitCode;

use anyhow::Result;
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
    /// Build the Python wheel of this platform
    Wheel(wheel::Options),
    /// Resolve the hash-locked Python dependencies and the pinned Python tools
    Lock(lock::Options),
    /// Write the manifest that names and hashes the wheel and its lock, or verify a release's
    Manifest(manifest::Options),
    /// Build the native addon and its TypeScript declarations
    Addon(addon::Options),
    /// Build for other platforms and run what can be run here
    Cross(cross::Options),
    /// Pack the npm packages
    Npm(npm::Options),
    /// Bring the schema and the packages' names in line with the release policy
    Policy(policy::Options),
    /// Set the version in all places at once
    Version(version::Options),
    /// Build, verify, publish and try a release
    Release(release::Options),
    /// Let a dist-tag name a version that is published
    Promote(promote::Options),
    /// Pin the uv that ktx fetches where there is none
    UvPins(uv_pins::Options),
    /// Install and use what is on a registry as a user would
    Smoke(smoke::Options),
    /// Check what compilers and linters do not see
    Tidy(tidy::Options),
    /// Build everything, install it as a user would and run Python in it
    Demo(demo::Options),
    /// Do to ktx what it must survive, and say what was seen
    Faults(faults::Options),
    /// Strike a command at one of its system calls
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[command(hide = true)]
    Strike(faults::strike::Options),
    /// Run every check and every test
    Test(test::Options),
    /// Compare ktx with the bare commands it stands on
    Bench(bench::Options),
}

fn main() -> ExitCode {
    if let Some(code) = link::run_if_linker() {
        return code;
    }
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Wheel(options) => wheel::run(&options)?,
        Verb::Lock(options) => lock::run(&options)?,
        Verb::Manifest(options) => manifest::run(&options)?,
        Verb::Addon(options) => addon::run(&options)?,
        Verb::Cross(options) => cross::run(&options)?,
        Verb::Npm(options) => npm::run(&options)?,
        Verb::Policy(options) => policy::run(&options)?,
        Verb::Version(options) => version::run(&options)?,
        Verb::Release(options) => release::run(&options)?,
        Verb::Promote(options) => promote::run(&options)?,
        Verb::UvPins(options) => uv_pins::run(&options)?,
        Verb::Smoke(options) => smoke::run(&options)?,
        Verb::Tidy(options) => tidy::run(&options)?,
        Verb::Demo(options) => demo::run(&options)?,
        Verb::Faults(options) => faults::run(&options)?,
        Verb::Bench(options) => bench::run(&options)?,
        // It ends as its command does.
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        Verb::Strike(options) => return faults::strike::run(&options),
        // It has said what failed.
        Verb::Test(options) => return test::run(&options),
    }
    Ok(ExitCode::SUCCESS)
}
