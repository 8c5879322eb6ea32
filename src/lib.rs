//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod admin;
pub mod id;
pub mod metrics;
pub mod refusal;
pub mod wire;
