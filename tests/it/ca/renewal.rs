//! The running gate renews its leaf by itself.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use portcullis::address::Host;
use portcullis::pki::{Identity, Keystore, ProjectKeystore};
use rustls::pki_types::CertificateDer;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::message::alice;
use crate::support::raw::Secured;
use crate::support::until;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn acme(certs: &Path) -> ProjectKeystore {
    let keystore = Keystore::open(certs.to_owned()).unwrap();
    keystore.project(&"acme".parse().unwrap())
}

fn hosts() -> [Host; 1] {
    ["acme.localhost".parse().unwrap()]
}

/// Makes acme's CA as if a hundred days ago, and its leaf as if thirty days ago.
pub(super) fn aged(certs: &Path) -> Identity {
    let (acme, now) = (acme(certs), Timestamp::now());
    acme.load_or_create(&hosts(), now - 100 * DAY).unwrap();
    acme.renew_leaf(&hosts(), now - 30 * DAY).unwrap()
}

/// Puts a leaf in the place of acme's, by its CA, that is due for renewal in a second; the leaf.
pub(super) fn due_in_a_moment(certs: &Path) -> CertificateDer<'static> {
    due_in(certs, SignedDuration::from_secs(1))
}

fn due_in(certs: &Path, time: SignedDuration) -> CertificateDer<'static> {
    // How long a leaf lasts until its renewal, of another keystore's project of that name.
    let scratch = tempfile::tempdir().unwrap();
    let begun = Timestamp::now();
    let other = acme(scratch.path()).load_or_create(&hosts(), begun);
    let lasts = begun.duration_until(other.unwrap().renew_at().unwrap());
    let issued = Timestamp::now() + time - lasts;
    let leaf = acme(certs).renew_leaf(&hosts(), issued).unwrap();
    leaf.leaf_der().clone()
}

/// What `/metrics` says is left of the leaf's life, in seconds.
fn left(gate: &Gate) -> Option<f64> {
    let metrics = gate.admin("/metrics");
    let series = "portcullis_certificate_expiry_seconds{project=\"acme\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map(|left| left.parse().unwrap())
}

fn days(days: i32) -> f64 {
    f64::from(days * 24 * 3600)
}

/// A gate whose leaf is thirty days old.
fn start(backend: &FakeBackend) -> Gate {
    let directory = directory_of(&[]);
    aged(&directory.path().join("certs"));
    let settings = Settings::new(&[Project::new("acme", &backend.url())]).with_admin();
    Gate::within(directory, &settings)
}

#[test]
fn a_leaf_is_renewed_by_the_running_gate_and_a_session_in_flight_goes_on() {
    let backend = FakeBackend::welcoming();
    let gate = start(&backend);
    let mut live = gate.connect("acme");
    live.login(&alice());
    let before = left(&gate).expect("the series");
    assert!((days(59)..days(61)).contains(&before), "{before}");
    let due = due_in_a_moment(&gate.directory().join("certs"));
    until("a leaf of the gate's own making", || {
        let mut client = gate.connect("acme");
        client.login(&alice());
        let leaf = &client.chain()[0];
        *leaf != due && *leaf != live.chain()[0]
    });
    until("the series moves", || {
        left(&gate).is_some_and(|left| left > days(89))
    });
    live.is_alive();
}

#[test]
fn t31_a_renewal_that_is_due_and_fails_keeps_the_leaf_is_told_by_readyz_and_comes_once_it_can() {
    let backend = FakeBackend::welcoming();
    let gate = start(&backend);
    let mut live = gate.connect("acme");
    live.login(&alice());
    let trusting = gate.tls("acme");
    let ca_key = gate.file("acme", "ca.key");
    let (key, begun) = (fs::read(&ca_key).unwrap(), gate.log().len());
    // Time enough to damage the key before it is needed.
    let soon = SignedDuration::from_secs(5);
    due_in(&gate.directory().join("certs"), soon);
    fs::write(&ca_key, "no key").unwrap();
    gate.log().wait_after(begun, "what is wrong", |line| {
        text(line, "message").contains("ca.key")
    });
    until("the body of readyz", || {
        let answer = gate.admin("/readyz");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        answer.contains("project acme: ") && answer.contains("ca.key")
    });
    let left_now = left(&gate).expect("the series");
    assert!(left_now < days(61), "{left_now}");
    Secured::connect(gate.addr(), &trusting).login(&alice());
    fs::write(&ca_key, key).unwrap();
    until("the renewal", || {
        left(&gate).is_some_and(|left| left > days(89))
    });
    until("readyz has nothing to say", || {
        !gate.admin("/readyz").contains("project acme: ")
    });
    Secured::connect(gate.addr(), &trusting).login(&alice());
    live.is_alive();
}
