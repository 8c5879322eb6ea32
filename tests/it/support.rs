//! What the tests are made of.

pub(crate) mod authority;
pub(crate) mod clients;
pub(crate) mod fake_backend;
pub(crate) mod gate;
pub(crate) mod message;
pub(crate) mod postgres;
pub(crate) mod raw;
pub(crate) mod tokio_tls;
mod unverified;

use std::time::Duration;

/// After which a thing that hasn't happened is taken to never happen. No test asserts it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
