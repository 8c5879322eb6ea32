//! Logins that the gate takes part in, sans-IO: SCRAM towards the client and towards the backend,
//! the MD5 answer, and the file of verifiers.

pub mod md5;
pub mod scram;
pub mod userlist;
