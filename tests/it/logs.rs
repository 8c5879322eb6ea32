//! What is logged, and what never is (T33, T34).

use serde_json::Value;

use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::{V3_0, alice, error_response, message, query, startup};
use crate::support::postgres::Server;
use crate::support::raw::Raw;

fn is(message: &'static str) -> impl Fn(&Value) -> bool {
    move |line| text(line, "message") == message
}

#[test]
fn a_session_is_one_line_when_it_opens_and_one_when_it_ends() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let before = gate.log().len();
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.is_alive();
    client.finish();
    client.rest().unwrap();
    let ended = gate.log().wait("session ended", is("session ended"));
    let lines = gate.log().lines().split_off(before);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let opened = &lines[0];
    assert_eq!(text(opened, "message"), "session opened");
    for line in [opened, &ended] {
        assert_eq!(text(line, "level"), "INFO");
        assert_eq!(text(line, "project"), "acme");
        assert!(text(line, "client").starts_with("127.0.0.1:"), "{line}");
    }
    assert_eq!(text(opened, "server_name"), "acme.localhost");
    assert_eq!(text(opened, "rule"), "127.0.0.1");
    assert_eq!(text(opened, "backend"), backend.url());
    for field in ["tls_version", "tls_group"] {
        assert_ne!(text(opened, field), "", "{field} is missing: {opened}");
    }
    for field in [
        "bytes_to_client",
        "bytes_to_backend",
        "duration_ms",
        "closed_by",
        "reason",
    ] {
        assert_ne!(text(&ended, field), "", "{field} is missing: {ended}");
    }
}

#[test]
fn a_refusal_is_one_line_with_its_reason() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(&["nowhere"])]);
    let before = gate.log().len();
    gate.connect("acme").refused(&alice());
    let refused = gate.log().wait_after(before, "the refusal", |line| {
        line.to_string().contains("address_denied")
    });
    assert_eq!(gate.log().len(), before + 1, "{}", gate.log().raw());
    assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
}

#[test]
fn t33_a_tcp_health_check_leaves_no_line() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let before = gate.log().len();
    for _ in 0..20 {
        drop(Raw::connect(gate.addr()));
    }
    // A session after them all: what they would have left stands before its lines.
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.finish();
    client.rest().unwrap();
    gate.log()
        .wait_after(before, "session ended", is("session ended"));
    assert_eq!(gate.log().len(), before + 2, "{}", gate.log().raw());
}

/// What must never be logged, each part of it in a place of its own.
const SECRETS: [&str; 7] = [
    "password-h7s2",
    "query-k3f8",
    "parameter-p9d1",
    "row-w5x4",
    "notice-n6c0",
    "option-o4v3",
    "error-e2b7",
];

#[test]
fn t34_nothing_of_a_session_reaches_the_log_at_any_level() {
    let backend = FakeBackend::serving(|mut peer| {
        peer.packet();
        // AuthenticationCleartextPassword.
        peer.send(&message(b'R', &3_u32.to_be_bytes()));
        assert_eq!(peer.message().tag, b'p');
        peer.send(&crate::support::message::welcome());
        assert_eq!(peer.message().tag, b'Q');
        peer.send(&message(
            b'D',
            &[b"\x00\x01\x00\x00\x00\x08", SECRETS[3].as_bytes()].concat(),
        ));
        peer.send(&message(
            b'N',
            &[b"SNOTICE\0M", SECRETS[4].as_bytes(), b"\0\0"].concat(),
        ));
        peer.send(&error_response(&[(b'S', "FATAL"), (b'M', SECRETS[6])]));
    });
    let settings = Settings::new(&[Project::new("acme", &backend.url())]).log_level("debug");
    let gate = Gate::with(&settings);
    let mut client = gate.connect("acme");
    client.send(&startup(
        V3_0,
        &[
            (b"user", b"alice"),
            (b"application_name", SECRETS[2].as_bytes()),
            (b"options", SECRETS[5].as_bytes()),
        ],
    ));
    assert_eq!(client.message().tag, b'R');
    client.send(&message(b'p', &[SECRETS[0].as_bytes(), b"\0"].concat()));
    while client.message().tag != b'Z' {}
    client.send(&query(SECRETS[1]));
    client.rest().unwrap();
    gate.log().wait("session ended", is("session ended"));
    assert_secret_free(&gate);
}

#[track_caller]
fn assert_secret_free(gate: &Gate) {
    let log = gate.log().raw();
    let hex = |secret: &str| {
        secret
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let decimal = |secret: &str| format!("{:?}", secret.as_bytes());
    for secret in SECRETS {
        for form in [secret.to_owned(), hex(secret), decimal(secret)] {
            assert!(
                !log.contains(form.trim_matches(['[', ']'])),
                "{secret}:\n{log}"
            );
        }
    }
}

#[test]
fn t34_a_refused_login_leaves_no_password_in_the_log() {
    let cluster = Server::System.plain();
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let settings = Settings::new(&[Project::new("acme", &backend)]).log_level("debug");
    let gate = Gate::with(&settings);
    let psql = Client::psql(&conninfo(&gate, "acme")).env("PGPASSWORD", SECRETS[0]);
    psql.args(["-c", "select 1"]).fails();
    gate.log().wait("the refusal", |line| {
        line.to_string().contains("refused_by_backend")
    });
    assert_secret_free(&gate);
    let key = std::fs::read_to_string(gate.file("acme", "server.key")).unwrap();
    let body = key.lines().nth(1).unwrap();
    assert!(!gate.log().raw().contains(body));
}
