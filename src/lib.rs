//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod id;
pub mod relay;
