//! `portcullis demo`: the gate in front of a throwaway PostgreSQL, proving itself.

mod account;
pub mod cluster;
pub mod installation;
mod leash;
