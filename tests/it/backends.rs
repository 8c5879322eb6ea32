//! A backend of several addresses, and every way of TLS towards it (T18, T21, T22).

use portcullis::cli::demo::cluster::Cluster;
use tokio::runtime::Runtime;

use crate::support::authority::{Authority, Leaf};
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, url};
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::message::{alice, error_response};
use crate::support::postgres::{PASSWORD, Server, wait_for};
use crate::support::tokio_tls::Rustls;

fn at(cluster: &Cluster) -> String {
    format!("postgres://127.0.0.1:{}", cluster.port())
}

fn of(addresses: &[&str]) -> Project {
    Project::new("acme", "").text_list("backend", addresses)
}

fn psql(gate: &Gate, sql: &str) -> Client {
    Client::psql(&conninfo(gate, "acme")).args(["-c", sql])
}

/// A server that is starting up.
fn starting() -> FakeBackend {
    FakeBackend::serving(|mut peer| {
        peer.packet();
        peer.send(&error_response(&[
            (b'S', "FATAL"),
            (b'V', "FATAL"),
            (b'C', "57P03"),
            (b'M', "the database system is starting up"),
        ]));
        peer.finish();
    })
}

#[test]
fn t22_a_login_goes_on_to_the_next_address_when_one_is_gone_or_says_57p03() {
    let cluster = Server::System.plain();
    let gone = url(FakeBackend::nobody());
    let starting = starting();
    let gate = Gate::start(&[of(&[&gone, &starting.url(), &at(&cluster)])]);
    for _ in 0..2 {
        assert_eq!(psql(&gate, "select current_user").prints(), "alice");
    }
    let opened = |line: &serde_json::Value| text(line, "message") == "session opened";
    let line = gate.log().wait("a session", opened);
    let passed_over = text(&line, "passed_over");
    assert!(
        passed_over.contains("cannot connect to") && passed_over.contains("57P03"),
        "{passed_over}"
    );
    assert_eq!(text(&line, "backend"), at(&cluster));
}

#[test]
fn t6_an_address_that_never_answers_costs_no_login_where_another_does() {
    let silent = FakeBackend::serving(|mut peer| {
        peer.packet();
        peer.rest().expect("the gate gives up");
    });
    let good = FakeBackend::welcoming();
    // A login has less time than a single attempt to connect.
    let settings = Settings::new(&[of(&[&silent.url(), &good.url()])]);
    let gate = Gate::with(&settings.top("login_timeout = \"2s\""));
    gate.connect("acme").login(&alice());
    let opened = |line: &serde_json::Value| text(line, "message") == "session opened";
    let line = gate.log().wait("a session", opened);
    let passed_over = text(&line, "passed_over");
    assert!(
        passed_over.contains("did not finish its answer to StartupMessage"),
        "{passed_over}"
    );
}

#[test]
fn t22_a_server_that_goes_is_followed_by_the_next_and_all_gone_is_57p03() {
    let (first, second) = (Server::System.plain(), Server::System.plain());
    let gate = Gate::start(&[of(&[&at(&first), &at(&second)])]);
    let port = "select inet_server_port()";
    assert_eq!(psql(&gate, port).prints(), first.port().to_string());
    drop(first);
    assert_eq!(psql(&gate, port).prints(), second.port().to_string());
    drop(second);
    for _ in 0..2 {
        let refusal = gate.connect("acme").refused(&alice());
        refusal.assert_fatal("57P03");
    }
}

#[test]
fn t21_57p03_of_the_last_address_is_in_the_servers_own_words() {
    let starting = starting();
    let gone = url(FakeBackend::nobody());
    for addresses in [vec![starting.url()], vec![gone, starting.url()]] {
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        let gate = Gate::start(&[of(&addresses)]);
        let refusal = gate.connect("acme").refused(&alice());
        assert_eq!(refusal.message(), "the database system is starting up");
    }
}

#[test]
fn t9_sessions_are_spread_by_their_number_and_a_cancel_goes_to_the_address_of_its_own() {
    let clusters = [Server::System.plain(), Server::Eighteen.plain()];
    let acme = of(&[&at(&clusters[0]), &at(&clusters[1])])
        .hosts(&["acme.localhost"])
        .text("balance", "least-sessions");
    let gate = Gate::start(&[acme]);
    let mut config: tokio_postgres::Config = format!(
        "host=acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app sslmode=require",
        gate.port()
    )
    .parse()
    .unwrap();
    config.password(PASSWORD);
    let tls = Rustls(gate.tls("acme").config);
    let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    Runtime::new().unwrap().block_on(async {
        let mut sleeping = Vec::new();
        for _ in &clusters {
            let (client, connection) = config.connect(tls.clone()).await.unwrap();
            tokio::spawn(connection);
            let token = client.cancel_token();
            let query =
                tokio::spawn(async move { client.simple_query("select pg_sleep(600)").await });
            sleeping.push((token, query));
        }
        for cluster in &clusters {
            tokio::task::block_in_place(|| wait_for(cluster, asleep, "1"));
        }
        for (token, query) in sleeping {
            token.cancel_query(tls.clone()).await.unwrap();
            let error = query.await.unwrap().unwrap_err();
            assert_eq!(error.code().unwrap().code(), "57014");
        }
    });
}

/// A server that speaks TLS with `leaf`, trusts client certificates of `ca`, and lets in who comes over
/// TCP by `hba`.
fn with_tls(server: Server, (leaf, ca): (&Leaf, &str), hba: &str) -> Cluster {
    server.start(|plan| {
        plan.settings.push("ssl = on".to_owned());
        plan.settings.push("ssl_ca_file = 'ca.crt'".to_owned());
        plan.files.push(("server.crt", leaf.chain.clone()));
        plan.files.push(("server.key", leaf.key.clone()));
        plan.files.push(("ca.crt", ca.to_owned()));
        plan.hba = vec![format!("hostssl all all 127.0.0.1/32 {hba}")];
    })
}

#[test]
fn a_client_certificate_logs_in_where_the_server_asks_for_one_and_is_watched() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (leaf, gates) = (servers.leaf("127.0.0.1"), clients.leaf("gate.internal"));
    for server in [Server::System, Server::Eighteen] {
        let cluster = with_tls(
            server,
            (&leaf, clients.root()),
            "trust clientcert=verify-ca",
        );
        let stranger = Authority::new().leaf("gate.internal");
        let directory = directory_of(&[
            ("root.crt", servers.root()),
            ("gate.crt", &stranger.chain),
            ("gate.key", &stranger.key),
        ]);
        let acme = Project::new("acme", &at(&cluster))
            .text("sslmode", "verify-full")
            .text("sslrootcert", "root.crt")
            .text("sslcert", "gate.crt")
            .text("sslkey", "gate.key");
        let gate = Gate::within(directory, &Settings::new(&[acme]));
        psql(&gate, "select 1").fails();
        let before = gate.log().len();
        for (name, contents) in [("gate.crt", &gates.chain), ("gate.key", &gates.key)] {
            crate::auth::write_private(&gate.directory().join(name), contents);
        }
        let reloaded =
            |line: &serde_json::Value| line.to_string().contains("configuration reloaded");
        gate.log().wait_after(before, "the reload", reloaded);
        let sql = "select client_serial is not null from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(psql(&gate, sql).prints(), "t", "{server:?}");
    }
}

#[test]
fn a_server_that_refuses_sslcert_is_told_as_that_by_whatever_way_users_log_in() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let leaf = servers.leaf("127.0.0.1");
    // By nobody, and by a CA with the name of the one that the server trusts.
    let own = rcgen::generate_simple_self_signed(["gate.internal".to_owned()]).unwrap();
    let (own, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let namesake = Authority::new().leaf("gate.internal");
    for server in [Server::System, Server::Eighteen] {
        let cluster = with_tls(server, (&leaf, clients.root()), "scram-sha-256");
        for (auth, crt, key, alert) in [
            ("passthrough", &own, &key, "UnknownCA"),
            ("password", &own, &key, "UnknownCA"),
            ("password", &namesake.chain, &namesake.key, "DecryptError"),
        ] {
            let files = [
                ("root.crt", servers.root()),
                ("gate.crt", crt),
                ("gate.key", key),
            ];
            let acme = Project::new("acme", &at(&cluster))
                .text("sslmode", "verify-full")
                .text("sslrootcert", "root.crt")
                .text("sslcert", "gate.crt")
                .text("sslkey", "gate.key")
                .text("auth", auth);
            let gate = Gate::within(directory_of(&files), &Settings::new(&[acme]));
            let why = format!("the database server refuses the gate's certificate ({alert})");
            let said = psql(&gate, "select 1").fails();
            assert!(
                said.contains(&why) && said.contains("ssl_ca_file"),
                "{said}"
            );
            let line = gate.log().wait("the refusal", |line| {
                text(line, "reason") == "backend_unanswerable"
            });
            assert_eq!(text(&line, "why"), why);
            assert_eq!(text(&line, "backend"), at(&cluster), "{auth}");
        }
    }
}

#[test]
fn direct_tls_is_spoken_to_a_server_that_knows_it_and_refused_by_one_that_does_not() {
    let authority = Authority::new();
    let leaf = authority.leaf("127.0.0.1");
    for server in [Server::System, Server::Eighteen] {
        let cluster = with_tls(server, (&leaf, authority.root()), "scram-sha-256");
        let acme = Project::new("acme", &at(&cluster))
            .text("sslmode", "verify-full")
            .text("sslrootcert", "root.crt")
            .text("sslnegotiation", "direct");
        let directory = directory_of(&[("root.crt", authority.root())]);
        let gate = Gate::within(directory, &Settings::new(&[acme]));
        let conninfo = conninfo(&gate, "acme") + " channel_binding=disable";
        let psql = Client::psql(&conninfo).args(["-c", "select 1"]);
        if server == Server::Eighteen {
            assert_eq!(psql.prints(), "1");
        } else {
            let said = psql.fails();
            assert!(said.contains("can't be trusted"), "{said}");
        }
    }
}

#[test]
fn the_roots_of_the_system_and_of_the_project_verify_a_server() {
    let authority = Authority::new();
    let leaf = authority.leaf("localhost");
    let cluster = with_tls(Server::System, (&leaf, authority.root()), "trust");
    let backend = format!("postgres://localhost:{}", cluster.port());
    let directory = directory_of(&[("root.crt", authority.root())]);
    let bundle = directory.path().join("root.crt");
    let acme = Project::new("acme", &backend).text("sslrootcert", "system");
    let is_tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let settings = Settings::new(std::slice::from_ref(&acme)).env("SSL_CERT_FILE", &bundle);
    let gate = Gate::within(directory, &settings);
    assert_eq!(psql(&gate, is_tls).prints(), "t");

    // The project's own CA has not signed it, but has the leaf that the gate shows to clients.
    let project = acme
        .text("sslrootcert", "project")
        .text("sslmode", "verify-ca");
    let reload = |project: &Project| {
        let before = gate.log().len();
        gate.rewrite(&Settings::new(std::slice::from_ref(project)));
        gate.log().wait_after(before, "the reload", |line| {
            line.to_string().contains("configuration reloaded")
        });
    };
    reload(&project);
    let said = psql(&gate, is_tls).fails();
    assert!(said.contains("can't be trusted"), "{said}");
    let read = |name| std::fs::read_to_string(gate.file("acme", name)).unwrap();
    let own = Leaf {
        chain: read("server.crt"),
        key: read("server.key"),
    };
    let own = with_tls(Server::System, (&own, authority.root()), "scram-sha-256");
    reload(&project.text("backend", &at(&own)));
    let conninfo = conninfo(&gate, "acme") + " channel_binding=require";
    let psql = Client::psql(&conninfo).args(["-c", is_tls]);
    assert_eq!(psql.prints(), "t");
}
