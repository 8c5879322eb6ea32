//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod config;
pub mod gate;
pub mod id;
pub mod store;
