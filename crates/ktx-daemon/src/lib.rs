//! The supervisor that the wheel carries. It runs Python code in worker
//! processes of the environment that it is installed in. User code never runs
//! in the supervisor, so what the code does to its own process is an outcome
//! and not a crash. That isolates failures; it is no sandbox.
//!
//! A call is three processes: the supervisor ([`worker`], [`call`]) captures
//! output and keeps the limits; a guard ([`guard`]) holds everything that the
//! call starts and ends it; the interpreter runs the code.

pub mod call;
pub mod capture;
pub mod channel;
pub mod contain;
pub mod error;
pub mod guard;
pub mod interpreter;
pub mod limits;
pub mod outcome;
pub mod request;
pub mod worker;
