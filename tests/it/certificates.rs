//! Which certificate a client is shown, and what it is like (T13, T14).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::support::authority::Authority;
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::alice;
use crate::support::raw::{Secured, TlsClient};

fn two_projects(backend: &FakeBackend) -> Vec<Project> {
    vec![
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url()),
    ]
}

/// A client that trusts `project` and asks for `server_name`.
fn asking(gate: &Gate, project: &str, server_name: &str) -> Secured {
    Secured::connect(
        gate.addr(),
        &TlsClient::new(&gate.file(project, "ca.crt"), server_name),
    )
}

#[test]
fn t13_each_project_has_a_certificate_of_its_own_on_the_same_port() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&two_projects(&backend));
    let mut leaves = Vec::new();
    for project in ["acme", "globex"] {
        let mut client = gate.connect(project);
        client.login(&alice());
        leaves.push(client.chain()[0].clone());
    }
    assert_ne!(leaves[0], leaves[1]);
}

#[test]
fn t13_a_project_is_not_vouched_for_by_another_projects_ca() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&two_projects(&backend));
    let error = asking(&gate, "globex", "acme.localhost")
        .handshake()
        .unwrap_err();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
}

#[test]
fn t13_server_name_is_compared_without_case() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&two_projects(&backend));
    let mut client = asking(&gate, "globex", "GlobEx.LocalHost");
    client.login(&alice());
    client.is_alive();
}

#[test]
fn t13_a_wildcard_host_covers_one_label() {
    let backend = FakeBackend::welcoming();
    let wild = Project::new("wild", &backend.url()).hosts(&["*.wild.localhost"]);
    let gate = Gate::start(&[wild, Project::new("acme", &backend.url())]);
    let mut client = asking(&gate, "wild", "any.wild.localhost");
    client.login(&alice());
    for outside in ["wild.localhost", "a.b.wild.localhost"] {
        asking(&gate, "wild", outside)
            .handshake()
            .expect_err("not covered");
    }
}

#[test]
fn t13_an_unknown_server_name_still_gets_a_certificate_so_that_the_refusal_can_be_read() {
    let backend = FakeBackend::untouchable();
    let projects = two_projects(&backend);
    let gate = Gate::with(&Settings::new(&projects).top("default_project = \"acme\""));
    let tls = TlsClient::new(&gate.file("acme", "ca.crt"), "nosuch.localhost");
    let mut client = Secured::connect(gate.addr(), &tls.unverified());
    client.refused(&alice()).assert_fatal("28000");
}

#[test]
fn without_server_name_the_default_project_is_meant() {
    let backend = FakeBackend::welcoming();
    let projects = two_projects(&backend);
    let gate = Gate::with(&Settings::new(&projects).top("default_project = \"globex\""));
    let tls = gate.tls("globex").with(|config| config.enable_sni = false);
    let mut client = Secured::connect(gate.addr(), &tls);
    client.login(&alice());
    client.is_alive();
}

#[test]
fn without_server_name_and_without_a_default_every_way_to_choose_is_named() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&two_projects(&backend));
    let tls = gate
        .tls("acme")
        .with(|config| config.enable_sni = false)
        .unverified();
    let refusal = Secured::connect(gate.addr(), &tls).refused(&alice());
    refusal.assert_fatal("28000");
    assert!(refusal.hint().contains("portcullis.project"), "{refusal:?}");
}

#[test]
fn t13_the_leaf_is_ecdsa_p256_with_sha256_and_names_its_hosts_as_san() {
    let backend = FakeBackend::welcoming();
    let hosts = ["acme.localhost", "127.0.0.1"];
    let gate = Gate::start(&[Project::new("acme", &backend.url()).hosts(&hosts)]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    let chain = client.chain();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(
        leaf.signature_algorithm.algorithm.to_id_string(),
        "1.2.840.10045.4.3.2"
    );
    let key = leaf.public_key().algorithm.parameters.as_ref().unwrap();
    assert_eq!(key.as_oid().unwrap().to_id_string(), "1.2.840.10045.3.1.7");
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), hosts.len());
}

#[test]
fn the_post_quantum_hybrid_is_preferred_and_tls_1_2_still_works() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    let group = client.stream.conn.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    let mut client = Secured::connect(gate.addr(), &tls_1_2(&gate, "acme"));
    client.login(&alice());
    assert_eq!(
        client.stream.conn.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
}

#[test]
fn a_tls_floor_of_1_3_refuses_1_2() {
    let backend = FakeBackend::untouchable();
    let settings = Settings::new(&[Project::new("acme", &backend.url())])
        .table("[tls]\nmin_version = \"1.3\"");
    let gate = Gate::with(&settings);
    let alert = Secured::connect(gate.addr(), &tls_1_2(&gate, "acme")).alert();
    assert_eq!(alert, rustls::AlertDescription::ProtocolVersion);
}

#[test]
fn private_keys_are_readable_by_their_owner_alone() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&two_projects(&backend));
    for project in ["acme", "globex"] {
        for key in ["ca.key", "server.key"] {
            let mode = fs::metadata(gate.file(project, key))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{project}/{key}");
        }
    }
}

#[test]
fn a_restart_keeps_the_ca_that_clients_trust() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[Project::new("acme", &backend.url())]);
    let first = Gate::with(&settings);
    let kept = tempfile::tempdir().unwrap();
    let from = first.directory().join("certs");
    let status = std::process::Command::new("cp")
        .arg("-R")
        .arg(from)
        .arg(kept.path())
        .status();
    assert!(status.unwrap().success());
    let trusted = first.tls("acme");
    drop(first);
    let second = Gate::within(kept, &settings);
    let mut client = Secured::connect(second.addr(), &trusted);
    client.login(&alice());
    client.is_alive();
}

#[test]
fn t13_a_chain_of_the_users_own_is_sent_whole() {
    let backend = FakeBackend::welcoming();
    let authority = Authority::new();
    let leaf = authority.leaf("acme.localhost");
    let files = [
        ("root.crt", authority.root()),
        ("own.crt", &leaf.chain),
        ("own.key", &leaf.key),
    ];
    let acme = Project::new("acme", &backend.url())
        .text("certificate", "own.crt")
        .text("key", "own.key");
    let gate = Gate::within(directory_of(&files), &Settings::new(&[acme]));
    let root = gate.directory().join("root.crt");
    let mut client = Secured::connect(gate.addr(), &TlsClient::new(&root, "acme.localhost"));
    client.login(&alice());
    assert_eq!(client.chain().len(), 2, "leaf and intermediate");
}

#[test]
fn t14_nothing_is_resumed_so_nothing_is_carried_into_another_project() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&two_projects(&backend));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let tickets = Arc::new(OneTicket::default());
        let connect = |project: &str| {
            let tls = gate.tls(project);
            let tls = if version.version == ProtocolVersion::TLSv1_2 {
                tls_1_2(&gate, project)
            } else {
                tls
            };
            let store = Resumption::store(tickets.clone());
            let mut client =
                Secured::connect(gate.addr(), &tls.with(|config| config.resumption = store));
            client.login(&alice());
            client.is_alive();
            client.stream.conn.handshake_kind().unwrap()
        };
        for project in ["acme", "acme", "globex"] {
            let kind = connect(project);
            assert_ne!(kind, HandshakeKind::Resumed, "{:?}", version.version);
        }
    }
}

/// Offers the latest ticket to everybody: a client that mixes projects up.
#[derive(Debug, Default)]
struct OneTicket {
    tls_1_2: Mutex<Option<Tls12ClientSessionValue>>,
    tls_1_3: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for OneTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls_1_2.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls_1_2.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        *self.tls_1_3.lock().unwrap() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls_1_3.lock().unwrap().take()
    }
}

fn tls_1_2(gate: &Gate, project: &str) -> TlsClient {
    gate.tls(project).at_version(&rustls::version::TLS12)
}
