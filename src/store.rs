//! Where projects are kept: in `proxy.toml`, which people and programs edit alike.

mod backend;
pub mod catalogue;
mod clients;
pub mod edit;
pub mod keystore;
mod list;
mod replace;
mod rewrite;
pub mod snapshot;
pub mod tidings;
pub mod watch;
