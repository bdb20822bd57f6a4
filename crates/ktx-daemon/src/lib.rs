//! The supervisor that the wheel carries. It runs Python code in worker
//! processes of the environment that it is installed in. User code never runs
//! in the supervisor, so what the code does to its own process is an outcome
//! and not a crash. That isolates failures; it is no sandbox.
//!
//! A call is three processes: the supervisor ([`call`]) captures output and
//! keeps the limits; a guard ([`guard`]) holds everything that is started
//! and ends it; a [`worker`] runs the code. One call is an interpreter of its
//! own; a daemon ([`supervisor`]) forks workers from a warm one ([`nursery`]).

pub mod call;
pub mod channel;
pub mod contain;
pub mod error;
pub mod guard;
pub mod household;
pub mod interpreter;
pub mod limits;
pub mod listen;
pub mod log;
#[cfg(unix)]
pub mod nursery;
pub mod once;
pub mod outcome;
pub mod pipe;
pub mod reader;
pub mod request;
pub mod serve;
pub mod service;
pub mod session;
pub mod signals;
pub mod supervisor;
pub mod worker;
pub mod workers;
