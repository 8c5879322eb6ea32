//! The leg to the backend: its answer to SSLRequest, its certificate, SCRAM across two TLS legs
//! (T18, T19).

use portcullis::cli::demo::cluster::{Cluster, Plan};

use crate::support::authority::{Authority, Leaf};
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, Peer};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::{alice, error_response, ssl_request};
use crate::support::postgres::Server;

const MODES: [&str; 3] = ["require", "verify-ca", "verify-full"];

/// A gate whose backend must do TLS as `sslmode` says, with the leaf of an authority of its own.
fn demanding(sslmode: &str, backend: &str, trusted: &Authority) -> Gate {
    let acme = Project::new("acme", backend).text("sslmode", sslmode);
    let acme = if sslmode == "require" {
        acme
    } else {
        acme.text("sslrootcert", "root.crt")
    };
    Gate::within(
        directory_of(&[("root.crt", trusted.root())]),
        &Settings::new(&[acme]),
    )
}

/// What a client reads when the backend answers SSLRequest with `answer`.
fn refusal_after(answer: &'static [u8], sslmode: &str, sqlstate: &str) -> String {
    let backend = FakeBackend::serving(move |mut peer: Peer| {
        assert_eq!(peer.packet(), ssl_request());
        peer.send(answer);
        peer.finish();
        // Neither a StartupMessage in clear nor anything else but a ClientHello may follow.
        let rest = peer.rest().unwrap_or_default();
        assert!(
            rest.is_empty() || rest.starts_with(b"\x16"),
            "in clear: {rest:x?}"
        );
    });
    let gate = demanding(sslmode, &backend.url(), &Authority::new());
    let refusal = gate.connect("acme").refused(&alice());
    refusal.assert_fatal(sqlstate);
    format!("{refusal:?}")
}

#[test]
fn t18_a_backend_without_tls_is_refused_and_nothing_is_sent_in_clear() {
    for sslmode in MODES {
        refusal_after(b"N", sslmode, "08001");
    }
}

#[test]
fn t18_what_a_backend_says_before_tls_is_not_passed_on() {
    let refusal = refusal_after(
        b"E\x00\x00\x00\x1aSERROR\0Mcall 555-0100\0\0",
        "require",
        "57P03",
    );
    assert!(!refusal.contains("555-0100"), "{refusal}");
}

#[test]
fn t18_a_backend_that_closes_or_babbles_is_refused() {
    // One that closes may come back, or be another of libpq's hosts (T22); babble is no PostgreSQL.
    refusal_after(b"", "require", "57P03");
    refusal_after(b"X", "require", "08001");
    refusal_after(b"HTTP/1.1 400 Bad Request\r\n", "require", "08001");
}

#[test]
fn t1_bytes_behind_the_backends_s_end_the_connection() {
    refusal_after(b"S\x00", "require", "08001");
    refusal_after(b"SR\x00\x00\x00\x08\x00\x00\x00\x00", "require", "08001");
}

#[test]
fn t18_without_tls_no_sslrequest_is_sent() {
    let backend = FakeBackend::serving(|mut peer| {
        assert_eq!(peer.login(), alice());
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url()).text("sslmode", "disable")]);
    gate.connect("acme").login(&alice());
}

#[test]
fn the_backends_error_reaches_the_operator_and_not_the_client() {
    let said = error_response(&[(b'S', "FATAL"), (b'M', "internal host db-7")]);
    let backend = FakeBackend::serving(move |mut peer: Peer| {
        peer.packet();
        peer.send(&said);
    });
    let gate = demanding("require", &backend.url(), &Authority::new());
    let refusal = gate.connect("acme").refused(&alice());
    let (_, reference) = refusal
        .message()
        .split_once("(reference ")
        .expect("a reference");
    let reference = reference.trim_end_matches(')').to_owned();
    gate.log().wait("the reference", |line| {
        line.to_string().contains(&reference)
    });
}

/// A server that speaks TLS with `leaf`, and whose rules for TCP are `hba`.
fn with_tls(leaf: &Leaf, hba: &[&str]) -> Cluster {
    Server::System.start(|plan: &mut Plan| {
        plan.settings.push("ssl = on".to_owned());
        plan.files.push(("server.crt", leaf.chain.clone()));
        plan.files.push(("server.key", leaf.key.clone()));
        plan.hba = hba.iter().map(ToString::to_string).collect();
    })
}

fn at(host: &str, cluster: &Cluster) -> String {
    format!("postgres://{host}:{}", cluster.port())
}

/// Whether the client's session says that the backend's own leg is TLS.
const IS_TLS: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[test]
fn each_sslmode_takes_the_certificates_that_libpq_would() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let cluster = with_tls(
        &trusted.leaf("localhost"),
        &["hostssl all all 127.0.0.1/32 trust"],
    );
    let cases = [
        ("require", "127.0.0.1", &other, true),
        ("verify-ca", "127.0.0.1", &trusted, true),
        ("verify-ca", "127.0.0.1", &other, false),
        ("verify-full", "localhost", &trusted, true),
        ("verify-full", "127.0.0.1", &trusted, false),
        ("verify-full", "localhost", &other, false),
    ];
    for (sslmode, host, authority, accepted) in cases {
        let gate = demanding(sslmode, &at(host, &cluster), authority);
        let psql = Client::psql(&conninfo(&gate, "acme")).args(["-c", IS_TLS]);
        if accepted {
            assert_eq!(psql.prints(), "t", "{sslmode} {host}");
        } else {
            let words = psql.fails();
            assert!(
                words.contains("can't be trusted"),
                "{sslmode} {host}: {words}"
            );
        }
    }
}

#[test]
fn t19_scram_across_two_certificates_says_what_to_set() {
    let authority = Authority::new();
    let cluster = with_tls(
        &authority.leaf("localhost"),
        &["hostssl all all 127.0.0.1/32 scram-sha-256"],
    );
    let gate = demanding("verify-full", &at("localhost", &cluster), &authority);
    let words = Client::psql(&conninfo(&gate, "acme"))
        .args(["-c", IS_TLS])
        .fails();
    assert!(
        words.contains("another certificate than the gate"),
        "{words}"
    );
    for way in ["channel_binding=disable", "auth = \"scram\""] {
        assert!(words.contains(way), "{words}");
    }
}

#[test]
fn t19_scram_across_two_certificates_works_where_the_client_binds_nothing() {
    let authority = Authority::new();
    let cluster = with_tls(
        &authority.leaf("localhost"),
        &["hostssl all all 127.0.0.1/32 scram-sha-256"],
    );
    let gate = demanding("verify-full", &at("localhost", &cluster), &authority);
    let conninfo = conninfo(&gate, "acme") + " channel_binding=disable";
    assert_eq!(Client::psql(&conninfo).args(["-c", IS_TLS]).prints(), "t");
}

#[test]
fn t19_scram_is_bound_end_to_end_where_both_legs_show_the_same_leaf() {
    let authority = Authority::new();
    let leaf = authority.leaf("acme.localhost");
    let cluster = with_tls(&leaf, &["hostssl all all 127.0.0.1/32 scram-sha-256"]);
    let files = [
        ("root.crt", authority.root()),
        ("own.crt", &leaf.chain),
        ("own.key", &leaf.key),
    ];
    let acme = Project::new("acme", &at("127.0.0.1", &cluster))
        .text("sslmode", "verify-ca")
        .text("sslrootcert", "root.crt")
        .text("certificate", "own.crt")
        .text("key", "own.key");
    let gate = Gate::within(directory_of(&files), &Settings::new(&[acme]));
    let root = gate.directory().join("root.crt");
    for binding in ["require", "prefer", "disable"] {
        let conninfo = format!(
            "host=acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app \
             sslmode=verify-full sslrootcert={} channel_binding={binding}",
            gate.port(),
            root.display()
        );
        assert_eq!(
            Client::psql(&conninfo).args(["-c", IS_TLS]).prints(),
            "t",
            "{binding}"
        );
    }
}

#[test]
fn t19_scram_over_a_plaintext_leg_works_unless_the_client_insists_on_binding() {
    let cluster = Server::System.plain();
    let gate = Gate::start(&[Project::new("acme", &at("127.0.0.1", &cluster))]);
    let conninfo = conninfo(&gate, "acme");
    assert_eq!(Client::psql(&conninfo).args(["-c", IS_TLS]).prints(), "f");
    let insisting = conninfo + " channel_binding=require";
    Client::psql(&insisting).args(["-c", IS_TLS]).fails();
}

#[test]
fn every_way_of_authentication_passes_on_a_plaintext_leg_and_on_tls() {
    let authority = Authority::new();
    let ways = ["trust", "password", "md5", "scram-sha-256"];
    let hba: Vec<_> = ways
        .iter()
        .map(|way| format!("host all {way} 127.0.0.1/32 {way}"))
        .collect();
    let hba: Vec<_> = hba.iter().map(String::as_str).collect();
    let cluster = with_tls(&authority.leaf("localhost"), &hba);
    let password = crate::support::postgres::PASSWORD;
    for way in ways {
        let verifier = if way == "md5" { "md5" } else { "scram-sha-256" };
        let role = format!("create role \"{way}\" login superuser password '{password}'");
        cluster
            .sql(&format!("set password_encryption = '{verifier}'; {role}"))
            .unwrap();
    }
    for sslmode in ["disable", "require"] {
        let acme = Project::new("acme", &at("127.0.0.1", &cluster)).text("sslmode", sslmode);
        let gate = Gate::start(&[acme]);
        for way in ways {
            let conninfo = conninfo(&gate, "acme").replace("user=alice", &format!("user={way}"));
            let conninfo = conninfo + " channel_binding=disable";
            let user = Client::psql(&conninfo)
                .args(["-c", "select current_user"])
                .prints();
            assert_eq!(user, way, "sslmode = {sslmode}");
        }
    }
}

#[test]
fn a_unix_socket_is_a_backend() {
    let cluster = Server::System.start(|plan| {
        plan.hba = vec!["local all alice scram-sha-256".to_owned()];
    });
    let backend = format!(
        "{}:{}",
        cluster.socket_directory().display(),
        cluster.port()
    );
    let gate = Gate::start(&[Project::new("acme", &backend)]);
    let address = "select inet_server_addr() is null";
    assert_eq!(
        Client::psql(&conninfo(&gate, "acme"))
            .args(["-c", address])
            .prints(),
        "t"
    );
}
