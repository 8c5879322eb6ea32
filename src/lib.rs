//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod gate;
pub mod id;
pub mod wire;
