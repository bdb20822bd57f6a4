//! The life of daemons, seen from outside: one is started or found, looked
//! at, and ended, and no process is ever signalled that is not known to be it.
//!
//! What a daemon is asked goes through a [`Dialer`] of the caller: this crate
//! knows processes and files, and makes no calls of its own. Every function
//! blocks its thread until it is done.

mod dialer;
mod error;
mod installation;
mod lifecycle;
mod place;
mod spawn;
mod state;
mod status;
mod stop;

pub use dialer::Dialer;
pub use error::ServiceError;
pub use installation::{Installation, Scope};
pub use lifecycle::{Found, Start, StartStatus, Started, start};
pub use place::{Daemons, Place};
pub use spawn::Settings;
pub use state::State;
pub use status::{Look, Status, StatusKind, status};
pub use stop::{Stop, StopStatus, Stopped, stop, stop_all};
