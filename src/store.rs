//! Where projects are kept.
pub mod snapshot;
pub mod watch;
