//! Python environments.

pub mod bootstrap;
