//! What the tests are made of.

pub(crate) mod authority;
pub(crate) mod client_ca;
pub(crate) mod clients;
pub(crate) mod fake_backend;
pub(crate) mod gate;
pub(crate) mod message;
pub(crate) mod postgres;
pub(crate) mod raw;
pub(crate) mod tls_peer;
pub(crate) mod tokio_tls;
mod unverified;

use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// After which a thing that hasn't happened is taken to never happen. No test asserts it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::yield_now();
    }
}

/// Sends a signal by its name. The shell's own `kill`: the program is not on every machine.
fn signal(process: &Child, name: &str) {
    let kill = format!("kill -s {name} {}", process.id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
}
