//! One deadline, from accept to ReadyForQuery (T6).

use std::io::Read as _;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings};
use crate::support::message::{V3_0, alice, gssenc_request, message, ssl_request, startup};
use crate::support::raw::Raw;

/// A gate that waits for a login no longer than it must.
fn impatient(backend: &str) -> Gate {
    Gate::with(&Settings::new(&[Project::new("acme", backend)]).top("login_timeout = \"1s\""))
}

#[test]
fn t6_silence_before_tls_ends_the_connection() {
    let backend = FakeBackend::untouchable();
    let gate = impatient(&backend.url());
    let silences: [(&str, Vec<u8>); 4] = [
        ("half an SSLRequest", ssl_request()[..5].to_vec()),
        ("an SSLRequest", ssl_request()),
        ("a GSSENCRequest", gssenc_request()),
        (
            "half a ClientHello",
            gate.tls("acme").client_hello()[..100].to_vec(),
        ),
    ];
    let connections: Vec<_> = silences
        .iter()
        .map(|(after, bytes)| {
            let mut raw = Raw::connect(gate.addr());
            raw.send(bytes);
            (after, raw)
        })
        .collect();
    for (after, mut raw) in connections {
        let answer = raw.until_closed();
        assert!(answer.len() < 100, "after {after}: {answer:x?}");
    }
}

#[test]
fn t6_silence_inside_tls_ends_the_connection() {
    let backend = FakeBackend::untouchable();
    let gate = impatient(&backend.url());
    for silence in [&b""[..], &alice()[..7]] {
        let mut client = gate.connect("acme");
        client.handshake().unwrap();
        client.send(silence);
        let mut rest = Vec::new();
        let ended = client.stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == b'E', "{rest:x?} {ended:?}");
    }
}

#[test]
fn t6_a_trickle_does_not_prolong_the_login() {
    let backend = FakeBackend::untouchable();
    let gate = impatient(&backend.url());
    let mut client = gate.connect("acme");
    client.handshake().unwrap();
    // A byte whenever the connection is found alive; a deadline per read would let this go on.
    let long = startup(V3_0, &[(b"user", &[b'a'; 9000])]);
    let fed = long.iter().take_while(|byte| client.takes(**byte)).count();
    assert!(fed < long.len(), "all {fed} bytes were awaited");
}

#[test]
fn t6_a_backend_that_says_nothing_ends_the_login() {
    let backend = FakeBackend::serving(|mut peer| {
        let _startup = peer.packet();
        peer.rest().expect("the gate gives up");
    });
    let gate = impatient(&backend.url());
    let mut client = gate.connect("acme");
    client.refused(&alice()).assert_fatal("57014");
}

#[test]
fn t6_authentication_is_within_the_deadline() {
    let backend = FakeBackend::serving(|mut peer| {
        let _startup = peer.packet();
        // AuthenticationCleartextPassword, which the client never answers.
        peer.send(&message(b'R', &3_u32.to_be_bytes()));
        peer.rest().expect("the gate gives up");
    });
    let gate = impatient(&backend.url());
    let mut client = gate.connect("acme");
    client.send(&alice());
    assert_eq!(client.message().tag, b'R');
    let mut rest = Vec::new();
    let ended = client.stream.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest[0] == b'E', "{rest:x?} {ended:?}");
}

#[test]
fn t6_a_session_is_not_bound_by_the_deadline_of_its_login() {
    let backend = FakeBackend::welcoming();
    let gate = impatient(&backend.url());
    let mut client = gate.connect("acme");
    client.login(&alice());
    // Another connection outlives its own deadline meanwhile.
    Raw::connect(gate.addr()).ask_for_tls().until_closed();
    client.is_alive();
}
