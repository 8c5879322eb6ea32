//! The gate from outside: the real binary on port 0, fake and real backends behind it, real clients
//! in front of it. One file per family; the traps are cited by number.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod admission;
mod auth;
mod backend_revocation;
mod backend_tls;
mod backends;
mod ca;
mod cancel;
mod certificates;
mod client_certificates;
mod clients_matrix;
mod deny;
mod direct_tls;
mod fixtures;
mod imports;
mod include;
mod leaves;
mod limits;
mod login_deadline;
mod logs;
mod negotiation;
mod relay;
mod reload;
mod revocation;
mod rules;
mod standing;
mod support;
mod tcp;
