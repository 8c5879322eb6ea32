//! Client certificates: who is let in with which, who is told what, and who is cut when that changes
//! (T9, T14, T25, T27, T29, T34).

mod changes;
mod hostile;
mod real;

use std::sync::Arc;

use rcgen::SerialNumber;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use time::{Duration, OffsetDateTime};

use crate::support::client_ca::{ClientCa, ClientLeaf, Showing, email};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::message::{V3_0, alice, cancel_request, startup};
use crate::support::raw::{Raw, Secured, TlsClient};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The serial number that [`revoked`] has.
const REVOKED: u64 = 0x4711;

/// A project that trusts the CA in `clients-ca.crt`, and believes its list.
fn acme(backend: &FakeBackend, mode: &str) -> Project {
    Project::new("acme", &backend.url())
        .text("client_certificate", mode)
        .text("client_ca", "clients-ca.crt")
        .text("client_crl", "clients.crl")
}

/// A gate with these projects, which trust `ca`.
fn gate(ca: &ClientCa, projects: &[Project]) -> Gate {
    let crl = ca.crl(&[REVOKED]);
    let directory = directory_of(&[("clients-ca.crt", ca.pem()), ("clients.crl", &crl)]);
    Gate::within(directory, &Settings::new(projects))
}

fn expired(ca: &ClientCa) -> ClientLeaf {
    let hour_ago = OffsetDateTime::now_utc() - Duration::HOUR;
    ca.leaf_with("alice", |params| {
        (params.not_before, params.not_after) = (hour_ago - Duration::DAY, hour_ago);
    })
}

fn revoked(ca: &ClientCa) -> ClientLeaf {
    ca.leaf_with("alice", |params| {
        params.serial_number = Some(SerialNumber::from(REVOKED));
    })
}

fn user(name: &str) -> Vec<u8> {
    startup(V3_0, &[(b"user", name.as_bytes()), (b"database", b"app")])
}

/// A connection inside TLS that shows `leaf`, if there is one.
fn connect(gate: &Gate, tls: TlsClient, leaf: Option<&ClientLeaf>) -> Secured {
    let showing = leaf.map_or_else(Showing::nothing, Showing::leaf);
    Secured::connect(gate.addr(), &tls.showing(showing))
}

/// What the client is told, if it isn't let in.
#[track_caller]
fn told(gate: &Gate, project: &str, leaf: Option<&ClientLeaf>, name: &str) -> Option<String> {
    let mut client = connect(gate, gate.tls(project), leaf);
    client.send(&user(name));
    let first = client.message();
    if first.tag != b'E' {
        return None;
    }
    let fatal = first.error();
    fatal.assert_fatal("28000");
    assert!(!fatal.hint().is_empty(), "{fatal:?}");
    assert_eq!(client.rest().unwrap(), b"");
    Some(fatal.message().to_owned())
}

#[test]
fn each_mode_lets_in_whom_it_says_and_tells_the_others_why_inside_tls_of_any_version() {
    let (ca, other) = (ClientCa::new("clients"), ClientCa::new("others"));
    let expired = expired(&ca);
    let mut seen = 0;
    for mode in ["off", "optional", "required"] {
        let backend = FakeBackend::welcoming();
        let acme = match mode {
            "off" => Project::new("acme", &backend.url()),
            mode => acme(&backend, mode),
        };
        let gate = gate(&ca, &[acme]);
        let none = "connections to this project need a client certificate";
        for (leaf, optional, required) in [
            (None, "", none),
            (Some(&ca.leaf("alice")), "", ""),
            (
                Some(&expired),
                "the client certificate expired on",
                "the client certificate expired on",
            ),
            (
                Some(&revoked(&ca)),
                "serial number 4711 is revoked",
                "serial number 4711 is revoked",
            ),
            (
                Some(&other.leaf("alice")),
                "not signed by a CA that is trusted",
                "not signed by a CA that is trusted",
            ),
            (
                Some(&ca.leaf("bob")),
                "",
                "the client certificate of CN=bob is not one of user \"alice\"",
            ),
        ] {
            let expected = match mode {
                "off" => "",
                "optional" => optional,
                _ => required,
            };
            for version in VERSIONS {
                let tls = gate.tls("acme").at_version(version);
                let mut client = connect(&gate, tls, leaf);
                if expected.is_empty() {
                    client.login(&alice());
                    client.is_alive();
                } else {
                    let fatal = client.refused(&alice());
                    fatal.assert_fatal("28000");
                    assert!(fatal.message().contains(expected), "{mode}: {fatal:?}");
                    assert!(!fatal.hint().is_empty(), "{fatal:?}");
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 36);
}

#[test]
fn who_is_refused_for_its_certificate_never_reaches_the_backend() {
    let (ca, other) = (ClientCa::new("clients"), ClientCa::new("others"));
    let backend = FakeBackend::untouchable();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let leaves = [
        None,
        Some(expired(&ca)),
        Some(revoked(&ca)),
        Some(other.leaf("alice")),
        Some(ca.leaf("bob")),
    ];
    for leaf in &leaves {
        assert!(told(&gate, "acme", leaf.as_ref(), "alice").is_some());
    }
}

#[test]
fn a_certificate_counts_over_direct_tls_too() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let direct = |showing: Arc<Showing>| {
        Raw::connect(gate.addr()).begin_tls(&gate.tls("acme").showing(showing))
    };
    direct(Showing::leaf(&ca.leaf("alice"))).login(&alice());
    let fatal = direct(Showing::nothing()).refused(&alice());
    fatal.assert_fatal("28000");
}

#[test]
fn the_user_is_whom_the_certificate_names_by_the_projects_map() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let project = |name, rest: fn(Project) -> Project| {
        let project = Project::new(name, &backend.url())
            .text("client_certificate", "required")
            .text("client_ca", "clients-ca.crt");
        rest(project)
    };
    let gate = gate(
        &ca,
        &[
            project("cn", |project| project),
            project("any", |project| project.text("user", "any")),
            project("san", |project| project.text("user", "san")),
            project("mapped", |project| {
                let map = "{ \"*@example.com\" = \"*\", \"Ann Adams\" = [\"ann\", \"reports\"] }";
                project.text("user", "san").set("user_map", map)
            }),
            project("named", |project| {
                project.set("user_map", "{ \"Ann Adams\" = [\"ann\", \"reports\"] }")
            }),
        ],
    );
    let ann = ca.leaf_with("Ann Adams", |params| {
        params.subject_alt_names = vec![email("ann@example.com"), email("boss@example.org")];
    });
    let mut seen = 0;
    for (project, users, not) in [
        ("cn", &["Ann Adams"][..], &["ann", "ann adams", ""][..]),
        ("any", &["Ann Adams", "postgres"], &[]),
        (
            "san",
            &["ann@example.com", "boss@example.org"],
            &["ann", "Ann Adams"],
        ),
        (
            "mapped",
            &["ann"],
            &["boss", "ann@example.com", "reports", "*"],
        ),
        ("named", &["ann", "reports"], &["Ann Adams", "postgres"]),
    ] {
        for user in users {
            assert_eq!(
                told(&gate, project, Some(&ann), user),
                None,
                "{project} {user}"
            );
            seen += 1;
        }
        for user in not {
            let told = told(&gate, project, Some(&ann), user).expect("a refusal");
            assert!(told.contains("CN=Ann Adams is not one of user"), "{told}");
            seen += 1;
        }
    }
    assert_eq!(seen, 19);
}

#[test]
fn a_projects_own_ca_vouches_for_its_clients_and_for_no_other_projects() {
    let backend = FakeBackend::welcoming();
    let project = |name| Project::new(name, &backend.url()).text("client_certificate", "required");
    let gate = Gate::start(&[project("acme"), project("globex")]);
    let ca_of = |name| ClientCa::kept_in(gate.file(name, "ca.crt").parent().unwrap());
    let (acme, globex) = (ca_of("acme").leaf("alice"), ca_of("globex").leaf("alice"));
    assert_eq!(told(&gate, "acme", Some(&acme), "alice"), None);
    assert_eq!(told(&gate, "globex", Some(&globex), "alice"), None);
    for (project, leaf) in [("acme", &globex), ("globex", &acme)] {
        let told = told(&gate, project, Some(leaf), "alice").expect("a refusal");
        assert!(
            told.contains("not signed by a CA that is trusted"),
            "{told}"
        );
    }
    // By the door of one and the name of the other, the certificate is judged by the other.
    let startup = startup(
        V3_0,
        &[
            (b"user", b"alice"),
            (b"options", b"-c portcullis.project=globex"),
        ],
    );
    let fatal = connect(&gate, gate.tls("acme"), Some(&acme)).refused(&startup);
    fatal.assert_fatal("28000");
}

#[test]
fn the_certificate_request_names_the_cas_of_the_project_and_no_others() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let both = "[\"project\", \"clients-ca.crt\"]";
    let gate = gate(
        &ca,
        &[
            acme(&backend, "optional").set("client_ca", both),
            Project::new("globex", &backend.url()).text("client_certificate", "optional"),
            Project::new("open", &backend.url()),
        ],
    );
    let asked = |project: &str| {
        let showing = Showing::nothing();
        let tls = gate.tls(project).showing(showing.clone());
        Secured::connect(gate.addr(), &tls).login(&alice());
        showing.asked.lock().unwrap().clone()
    };
    let names = |all: &[Vec<Vec<u8>>], name: &str| {
        let has = |der: &Vec<u8>| der.windows(name.len()).any(|part| part == name.as_bytes());
        all.iter().flatten().filter(|der| has(der)).count()
    };
    let (acme, globex) = (asked("acme"), asked("globex"));
    assert_eq!(acme[0].len(), 2);
    assert_eq!((names(&acme, "acme"), names(&acme, "clients")), (1, 1));
    assert_eq!(globex[0].len(), 1);
    assert_eq!(names(&globex, "globex"), 1);
    assert!(asked("open").is_empty(), "a certificate was asked for");
}

#[test]
fn t9_a_cancel_inside_tls_needs_no_certificate() {
    let ca = ClientCa::new("clients");
    let (cancelled, is_cancelled) = std::sync::mpsc::channel();
    let cancelled = std::sync::Mutex::new(cancelled);
    let expected = cancel_request(4711, b"\xde\xad\xbe\xef");
    let backend = FakeBackend::serving(move |mut peer| {
        let first = peer.packet();
        if first == expected {
            cancelled.lock().unwrap().send(()).unwrap();
        } else {
            peer.send(&crate::support::message::welcome());
            peer.serve_queries();
        }
    });
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let mut session = connect(&gate, gate.tls("acme"), Some(&ca.leaf("alice")));
    session.login(&alice());
    let mut cancel = connect(&gate, gate.tls("acme"), None);
    cancel.send(&cancel_request(4711, b"\xde\xad\xbe\xef"));
    assert_eq!(
        cancel.rest().unwrap(),
        b"",
        "a CancelRequest is never answered"
    );
    is_cancelled.recv_timeout(crate::support::PATIENCE).unwrap();
    session.is_alive();
}

#[test]
fn t14_who_showed_a_certificate_once_has_to_show_it_again() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    for version in VERSIONS {
        // The same client, with the same store of sessions to resume.
        let tls = gate.tls("acme").at_version(version);
        let with = tls.clone().showing(Showing::leaf(&ca.leaf("alice")));
        let mut first = Secured::connect(gate.addr(), &with);
        first.login(&alice());
        first.is_alive();
        let without = with.with(|config| config.client_auth_cert_resolver = Showing::nothing());
        let fatal = Secured::connect(gate.addr(), &without).refused(&alice());
        fatal.assert_fatal("28000");
    }
}

#[test]
fn t29_whom_the_rules_deny_learns_nothing_of_certificates() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::untouchable();
    let gate = gate(&ca, &[acme(&backend, "required").allow(&["nowhere"])]);
    let told = told(&gate, "acme", None, "alice").expect("a refusal");
    assert!(told.contains("are not allowed to"), "{told}");
}

#[test]
fn the_log_says_whose_certificate_it_is() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::welcoming();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let leaf = ca.leaf_with("alice", |params| {
        params.serial_number = Some(SerialNumber::from(0xabc_u64));
    });
    let mut session = connect(&gate, gate.tls("acme"), Some(&leaf));
    session.login(&alice());
    let opened = gate.log().wait("session opened", |line| {
        text(line, "message") == "session opened"
    });
    assert_eq!(text(&opened, "certificate"), "CN=alice");
    assert_eq!(text(&opened, "certificate_serial"), "0ABC");
    assert!(told(&gate, "acme", Some(&revoked(&ca)), "alice").is_some());
    let refused = gate.log().wait("login refused", |line| {
        text(line, "message") == "login refused"
    });
    assert_eq!(text(&refused, "reason"), "client_certificate_distrusted");
    assert!(
        text(&refused, "why").contains("CN=alice, serial 4711"),
        "{refused}"
    );
}
