//! `auth = "certificate"`: no password anywhere, from the client to the server (T9, T19, T34).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use portcullis::cli::demo::cluster::Cluster;

use crate::support::PATIENCE;
use crate::support::client_ca::{ClientCa, Showing};
use crate::support::clients::{Client, conninfo};
use crate::support::gate::{Gate, Project, Settings, ca, text};
use crate::support::message::alice;
use crate::support::postgres::{Server, wait_for};
use crate::support::raw::Secured;

/// Who the server takes somebody for, and by which certificate.
const SHOWN: &str = "select current_user, client_dn, client_serial from pg_stat_ssl \
                     where pid = pg_backend_pid()";

/// A server that takes the certificates of the project's CA, as the documentation says, and a gate.
struct Site {
    cluster: Cluster,
    gate: Gate,
}

impl Site {
    /// With `hba` as the server's lines for TCP; the project is changed by `change`.
    fn of(server: Server, hba: &[&str], change: impl Fn(Project) -> Project) -> Self {
        Self::trusting(server, hba, (change, None))
    }

    /// The server trusts `other` in place of the project's CA, if it is given.
    fn trusting(
        server: Server,
        hba: &[&str],
        (change, other): (impl Fn(Project) -> Project, Option<&ClientCa>),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = |port: u16| {
            let acme = Project::new("acme", &format!("postgres://127.0.0.1:{port}"))
                .text("sslmode", "verify-full")
                .text("sslrootcert", "project")
                .text("client_certificate", "required")
                .text("auth", "certificate");
            Settings::new(&[change(acme)])
        };
        fs::write(home.path().join("proxy.toml"), settings(1).to_toml()).unwrap();
        let out = home.path().join("tls");
        fs::create_dir(&out).unwrap();
        let words = ["issue", "acme", "--backend", "127.0.0.1", "--out"];
        let ran = ca(
            home.path(),
            &[&words[..], &[out.to_str().unwrap()]].concat(),
        );
        assert_eq!(ran.code, 0, "{ran:?}");
        let own = fs::read_to_string(home.path().join("certs/acme/ca.crt")).unwrap();
        let leaf = |kind: &str| fs::read_to_string(file_in(&out, kind)).unwrap();
        let cluster = server.start(|plan| {
            let ssl = ["ssl = on", "ssl_ca_file = 'acme-ca.crt'"];
            plan.settings.extend(ssl.map(str::to_owned));
            plan.hba = hba.iter().map(|&line| line.to_owned()).collect();
            let ca = other.map_or(own, |other| other.pem().to_owned());
            plan.files.extend([
                ("acme-ca.crt", ca),
                ("pg_ident.conf", IDENT.to_owned()),
                ("server.crt", leaf("crt")),
                ("server.key", leaf("key")),
            ]);
        });
        let gate = Gate::within(home, &settings(cluster.port()));
        Self { cluster, gate }
    }

    /// What a client with a certificate for `name` uses to log in as `user`; both are issued by the
    /// command that people use.
    fn conninfo(&self, name: &str, user: &str) -> String {
        let out = self.gate.directory().join(format!("of-{name}"));
        if !out.exists() {
            fs::create_dir(&out).unwrap();
            let out = out.to_str().unwrap();
            let issue = ["issue", "acme", "--client", name, "--out", out];
            let ran = self.gate.ca(&issue);
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        let user = format!(
            "user='{user}' sslcert='{}' sslkey='{}'",
            file_in(&out, "crt").display(),
            file_in(&out, "key").display()
        );
        conninfo(&self.gate, "acme").replace("user=alice", &user)
    }

    /// psql with a certificate for `name`, as `user`. It knows no password that is anybody's.
    fn psql(&self, (name, user): (&str, &str), sql: &str) -> Client {
        let psql = Client::psql(&self.conninfo(name, user)).args(["-c", sql]);
        psql.env("PGPASSWORD", "of no use")
    }

    /// The serial number of the certificate by which the server knows `user`.
    fn serial_of(&self, user: &str) -> String {
        let shown = self.psql((user, user), SHOWN).prints();
        let serial = shown.strip_prefix(&format!("{user}|/CN={user}/OU=portcullis gate|"));
        serial.unwrap_or_else(|| panic!("{shown}")).to_owned()
    }
}

/// The one file of this kind in a folder.
fn file_in(folder: &Path, kind: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let found = files.find(|file| file.extension().is_some_and(|found| found == kind));
    found.unwrap()
}

/// Runs `test` in front of each server that has this pg_hba.conf.
fn at_each_server(hba: &[&str], change: impl Fn(Project) -> Project, test: impl Fn(&Site)) {
    for server in [Server::System, Server::Eighteen] {
        test(&Site::of(server, hba, &change));
    }
}

/// As the documentation says.
const HBA: &[&str] = &["hostssl all all 127.0.0.1/32 cert"];

/// The same for a server that takes the gate's own certificates only; in the database `postgres` it
/// takes others, too.
const GATES_ONLY: &[&str] = &[
    "hostssl postgres all 127.0.0.1/32 cert",
    "hostssl all all 127.0.0.1/32 cert clientname=DN map=gate",
];
const IDENT: &str = r#"gate "/^OU=portcullis gate,CN=(.*)$" \1"#;

/// psql that goes past the gate, with a certificate and its key.
fn past_the_gate(site: &Site, (crt, key): (&Path, &Path), database: &str) -> Client {
    let conninfo = format!(
        "host=127.0.0.1 port={} user=alice dbname={database} sslmode=require sslcert='{}' sslkey='{}'",
        site.cluster.port(),
        crt.display(),
        key.display()
    );
    Client::psql(&conninfo).args(["-c", "select current_user"])
}

#[test]
fn a_certificate_logs_in_from_end_to_end_without_a_password_and_as_its_own_user_only() {
    at_each_server(
        HBA,
        |acme| acme,
        |site| {
            site.serial_of("alice");
            let psycopg = Client::python("psycopg_logins.py");
            let psycopg = psycopg.arg(site.conninfo("alice", "alice"));
            assert_eq!(psycopg.prints(), "ok");
            let said = site.psql(("alice", "postgres"), "select 1").fails();
            let why = "the client certificate of CN=alice is not one of user \"postgres\"";
            assert!(said.contains(why), "{said}");
            let without = conninfo(&site.gate, "acme");
            let said = Client::psql(&without).args(["-c", "select 1"]).fails();
            assert!(said.contains("need a client certificate"), "{said}");
            let bound = site.conninfo("alice", "alice") + " channel_binding=require";
            let said = Client::psql(&bound).args(["-c", "select 1"]).fails();
            assert!(said.contains("without channel binding"), "{said}");
            // A user that the server doesn't have reads the server's own words (T21).
            let said = site.psql(("nobody", "nobody"), "select 1").fails();
            assert!(said.contains("role \"nobody\" does not exist"), "{said}");
        },
    );
}

#[test]
fn a_server_that_takes_the_gates_certificates_only_refuses_one_that_was_handed_out() {
    at_each_server(
        GATES_ONLY,
        |acme| acme,
        |site| {
            site.serial_of("alice");
            // Handed out with a key, and for a request that asks for what only the gate has.
            let folder = site.gate.directory().join("of-alice");
            let handed = (file_in(&folder, "crt"), file_in(&folder, "key"));
            let asked = for_a_request(site);
            for (crt, key) in [&handed, &asked] {
                let past = |database| past_the_gate(site, (crt, key), database);
                // It is a good certificate of that user.
                assert_eq!(past("postgres").prints(), "alice");
                let said = past("app").fails();
                let why = "certificate authentication failed for user \"alice\"";
                assert!(said.contains(why), "{said}");
            }
        },
    );
}

/// The certificate that a client gets who asks for a name like that of the gate's own; and its key.
fn for_a_request(site: &Site) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asks = rcgen::CertificateParams::default();
    for (kind, name) in [
        (rcgen::DnType::CommonName, "alice"),
        (rcgen::DnType::OrganizationalUnitName, "portcullis gate"),
    ] {
        asks.distinguished_name.push(kind, name);
    }
    let request = asks.serialize_request(&key).unwrap().pem().unwrap();
    let out = site.gate.directory().join("asked");
    fs::create_dir(&out).unwrap();
    let (csr, kept) = (out.join("alice.csr"), out.join("alice.key"));
    fs::write(&csr, request).unwrap();
    crate::auth::write_private(&kept, &key.serialize_pem());
    let place = [
        "--out",
        out.to_str().unwrap(),
        "--csr",
        csr.to_str().unwrap(),
    ];
    let ran = site
        .gate
        .ca(&[&["issue", "acme", "--client", "alice"][..], &place].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    (file_in(&out, "crt"), kept)
}

#[test]
fn a_user_by_the_map_reaches_the_server_by_a_certificate_for_that_user() {
    let map = "{ \"Ann Adams\" = [\"ann.adams\", \"reports\"] }";
    at_each_server(
        HBA,
        |acme| acme.set("user_map", map),
        |site| {
            for user in ["ann.adams", "reports"] {
                let role = format!("create role \"{user}\" login");
                site.cluster.sql(&role).unwrap();
                let shown = site.psql(("Ann Adams", user), SHOWN).prints();
                assert!(
                    shown.starts_with(&format!("{user}|/CN={user}/OU=")),
                    "{shown}"
                );
            }
            let said = site.psql(("Ann Adams", "alice"), "select 1").fails();
            assert!(said.contains("is not one of user \"alice\""), "{said}");
        },
    );
}

#[test]
fn t9_ctrl_c_cancels_the_statement_of_a_session_by_certificate() {
    at_each_server(
        HBA,
        |acme| acme,
        |site| {
            let psql = site
                .psql(("alice", "alice"), "select pg_sleep(600)")
                .start();
            let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
            wait_for(&site.cluster, sleeping, "1");
            psql.signal("INT");
            let ran = psql.finish();
            let why = "canceling statement due to user request";
            assert!(ran.stderr.contains(why), "{ran}");
        },
    );
}

#[test]
fn a_server_that_asks_for_a_password_all_the_same_is_a_clear_refusal_and_is_told_none() {
    let hba = [
        "hostssl all alice 127.0.0.1/32 scram-sha-256",
        "hostssl all bob 127.0.0.1/32 md5",
        "hostssl all carol 127.0.0.1/32 password",
    ];
    at_each_server(
        &hba,
        |acme| acme,
        |site| {
            site.cluster.sql("create role bob login").unwrap();
            site.cluster.sql("create role carol login").unwrap();
            for user in ["alice", "bob", "carol"] {
                let before = site.gate.log().len();
                let said = site.psql((user, user), "select 1").fails();
                let why = "FATAL:  the database server does not take the gate's certificate for the \
                           user's proof";
                assert!(said.contains(why) && said.contains("pg_hba.conf"), "{said}");
                site.gate.log().wait_after(before, "a refusal", |line| {
                    text(line, "reason") == "backend_unanswerable"
                });
            }
        },
    );
}

#[test]
fn the_server_is_shown_the_same_certificate_in_logins_close_together_and_another_by_another_ca() {
    let site = Site::of(Server::Eighteen, HBA, |acme| acme);
    let bob = "create role bob login; grant connect on database app to bob";
    site.cluster.sql(bob).unwrap();
    let before = site.serial_of("alice");
    assert_eq!(site.serial_of("alice"), before);
    assert_ne!(site.serial_of("bob"), before);

    // The announced bundle goes to the server first, and then the next CA signs.
    let step = |step: &str| {
        let ran = site.gate.ca(&["rotate", "acme", step]);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    step("--announce");
    let bundle = fs::read(site.gate.file("acme", "ca.crt")).unwrap();
    let given = site.cluster.socket_directory().join("data/acme-ca.crt");
    fs::write(given, bundle).unwrap();
    site.cluster.sql("select pg_reload_conf()").unwrap();
    step("--switch");
    let deadline = Instant::now() + PATIENCE;
    // Not one of these logins may fail.
    while site.serial_of("alice") == before {
        assert!(Instant::now() < deadline, "signed by the old CA for ever");
    }
}

#[test]
fn a_server_that_does_not_trust_the_projects_ca_is_the_operators_to_mend_and_says_so() {
    let other = ClientCa::new("others");
    for server in [Server::System, Server::Eighteen] {
        let site = Site::trusting(server, HBA, (|acme| acme, Some(&other)));
        let said = site.psql(("alice", "alice"), "select 1").fails();
        let line = site.gate.log().wait("the refusal", |line| {
            text(line, "reason") == "backend_unanswerable"
        });
        let why = "the database server refuses the gate's certificate (UnknownCA)";
        assert_eq!(text(&line, "why"), why);
        assert!(said.contains(why) && said.contains("ssl_ca_file"), "{said}");
        let ours = ClientCa::kept_in(site.gate.file("acme", "ca.crt").parent().unwrap());
        let showing = Showing::leaf(&ours.leaf("alice"));
        let tls = site.gate.tls("acme").showing(showing);
        let refused = Secured::connect(site.gate.addr(), &tls).refused(&alice());
        refused.assert_fatal("28000");
    }
}
