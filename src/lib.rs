//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod auth;
pub mod id;
pub mod pki;
pub mod wire;
