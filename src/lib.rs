//! Portcullis, the gate in front of PostgreSQL.

pub mod address;
pub mod backend;
pub mod id;
pub mod pki;
