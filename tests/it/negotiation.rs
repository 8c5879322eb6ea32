//! From accept to the end of TLS: SSLRequest, GSSENCRequest, plaintext, segmentation.

use std::io::Read as _;
use std::net::SocketAddr;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project};
use crate::support::message::{
    self, Parameter, V3_0, V3_2, alice, gssenc_request, message, packet, ready_for_query,
    ssl_request, startup, welcome,
};
use crate::support::raw::{Raw, Secured};

fn acme(backend: &FakeBackend) -> Gate {
    Gate::start(&[Project::new("acme", &backend.url())])
}

#[test]
fn t1_bytes_behind_sslrequest_end_the_connection() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    for surplus in [
        b"\x00".to_vec(),
        alice(),
        ssl_request(),
        gate.tls("acme").client_hello(),
    ] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&[ssl_request(), surplus].concat());
        let answer = raw.until_closed();
        // An alert may follow `S`; a ServerHello (handshake, 22) may not.
        assert_ne!(answer.get(1), Some(&22), "{answer:x?}");
    }
}

#[test]
fn t2_plaintext_reads_what_to_do_whatever_protocol_version_it_asks_for() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    for version in [V3_0, V3_0 + 1, V3_2, V3_0 + 9999] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&startup(version, &[(b"user", b"alice")]));
        let refusal = raw.message().error();
        refusal.assert_fatal("28000");
        assert!(refusal.message().contains("TLS"), "{refusal:?}");
        assert!(refusal.hint().contains("sslmode=require"), "{refusal:?}");
        assert_eq!(raw.until_closed(), b"");
    }
}

#[test]
fn t2_plaintext_is_refused_after_gssencrequest_too() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let mut raw = Raw::connect(gate.addr());
    raw.send(&gssenc_request());
    assert_eq!(char::from(raw.byte()), 'N');
    raw.send(&alice());
    raw.message().error().assert_fatal("28000");
}

#[test]
fn t2_plaintext_after_the_gate_agreed_to_tls_goes_nowhere() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let mut raw = Raw::connect(gate.addr()).ask_for_tls();
    raw.send(&alice());
    let answer = raw.until_closed();
    // Nothing, or an alert (21).
    assert!(answer.is_empty() || answer[0] == 21, "{answer:x?}");
}

#[test]
fn t3_gssencrequest_is_declined_then_tls_is_granted() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let mut raw = Raw::connect(gate.addr());
    raw.send(&gssenc_request());
    assert_eq!(char::from(raw.byte()), 'N');
    let mut client = raw.ask_for_tls().begin_tls(&gate.tls("acme"));
    client.login(&alice());
    client.is_alive();
}

#[test]
fn t3_each_request_is_answered_at_most_once() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let mut raw = Raw::connect(gate.addr());
    raw.send(&gssenc_request());
    assert_eq!(char::from(raw.byte()), 'N');
    raw.send(&gssenc_request());
    assert_ne!(raw.until_closed().first(), Some(&b'N'));
    let mut raw = Raw::connect(gate.addr()).ask_for_tls();
    raw.send(&ssl_request());
    assert_ne!(raw.until_closed().first(), Some(&b'S'));
}

#[test]
fn t3_requests_in_one_segment_are_refused() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let hello = gate.tls("acme").client_hello();
    for together in [
        [gssenc_request(), ssl_request()].concat(),
        [gssenc_request(), ssl_request(), hello.clone()].concat(),
        [gssenc_request(), alice()].concat(),
        [gssenc_request(), hello].concat(),
    ] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&together);
        let answer = raw.until_closed();
        assert!(
            !answer.contains(&b'S') || answer.contains(&b'C'),
            "TLS was granted: {answer:x?}"
        );
        assert_ne!(answer.get(2), Some(&22), "a ServerHello: {answer:x?}");
    }
}

#[test]
fn t3_a_startup_packet_out_of_bounds_is_refused() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    for length in [0_u32, 1, 4, 7, 10_001, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&[length.to_be_bytes(), V3_0.to_be_bytes()].concat());
        assert_no_grant(&raw.until_closed(), length);
        let mut client = gate.connect("acme");
        client.send(&[length.to_be_bytes(), V3_0.to_be_bytes()].concat());
        let mut rest = Vec::new();
        // However it ends, what came before the end is an ErrorResponse or nothing.
        let ended = client.stream.read_to_end(&mut rest);
        assert!(
            rest.is_empty() || rest[0] == b'E',
            "{length}: {rest:x?} {ended:?}"
        );
    }
}

#[track_caller]
fn assert_no_grant(answer: &[u8], length: u32) {
    assert!(
        answer.is_empty() || answer[0] == b'E',
        "{length}: {answer:x?}"
    );
}

#[test]
fn t3_a_startup_packet_of_the_largest_size_passes() {
    let backend = FakeBackend::serving(|mut peer| {
        assert_eq!(peer.login().len(), 10_000);
        peer.serve_queries();
    });
    let gate = acme(&backend);
    let padding = 10_000 - startup(V3_0, &[(b"user", b"alice"), (b"options", b"")]).len();
    let options = vec![b' '; padding];
    let mut client = gate.connect("acme");
    client.login(&startup(
        V3_0,
        &[(b"user", b"alice"), (b"options", &options)],
    ));
    client.is_alive();
}

#[test]
fn t3_ssl_and_startup_packets_may_come_byte_by_byte() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let mut raw = Raw::connect(gate.addr());
    raw.send_in_pieces(&gssenc_request(), 1);
    assert_eq!(char::from(raw.byte()), 'N');
    raw.send_in_pieces(&ssl_request(), 1);
    assert_eq!(char::from(raw.byte()), 'S');
    let mut client = raw.begin_tls(&gate.tls("acme"));
    alice().iter().for_each(|byte| client.send(&[*byte]));
    while client.message().tag != b'Z' {}
    client.is_alive();
}

#[test]
fn t3_a_request_code_that_is_none_of_postgresqls_is_refused() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    // The next code after GSSENCRequest; protocol 2; protocol 4; an HTTP request.
    for bytes in [
        packet(&80_877_105_u32.to_be_bytes()),
        packet(&(2_u32 << 16).to_be_bytes()),
        packet(&(4_u32 << 16).to_be_bytes()),
        b"GET / HTTP/1.1\r\nHost: acme.localhost\r\n\r\n".to_vec(),
    ] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&bytes);
        let answer = raw.until_closed();
        assert!(answer.is_empty() || answer[0] == b'E', "{answer:x?}");
    }
}

#[test]
fn t5_a_client_hello_may_be_split_anywhere() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    for piece in [1, 2, 3, 5, 7, 11, 64, 517, 1000, 1400] {
        let tls = gate.tls("acme").in_pieces_of(piece);
        let mut client = Secured::connect(gate.addr(), &tls);
        client.login(&alice());
        client.is_alive();
    }
}

#[test]
fn t5_a_client_hello_may_span_several_records() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let hello = gate.tls("acme").client_hello();
    let (header, handshake) = hello.split_at(5);
    for piece in [1, 4, 100, 1000] {
        let mut raw = Raw::connect(gate.addr()).ask_for_tls();
        for fragment in handshake.chunks(piece) {
            let length = u16::try_from(fragment.len()).unwrap();
            raw.send(&[&header[..3], &length.to_be_bytes(), fragment].concat());
        }
        // The answer is a ServerHello: type 22, then its first byte, 2.
        let mut answer = [0; 6];
        raw.stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], answer[5]), (22, 2), "pieces of {piece}");
    }
}

#[test]
fn t8_both_tries_of_sslmode_prefer_are_decided_alike() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(&["nowhere"])]);
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    let mut raw = Raw::connect(gate.addr());
    raw.send(&alice());
    raw.message().error().assert_fatal("28000");
}

/// A backend that expects exactly `expected` as StartupMessage, and answers with `answer`.
fn expecting(expected: Vec<u8>, answer: Vec<u8>) -> FakeBackend {
    FakeBackend::serving(move |mut peer| {
        assert_eq!(peer.packet(), expected, "the StartupMessage was changed");
        peer.send(&answer);
        peer.serve_queries();
    })
}

#[test]
fn t11_the_startup_message_reaches_the_backend_as_it_came() {
    let unusual: [(u32, &[Parameter<'_>]); 5] = [
        (V3_0, &[(b"user", b"alice"), (b"user", b"bob")]),
        (
            V3_0,
            &[(b"user", b"\xff\xfe\x80"), (b"database", b"\xe4\xf6")],
        ),
        (
            V3_2,
            &[
                (b"database", b""),
                (b"user", b"alice"),
                (b"_pq_.unheard_of", b"1"),
            ],
        ),
        (
            V3_0 + 9999,
            &[
                (b"user", b"alice"),
                (b"_pq_.test_protocol_negotiation", b""),
            ],
        ),
        (
            V3_0,
            &[
                (b"user", b"alice"),
                (b"options", b"-c work_mem=1MB"),
                (b"replication", b"1"),
            ],
        ),
    ];
    for (version, parameters) in unusual {
        let sent = startup(version, parameters);
        let backend = expecting(sent.clone(), welcome());
        let gate = acme(&backend);
        let mut client = gate.connect("acme");
        client.login(&sent);
        client.is_alive();
    }
}

#[test]
fn t11_the_backends_answer_about_the_version_reaches_the_client_as_it_came() {
    let sent = startup(
        V3_0 + 9999,
        &[(b"user", b"alice"), (b"_pq_.unheard_of", b"1")],
    );
    // NegotiateProtocolVersion: 3.2 at most, and one option unknown.
    let body = [
        &V3_2.to_be_bytes(),
        &1_u32.to_be_bytes(),
        &b"_pq_.unheard_of\0"[..],
    ]
    .concat();
    let backend = expecting(sent.clone(), [message(b'v', &body), welcome()].concat());
    let gate = acme(&backend);
    let mut client = gate.connect("acme");
    let messages = client.login(&sent);
    assert_eq!(messages[0], message::Message { tag: b'v', body });
}

#[test]
fn what_a_hasty_client_sends_behind_its_startup_message_reaches_the_backend() {
    let backend = FakeBackend::serving(|mut peer| {
        peer.packet();
        assert_eq!(peer.message().tag, b'p');
        peer.send(&[welcome(), ready_for_query()].concat());
        assert_eq!(peer.message().tag, b'X');
    });
    let gate = acme(&backend);
    let mut client = gate.connect("acme");
    client.login(&[alice(), message(b'p', b"secret\0")].concat());
    assert_eq!(client.message().tag, b'Z');
    client.send(&message::terminate());
    client.rest().unwrap();
}

#[test]
fn a_connection_that_is_refused_leaves_the_gate_open_for_others() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let refused: SocketAddr = gate.addr();
    for bytes in [&b"\x00\x00\x00\x00"[..], b"\x16\x03\x01\xff\xff", b"\x00"] {
        let mut raw = Raw::connect(refused);
        raw.send(bytes);
        drop(raw);
    }
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.is_alive();
}
