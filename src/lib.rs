//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod cli;
pub mod id;
