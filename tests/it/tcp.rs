//! What TCP does for a session, on both legs.

#![cfg(target_os = "linux")]

use std::fs;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings};
use crate::support::message::alice;
use crate::support::until;

/// The kernel's clock for timers, in ticks a second (`USER_HZ`).
const TICKS: u64 = 100;

/// When the keepalive timers of all sockets run out between these two ports, in seconds; as
/// `/proc/net/tcp` has it (proc_net_tcp in the kernel's documentation).
fn keepalives(local: Option<u16>, remote: Option<u16>) -> Vec<u64> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |text: &str| u16::from_str_radix(text.split_once(':').unwrap().1, 16).unwrap();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_it = local.is_none_or(|wanted| wanted == port(words[1]))
            && remote.is_none_or(|wanted| wanted == port(words[2]));
        // Established, with a keepalive timer.
        if let (true, "01", Some(ticks)) = (is_it, words[3], words[5].strip_prefix("02:")) {
            found.push(u64::from_str_radix(ticks, 16).unwrap() / TICKS);
        }
    }
    found
}

#[test]
fn a_peer_that_is_silent_is_probed_after_the_configured_time_on_both_legs() {
    let backend = FakeBackend::welcoming();
    let project = Project::new("acme", &backend.url());
    let settings = Settings::new(&[project]).table("\n[tcp]\nkeepalives_idle = \"2h\"\n");
    let gate = Gate::with(&settings);
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.is_alive();
    let url = backend.url();
    let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
    for (leg, local, remote) in [
        ("client", Some(gate.addr().port()), None),
        ("backend", None, Some(port)),
    ] {
        let mut found = Vec::new();
        // What was sent last is awaited by another timer first, which hides this one.
        until("a keepalive timer", || {
            found = keepalives(local, remote);
            !found.is_empty()
        });
        let [seconds] = found[..] else {
            panic!("{leg}: {found:?}")
        };
        // The default is a minute.
        assert!((3600..=7200).contains(&seconds), "{leg}: {seconds}");
    }
}
