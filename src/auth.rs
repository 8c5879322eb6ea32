//! Who proves what to whom: authentication as the gate looks on at it ([`passthrough`]), or takes
//! part in it ([`terminated`]).

pub mod certificate;
pub mod md5;
pub mod passthrough;
pub mod proof;
pub mod query;
pub mod scram;
pub mod seed;
pub mod terminated;
pub mod userlist;
pub mod verifiers;
