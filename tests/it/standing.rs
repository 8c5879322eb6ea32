//! Where a client stands: who is refused goes the same way as everybody, and learns nothing of other
//! projects (T29); who only cancels needs no session's place (T9); what changes holds for who is in
//! (T27).

use crate::support::fake_backend::{FakeBackend, Peer};
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::{
    V3_0, alice, authentication_ok, backend_key_data, cancel_request, ready_for_query, ssl_request,
    startup,
};
use crate::support::raw::{Raw, Secured, TlsClient};

const ELSEWHERE: &str = "192.0.2.0/24";

/// A gate with a project that denies us, and one that doesn't.
fn two_projects(backend: &FakeBackend) -> Gate {
    Gate::start(&[
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url()).allow(&[ELSEWHERE]),
    ])
}

/// A client of `host`, whoever's certificate it is shown.
fn to(gate: &Gate, host: &str) -> Secured {
    let tls = TlsClient::new(&gate.file("acme", "ca.crt"), host).unverified();
    Secured::connect(gate.addr(), &tls)
}

fn choosing(project: &str) -> Vec<u8> {
    let options = format!("-c portcullis.project={project}");
    startup(
        V3_0,
        &[(b"user", b"alice"), (b"options", options.as_bytes())],
    )
}

#[test]
fn t29_a_denied_project_and_one_that_does_not_exist_are_refused_in_the_same_words() {
    let backend = FakeBackend::untouchable();
    let gate = two_projects(&backend);
    for packet in [alice(), choosing("globex"), choosing("nobody")] {
        let refusal = |host: &str| {
            let fields = to(&gate, host).refused(&packet);
            format!("{fields:?}").replace(host, "HOST")
        };
        assert_eq!(refusal("globex.localhost"), refusal("nobody.localhost"));
    }
}

#[test]
fn t29_a_first_packet_that_is_none_is_answered_the_same_whether_the_project_exists() {
    let backend = FakeBackend::untouchable();
    let gate = two_projects(&backend);
    let answer = |host: &str| format!("{:?}", to(&gate, host).refused(&ssl_request()));
    assert_eq!(answer("globex.localhost"), answer("nobody.localhost"));
}

#[test]
fn t29_where_one_project_drops_who_it_denies_a_name_that_is_nobodys_is_dropped_too() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url())
            .allow(&[ELSEWHERE])
            .text("refusal", "drop"),
    ]);
    for host in ["globex.localhost", "nobody.localhost"] {
        assert!(to(&gate, host).handshake().is_err(), "{host}");
    }
}

#[test]
fn a_name_of_the_load_balancers_and_the_project_in_options_is_no_refusal() {
    let backend = FakeBackend::welcoming();
    let gate = two_projects(&backend);
    // More often than refusals are explained.
    for _ in 0..15 {
        to(&gate, "lb.localhost").login(&choosing("acme"));
    }
}

/// A backend with one key for all, that counts on a CancelRequest after a session.
fn with_key(key: &'static [u8]) -> FakeBackend {
    FakeBackend::serving(move |mut peer: Peer| {
        let first = peer.packet();
        if first[4..8] == 80_877_102_u32.to_be_bytes() {
            assert_eq!(first, cancel_request(7, key));
            return;
        }
        let welcome = [
            authentication_ok(),
            backend_key_data(7, key),
            ready_for_query(),
        ];
        peer.send(&welcome.concat());
        peer.serve_queries();
    })
}

#[test]
fn t9_a_cancel_inside_tls_needs_no_place_among_the_sessions() {
    let backend = with_key(b"\x01\x02\x03\x04");
    let gate = Gate::start(&[Project::new("acme", &backend.url()).set("max_sessions", "1")]);
    let mut session = gate.connect("acme");
    session.login(&alice());
    let mut cancel = gate.connect("acme");
    cancel.send(&cancel_request(7, b"\x01\x02\x03\x04"));
    assert_eq!(cancel.rest().unwrap(), b"");
    gate.log().wait("the cancel", |line| {
        text(line, "message") == "cancel forwarded"
    });
    session.is_alive();
}

#[test]
fn t9_a_cancel_inside_tls_is_carried_out_while_the_gate_drains() {
    let backend = with_key(b"\x01\x02\x03\x04");
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut session = gate.connect("acme");
    session.login(&alice());
    gate.signal("TERM");
    gate.log()
        .wait("draining", |line| text(line, "message") == "draining");
    gate.connect("acme").refused(&alice()).assert_fatal("57P03");
    let mut cancel = gate.connect("acme");
    cancel.send(&cancel_request(7, b"\x01\x02\x03\x04"));
    assert_eq!(cancel.rest().unwrap(), b"");
    gate.log().wait("the cancel", |line| {
        text(line, "message") == "cancel forwarded"
    });
    session.is_alive();
}

#[test]
fn t27_the_process_wide_deny_cuts_who_is_in() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url()).text("on_revoke", "keep");
    let settings = Settings::new(std::slice::from_ref(&acme));
    let gate = Gate::with(&settings);
    let mut session = gate.connect("acme");
    session.login(&alice());
    gate.rewrite(&Settings::new(&[acme]).top("deny = [\"127.0.0.0/8\"]"));
    session.message().error().assert_fatal("57P01");
}

#[test]
fn t27_rules_hold_for_who_is_in_while_the_gate_drains() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url());
    let gate = Gate::start(std::slice::from_ref(&acme));
    let mut session = gate.connect("acme");
    session.login(&alice());
    gate.signal("TERM");
    gate.log()
        .wait("draining", |line| text(line, "message") == "draining");
    gate.rewrite(&Settings::new(&[acme.allow(&[ELSEWHERE])]));
    let cut = session.message().error();
    cut.assert_fatal("57P01");
    assert!(cut.message().contains("no longer allowed"), "{cut:?}");
}

#[test]
fn a_listener_whose_project_was_removed_opens_no_other() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url());
    let both = [acme.clone(), Project::new("public", &backend.url())];
    let pinned = "[[listener]]\naddress = \"127.0.0.1:0\"\nproject = \"public\"";
    let gate = Gate::with(&Settings::new(&both).listen(&[]).table(pinned));
    to(&gate, "public.localhost").login(&alice());
    gate.rewrite(&Settings::new(&[acme]));
    gate.log().wait("the reload", |line| {
        text(line, "message") == "configuration reloaded"
    });
    to(&gate, "acme.localhost")
        .refused(&alice())
        .assert_fatal("28000");
}

#[test]
fn t33_connects_beyond_a_limit_do_not_fill_the_log() {
    let backend = FakeBackend::untouchable();
    let settings = Settings::new(&[Project::new("acme", &backend.url())])
        .limit("logins_per_source = 1")
        .limit("refusals_explained_per_minute_per_source = 0");
    let gate = Gate::with(&settings);
    // All at once: the first takes the place, and every other one is too many.
    let crowd: Vec<_> = (0..300).map(|_| Raw::connect(gate.addr())).collect();
    for mut raw in crowd.into_iter().skip(1) {
        assert_eq!(raw.until_closed(), b"");
    }
    let refused = gate.log().lines();
    let refused = refused
        .iter()
        .filter(|line| text(line, "message") == "login refused")
        .count();
    assert!((1..=100).contains(&refused), "{refused} lines");
}
