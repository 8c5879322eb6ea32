//! TLS from the first byte, and ALPN on both ways into TLS (T4).

use rustls::AlertDescription;

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project};
use crate::support::message::{alice, startup};
use crate::support::raw::{Raw, Secured};

fn acme(backend: &FakeBackend) -> Gate {
    Gate::start(&[Project::new("acme", &backend.url())])
}

#[test]
fn t4_direct_tls_with_alpn_postgresql_is_a_session() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    for offered in [&[&b"postgresql"[..]][..], &[b"h2", b"postgresql"]] {
        let tls = gate.tls("acme").with_alpn(offered);
        let mut client = Raw::connect(gate.addr()).begin_tls(&tls);
        client.login(&alice());
        assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"postgresql"[..]));
        client.is_alive();
    }
}

#[test]
fn t4_direct_tls_without_alpn_gets_the_alert_no_application_protocol() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    for offered in [&[][..], &[&b"http/1.1"[..]], &[b"h2", b"postgres"]] {
        let tls = gate.tls("acme").with_alpn(offered);
        let mut client = Raw::connect(gate.addr()).begin_tls(&tls);
        assert_eq!(
            client.alert(),
            AlertDescription::NoApplicationProtocol,
            "{offered:?}"
        );
    }
}

#[test]
fn t4_alpn_is_optional_after_sslrequest() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    for (offered, chosen) in [
        (&[][..], None),
        (&[&b"postgresql"[..]], Some(&b"postgresql"[..])),
    ] {
        let mut client = Secured::connect(gate.addr(), &gate.tls("acme").with_alpn(offered));
        client.login(&alice());
        assert_eq!(client.stream.conn.alpn_protocol(), chosen);
    }
}

#[test]
fn t4_another_alpn_after_sslrequest_gets_the_alert_no_application_protocol() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let mut client = Secured::connect(gate.addr(), &gate.tls("acme").with_alpn(&[b"http/1.1"]));
    assert_eq!(client.alert(), AlertDescription::NoApplicationProtocol);
}

#[test]
fn t4_direct_tls_may_come_byte_by_byte() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let mut client = Raw::connect(gate.addr()).begin_tls(&gate.tls("acme").in_pieces_of(1));
    client.login(&alice());
    client.is_alive();
}

#[test]
fn t4_sslrequest_inside_direct_tls_is_refused() {
    let backend = FakeBackend::untouchable();
    let gate = acme(&backend);
    let mut client = Raw::connect(gate.addr()).begin_tls(&gate.tls("acme"));
    client
        .refused(&crate::support::message::ssl_request())
        .assert_fatal("08P01");
}

#[test]
fn the_startup_message_is_the_same_on_both_ways() {
    let sent = startup(crate::support::message::V3_2, &[(b"user", b"alice")]);
    let expected = sent.clone();
    let backend = FakeBackend::serving(move |mut peer| assert_eq!(peer.login(), expected));
    let gate = acme(&backend);
    Raw::connect(gate.addr())
        .begin_tls(&gate.tls("acme"))
        .login(&sent);
    gate.connect("acme").login(&sent);
}
