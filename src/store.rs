//! Where projects are kept: in `proxy.toml`, which people and programs edit alike.

mod backend;
mod clients;
pub mod edit;
pub mod keystore;
mod list;
mod replace;
mod rewrite;
pub mod snapshot;
pub mod watch;
