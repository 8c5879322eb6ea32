//! Who may come in, and what those read who may not.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, url};
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::{V3_0, alice, startup};
use crate::support::postgres::Server;
use crate::support::raw::{Raw, Secured, TlsClient};

/// Nobody here comes from it.
const ELSEWHERE: &str = "192.0.2.0/24";

#[test]
fn t7_a_denied_address_never_reaches_the_backend_and_reads_why_inside_tls() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(&[ELSEWHERE])]);
    let refusal = gate.connect("acme").refused(&alice());
    refusal.assert_fatal("28000");
    assert_eq!(
        refusal.message(),
        "connections from 127.0.0.1 are not allowed to \"acme.localhost\""
    );
    assert!(refusal.hint().contains("allow list"), "{refusal:?}");
}

/// All of 127.0.0.0/8 is this machine's on Linux; elsewhere only what was configured.
#[cfg(target_os = "linux")]
#[test]
fn of_two_addresses_each_gets_its_own_answer() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(&["127.0.0.7"])]);
    let from = |source: &str| {
        let raw = Raw::connect_from(source, gate.addr());
        raw.ask_for_tls().begin_tls(&gate.tls("acme"))
    };
    from("127.0.0.7").login(&alice());
    let refusal = from("127.0.0.8").refused(&alice());
    assert!(refusal.message().contains("from 127.0.0.8 "), "{refusal:?}");
}

#[test]
fn two_projects_on_one_port_have_rules_of_their_own() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url()).allow(&[ELSEWHERE]),
    ]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    gate.connect("globex")
        .refused(&alice())
        .assert_fatal("28000");
    client.is_alive();
}

#[test]
fn every_form_of_source_admits_what_it_covers_and_nothing_else() {
    let backend = FakeBackend::welcoming();
    let lists: [(&[&str], bool); 10] = [
        (&["127.0.0.1"], true),
        (&["127.0.0.0/8"], true),
        (&["126.0.0.0-127.0.0.1"], true),
        (&["anywhere"], true),
        (&[ELSEWHERE, "127.0.0.1/32"], true),
        (&["nowhere"], false),
        (&["127.0.0.2", "127.0.0.0/32"], false),
        (&["127.0.0.2-127.0.0.9"], false),
        (&["::1", "2001:db8::/32"], false),
        (&["endpoint:vpce-0123"], false),
    ];
    for (allow, admitted) in lists {
        let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(allow)]);
        let mut client = gate.connect("acme");
        if admitted {
            client.login(&alice());
        } else {
            client.refused(&alice()).assert_fatal("28000");
        }
    }
}

#[test]
fn the_longest_match_decides_and_deny_wins_where_equal() {
    let backend = FakeBackend::welcoming();
    let cases: [(&[&str], &[&str], bool); 4] = [
        (&["127.0.0.1"], &["127.0.0.0/8"], true),
        (&["127.0.0.0/8"], &["127.0.0.1"], false),
        (&["127.0.0.1"], &["127.0.0.1"], false),
        (&["anywhere"], &[ELSEWHERE], true),
    ];
    for (allow, deny, admitted) in cases {
        let acme = Project::new("acme", &backend.url())
            .allow(allow)
            .text_list("deny", deny);
        let gate = Gate::start(&[acme]);
        let mut client = gate.connect("acme");
        if admitted {
            client.login(&alice());
        } else {
            client.refused(&alice()).assert_fatal("28000");
        }
    }
}

#[test]
fn t23_an_ipv4_client_of_a_dual_stack_listener_is_its_ipv4_address() {
    let backend = FakeBackend::welcoming();
    let projects = [
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url()).allow(&["127.0.0.2", "::/0"]),
    ];
    let gate = Gate::with(&Settings::new(&projects).listen(&["[::]:0"]));
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, gate.addr().port()));
    Secured::connect(v4, &gate.tls("acme")).login(&alice());
    let refusal = Secured::connect(v4, &gate.tls("globex")).refused(&alice());
    assert!(refusal.message().contains("from 127.0.0.1 "), "{refusal:?}");
}

#[test]
fn one_list_decides_on_ipv4_and_ipv6_clients() {
    let backend = FakeBackend::welcoming();
    let projects = [
        Project::new("acme", &backend.url()).allow(&[ELSEWHERE, "::1"]),
        Project::new("globex", &backend.url())
            .allow(&["127.0.0.1", "::/64"])
            .text_list("deny", &["::1"]),
    ];
    let gate = Gate::with(&Settings::new(&projects).listen(&["[::]:0"]));
    let port = gate.addr().port();
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    for (admitted, denied, project) in [(v6, v4, "acme"), (v4, v6, "globex")] {
        Secured::connect(admitted, &gate.tls(project)).login(&alice());
        let refusal = Secured::connect(denied, &gate.tls(project)).refused(&alice());
        let from = format!("from {} ", denied.ip());
        assert!(refusal.message().contains(&from), "{refusal:?}");
    }
}

#[test]
fn t29_an_unknown_server_name_reads_the_words_of_a_denied_address() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url())
        .hosts(&["*.acme.localhost"])
        .allow(&[ELSEWHERE])]);
    let ca = gate.file("acme", "ca.crt");
    let asking = |name: &str| {
        let tls = TlsClient::new(&ca, name).unverified();
        Secured::connect(gate.addr(), &tls).refused(&alice())
    };
    let denied = asking("db.acme.localhost");
    let unknown = asking("db.nosuch.localhost");
    let words = denied.message().replace("acme", "nosuch");
    assert_eq!(unknown.message(), words);
    let [denied, unknown] = [&denied, &unknown].map(|refusal| (refusal.code(), refusal.hint()));
    assert_eq!(denied, unknown);
}

#[test]
fn a_project_may_be_named_in_options() {
    let backend = FakeBackend::welcoming();
    let projects = [
        Project::new("acme", &backend.url()),
        Project::new("globex", &backend.url()),
    ];
    let settings = Settings::new(&projects).top("default_project = \"acme\"");
    let gate = Gate::with(&settings);
    let tls = gate.tls("acme").with(|config| config.enable_sni = false);
    let asking = |options: &[u8]| startup(V3_0, &[(b"user", b"alice"), (b"options", options)]);
    Secured::connect(gate.addr(), &tls).login(&asking(b"-c portcullis.project=globex"));
    // One line a session, with the project that it came to.
    let line = gate
        .log()
        .wait("a session", |line| text(line, "project") == "globex");
    assert_ne!(line, serde_json::Value::Null);
    // server_name says one thing, options another.
    let conflict = asking(b"-c portcullis.project=globex");
    gate.connect("acme")
        .refused(&conflict)
        .assert_fatal("28000");
}

#[test]
fn refusal_drop_is_a_close_before_tls() {
    let backend = FakeBackend::untouchable();
    let acme = Project::new("acme", &backend.url())
        .allow(&[ELSEWHERE])
        .text("refusal", "drop");
    let gate = Gate::start(&[acme]);
    let mut client = gate.connect("acme");
    let error = client.handshake().unwrap_err();
    assert!(client.chain().is_empty(), "TLS went on: {error}");
}

#[test]
fn past_its_budget_a_source_is_refused_by_a_close_before_tls() {
    let backend = FakeBackend::untouchable();
    let acme = Project::new("acme", &backend.url()).allow(&[ELSEWHERE]);
    let budget = "refusals_explained_per_minute_per_source = 2";
    let gate = Gate::with(&Settings::new(&[acme]).limit(budget));
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
    gate.connect("acme").handshake().unwrap_err();
}

#[test]
fn observe_lets_in_whom_the_rules_deny_and_logs_and_counts_them_as_such() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url())
        .allow(&[ELSEWHERE])
        .set("observe", "true");
    let admitted = Project::new("globex", &backend.url()).set("observe", "true");
    let gate = Gate::with(&Settings::new(&[acme, admitted]).with_admin());
    for project in ["globex", "acme"] {
        let mut client = gate.connect(project);
        client.login(&alice());
        client.is_alive();
    }
    gate.log().wait("what would be denied", |line| {
        line.to_string().contains("observe")
    });
    let metrics = gate.admin("/metrics");
    let counted: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_observed_total"))
        .collect();
    assert_eq!(counted, ["portcullis_observed_total{project=\"acme\"} 1"]);
}

#[test]
fn the_process_wide_deny_closes_at_accept() {
    let backend = FakeBackend::untouchable();
    let settings = Settings::new(&[Project::new("acme", &backend.url()).allow(&["anywhere"])])
        .top("deny = [\"127.0.0.1\"]");
    let gate = Gate::with(&settings);
    let mut raw = Raw::connect(gate.addr());
    raw.send(&crate::support::message::ssl_request());
    assert_eq!(raw.until_closed(), b"");
}

#[test]
fn a_full_project_refuses_with_53300_until_somebody_leaves() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).set("max_sessions", "1")]);
    let mut first = gate.connect("acme");
    first.login(&alice());
    gate.connect("acme").refused(&alice()).assert_fatal("53300");
    first.is_alive();
    first.finish();
    first.rest().unwrap();
    let is_end = |line: &serde_json::Value| text(line, "message") == "session ended";
    gate.log().wait("session ended", is_end);
    gate.connect("acme").login(&alice());
}

#[test]
fn t22_a_backend_that_is_down_is_57p03() {
    let gate = Gate::start(&[Project::new("acme", &url(FakeBackend::nobody()))]);
    let refusal = gate.connect("acme").refused(&alice());
    refusal.assert_fatal("57P03");
    // The same reference stands in the log, with what the client isn't told.
    let (_, reference) = refusal
        .message()
        .split_once("(reference ")
        .expect("a reference");
    let reference = reference.trim_end_matches(')').to_owned();
    gate.log().wait("the reference", |line| {
        line.to_string().contains(&reference)
    });
}

#[test]
fn t21_the_backends_own_refusal_reaches_the_client_untouched() {
    let refusal = crate::support::message::error_response(&[
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', "3D000"),
        (b'M', "database \"app\" does not exist"),
        (b'F', "postinit.c"),
        (b'x', "a field of the future"),
    ]);
    let sent = refusal.clone();
    let backend = FakeBackend::serving(move |mut peer| {
        peer.packet();
        peer.send(&sent);
        peer.finish();
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    client.send(&alice());
    assert_eq!(client.rest().unwrap(), refusal);
}

#[test]
fn psql_shows_why_it_was_denied() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url()).allow(&[ELSEWHERE])]);
    let words = Client::psql(&conninfo(&gate, "acme"))
        .args(["-c", "select 1"])
        .fails();
    let message = "FATAL:  connections from 127.0.0.1 are not allowed to \"acme.localhost\"";
    assert!(words.contains(message), "{words}");
    assert!(words.contains("HINT:"), "{words}");
}

#[test]
fn psql_reads_what_to_do_when_it_comes_in_plaintext() {
    let backend = FakeBackend::untouchable();
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let plaintext = conninfo(&gate, "acme").replace("verify-full", "disable");
    let words = Client::psql(&plaintext).args(["-c", "select 1"]).fails();
    assert!(words.contains("sslmode=require"), "{words}");
}

#[test]
fn a_wrong_password_is_refused_in_the_servers_own_words() {
    let cluster = Server::System.plain();
    let gate = Gate::start(&[Project::new(
        "acme",
        &format!("postgres://127.0.0.1:{}", cluster.port()),
    )]);
    let psql = Client::psql(&conninfo(&gate, "acme")).args(["-c", "select 1"]);
    let words = psql.env("PGPASSWORD", "wrong").fails();
    assert!(
        words.contains("password authentication failed for user \"alice\""),
        "{words}"
    );
}
