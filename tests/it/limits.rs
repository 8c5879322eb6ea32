//! How much anybody may take, as a client meets it (T22, T30).

use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings};
use crate::support::message::{alice, cancel_request};
use crate::support::raw::{Raw, Secured};

fn gate(backend: &FakeBackend, limits: &[&str]) -> Gate {
    let projects = ["acme", "globex"].map(|name| Project::new(name, &backend.url()));
    let settings = Settings::new(&projects);
    Gate::with(
        &limits
            .iter()
            .fold(settings, |settings, limit| settings.limit(limit)),
    )
}

fn session(gate: &Gate, project: &str) -> Secured {
    let mut client = gate.connect(project);
    client.login(&alice());
    client
}

#[track_caller]
fn refused(gate: &Gate, project: &str, told: &str) {
    let refusal = gate.connect(project).refused(&alice());
    refusal.assert_fatal("53300");
    assert!(refusal.message().contains(told), "{refusal:?}");
}

/// Ends a session, and waits until the gate says that it did.
fn end(gate: &Gate, mut client: Secured) {
    let before = gate.log().len();
    client.finish();
    client.rest().unwrap();
    gate.log().wait_after(before, "session ended", |line| {
        line.to_string().contains("session ended")
    });
}

/// A place is given back a moment after its session was logged as ended.
#[track_caller]
fn comes_in_again(gate: &Gate) {
    let comes_in = |_| {
        let mut client = gate.connect("acme");
        client.send(&alice());
        client.message().tag != b'E'
    };
    assert!((0..1000).any(comes_in), "{}", gate.log().raw());
}

#[test]
fn one_session_too_many_for_a_project_reads_so_and_another_project_is_not_touched() {
    let backend = FakeBackend::welcoming();
    let gate = gate(&backend, &["sessions_per_project = 2"]);
    let first = session(&gate, "acme");
    let _second = session(&gate, "acme");
    refused(&gate, "acme", "to this project (at most 2)");
    let _other = session(&gate, "globex");
    end(&gate, first);
    comes_in_again(&gate);
}

#[test]
fn one_session_too_many_for_a_source_or_for_the_process_reads_so() {
    let backend = FakeBackend::welcoming();
    let of_source = gate(&backend, &["sessions_per_source = 1"]);
    let _one = session(&of_source, "acme");
    refused(&of_source, "globex", "from your address (at most 1)");
    let of_process = gate(&backend, &["sessions = 1"]);
    let _one = session(&of_process, "acme");
    refused(&of_process, "globex", "too many connections (at most 1)");
}

#[test]
fn a_projects_own_limit_is_in_force_on_reload_and_throws_nobody_out() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url());
    let gate = Gate::start(std::slice::from_ref(&acme));
    let mut clients = [session(&gate, "acme"), session(&gate, "acme")];
    let before = gate.log().len();
    gate.rewrite(&Settings::new(&[acme.set("max_sessions", "1")]));
    gate.log().wait_after(before, "reloaded", |line| {
        line.to_string().contains("configuration reloaded")
    });
    refused(&gate, "acme", "(at most 1)");
    clients.iter_mut().for_each(Secured::is_alive);
}

#[test]
fn logins_in_progress_are_limited_and_given_back() {
    let backend = FakeBackend::welcoming();
    let gate = gate(&backend, &["logins_per_source = 1"]);
    let slow = Raw::connect(gate.addr()).ask_for_tls();
    refused(&gate, "acme", "are logging in (at most 1 at a time)");
    let mut slow = slow.begin_tls(&gate.tls("acme"));
    slow.login(&alice());
    slow.is_alive();
    session(&gate, "acme");
}

#[test]
fn logins_of_the_whole_process_are_limited_and_one_too_many_reads_so() {
    let backend = FakeBackend::welcoming();
    let gate = gate(&backend, &["logins = 1"]);
    let slow = Raw::connect(gate.addr()).ask_for_tls();
    refused(
        &gate,
        "acme",
        "too many connections are logging in (at most 1",
    );
    slow.begin_tls(&gate.tls("acme")).login(&alice());
    session(&gate, "acme");
}

#[test]
fn of_a_crowd_over_the_limit_a_few_are_told_and_the_others_are_closed_on_at_once() {
    let backend = FakeBackend::welcoming();
    let gate = gate(&backend, &["logins = 1"]);
    let _slow = Raw::connect(gate.addr()).ask_for_tls();
    // As many as one source can have wait to be told, by saying nothing.
    let _silent: Vec<_> = (0..4)
        .map(|_| Raw::connect(gate.addr()).ask_for_tls())
        .collect();
    let before = gate.log().len();
    assert_eq!(Raw::connect(gate.addr()).until_closed(), b"");
    let line = gate
        .log()
        .wait_after(before, "a refusal", |line| line["reason"].is_string());
    assert_eq!(line["reason"], "too_many", "{line}");
}

#[test]
fn new_connections_beyond_the_burst_are_turned_away() {
    let backend = FakeBackend::welcoming();
    let limits = [
        "connections_per_second_per_source = 1",
        "connection_burst_per_source = 2",
    ];
    let gate = gate(&backend, &limits);
    let _clients = [session(&gate, "acme"), session(&gate, "acme")];
    refused(&gate, "acme", "too many new connections from your address");
}

#[test]
fn beyond_the_budget_a_refusal_is_a_close_before_tls() {
    let backend = FakeBackend::untouchable();
    let acme = Project::new("acme", &backend.url()).allow(&["nowhere"]);
    let limit = "refusals_explained_per_minute_per_source = 2";
    let gate = Gate::with(&Settings::new(&[acme]).limit(limit));
    for _ in 0..2 {
        gate.connect("acme").refused(&alice()).assert_fatal("28000");
    }
    gate.connect("acme").handshake().expect_err("a close");
}

#[test]
fn t29_the_budget_runs_out_alike_for_a_denied_and_for_an_unknown_project() {
    let backend = FakeBackend::untouchable();
    let acme = Project::new("acme", &backend.url()).allow(&["nowhere"]);
    let limit = "refusals_explained_per_minute_per_source = 0";
    let gate = Gate::with(&Settings::new(&[acme]).limit(limit));
    let ca = gate.file("acme", "ca.crt");
    for name in ["acme.localhost", "nosuch.localhost"] {
        let tls = crate::support::raw::TlsClient::new(&ca, name).unverified();
        Secured::connect(gate.addr(), &tls)
            .handshake()
            .expect_err("a close");
    }
}

#[test]
fn cancel_requests_beyond_the_rate_reach_nobody() {
    let backend = FakeBackend::welcoming();
    let gate = gate(&backend, &["cancels_per_second_per_source = 1"]);
    for _ in 0..3 {
        let mut cancel = Raw::connect(gate.addr());
        cancel.send(&cancel_request(1, b"none"));
        assert_eq!(cancel.until_closed(), b"");
    }
    gate.log().wait("too many cancels", |line| {
        line.to_string().contains("too_many")
    });
}

#[cfg(target_os = "linux")]
#[test]
fn t30_out_of_descriptors_the_gate_sheds_at_once_and_serves_again_afterwards() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url());
    let gate = Gate::with(
        &Settings::new(&[acme])
            .limit("logins_per_source = 1000")
            .descriptors(48),
    );
    let mut held: Vec<_> = (0..60).map(|_| Raw::connect(gate.addr())).collect();
    gate.log().wait("EMFILE", |line| {
        line.to_string().contains("cannot accept connections")
    });
    // Whoever finds no descriptor left is closed on, rather than left to wait.
    let shed = held.last_mut().unwrap();
    assert_eq!(shed.until_closed(), b"");
    drop(held);
    // The descriptors come back as the gate notices; until then it sheds.
    let served = (0..1000).any(|_| {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&crate::support::message::ssl_request());
        let mut answer = [0];
        std::io::Read::read(&mut raw.stream, &mut answer).is_ok_and(|read| read == 1)
    });
    assert!(served, "{}", gate.log().raw());
    session(&gate, "acme");
}
