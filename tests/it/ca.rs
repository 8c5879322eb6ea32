//! A project's CA over its whole life: rotated, revoking, sealed, shared; with a gate that runs and
//! without one.

mod keys;
mod load;
mod renewal;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use crate::support::PATIENCE;
use crate::support::authority::Authority;
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, ca, directory_of, text};
use crate::support::message::alice;
use crate::support::postgres::Server;
use crate::support::raw::{Secured, TlsClient};

impl Gate {
    /// Runs a command that must succeed; what it printed.
    #[track_caller]
    fn ca_done(&self, arguments: &[&str]) -> String {
        let ran = self.ca(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Does what has the gate show another leaf, and waits until it does.
    #[track_caller]
    fn shows_another(&self, change: impl FnOnce()) {
        let before = self.log().len();
        change();
        self.log()
            .wait_after(before, "another certificate", |line| {
                text(line, "message").contains("another certificate")
            });
    }
}

fn acme(backend: &FakeBackend) -> Gate {
    Gate::start(&[Project::new("acme", &backend.url())])
}

/// Whether a client that trusts the file gets through TLS.
fn is_trusted_with(gate: &Gate, bundle: &Path) -> bool {
    let tls = TlsClient::new(bundle, "acme.localhost");
    Secured::connect(gate.addr(), &tls).handshake().is_ok()
}

#[test]
fn a_rotation_is_in_force_within_a_second_and_drops_no_connection() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let bundle = gate.file("acme", "ca.crt");
    let first = gate.directory().join("first.crt");
    fs::copy(&bundle, &first).unwrap();
    let mut live = gate.connect("acme");
    live.login(&alice());

    let said = gate.ca_done(&["rotate", "acme", "--announce"]);
    assert!(
        said.contains("--switch") && said.contains("ca.crt"),
        "{said}"
    );
    let announced = gate.directory().join("announced.crt");
    fs::copy(&bundle, &announced).unwrap();
    assert!(is_trusted_with(&gate, &first) && is_trusted_with(&gate, &announced));

    gate.shows_another(|| {
        gate.ca_done(&["rotate", "acme", "--switch"]);
    });
    assert!(!is_trusted_with(&gate, &first) && is_trusted_with(&gate, &announced));
    gate.shows_another(|| {
        gate.ca_done(&["rotate", "acme", "--undo"]);
    });
    assert!(is_trusted_with(&gate, &first) && is_trusted_with(&gate, &announced));
    gate.shows_another(|| {
        gate.ca_done(&["rotate", "acme", "--switch"]);
    });
    gate.ca_done(&["rotate", "acme", "--retire"]);
    assert!(is_trusted_with(&gate, &announced) && is_trusted_with(&gate, &bundle));
    live.is_alive();
}

#[test]
fn every_step_can_be_taken_without_a_running_gate_and_is_what_the_next_one_starts_with() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[Project::new("acme", &backend.url())]);
    let gate = Gate::with(&settings);
    let directory = gate.stopped();
    for step in ["--announce", "--switch"] {
        let ran = ca(directory.path(), &["rotate", "acme", step]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let leaf = fs::read(directory.path().join("certs/acme/server.crt")).unwrap();
    let gate = Gate::within(directory, &settings);
    gate.connect("acme").login(&alice());
    assert_eq!(fs::read(gate.file("acme", "server.crt")).unwrap(), leaf);
}

#[test]
fn what_is_issued_is_listed_revoked_by_its_number_and_never_written_over_anything() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let said = gate.ca_done(&["issue", "acme", "--client", "alice", "--days", "7"]);
    assert!(said.contains("sslcert=alice.crt"), "{said}");
    let key = gate.directory().join("alice.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&key).unwrap();
    let again = gate.ca(&["issue", "acme", "--client", "alice"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(
        again.err.contains("alice.crt is there already"),
        "{again:?}"
    );
    assert_eq!(fs::read(&key).unwrap(), before);

    gate.ca_done(&[
        "issue",
        "acme",
        "--backend",
        "db1.internal",
        "--backend",
        "10.0.0.5",
    ]);
    let shown: serde_json::Value =
        serde_json::from_str(&gate.ca_done(&["show", "acme", "--json"])).unwrap();
    let issued = shown["issued"].as_array().unwrap();
    let names: Vec<_> = issued
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["alice", "db1.internal 10.0.0.5"]);
    let serial = issued[0]["serial"].as_str().unwrap();
    gate.ca_done(&["revoke", "acme", serial]);
    let shown = gate.ca_done(&["show", "acme"]);
    let line = shown.lines().find(|line| line.starts_with(serial)).unwrap();
    assert!(line.contains("revoked on"), "{shown}");
    let unknown = gate.ca(&["revoke", "acme", "ABCD"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("ABCD"),
        "{unknown:?}"
    );
}

#[test]
fn export_prints_what_clients_take_and_what_servers_take() {
    let backend = FakeBackend::welcoming();
    let gate = acme(&backend);
    let bundle = gate.ca_done(&["export", "acme"]);
    assert_eq!(
        bundle,
        fs::read_to_string(gate.file("acme", "ca.crt")).unwrap()
    );
    let none = gate.ca(&["export", "acme", "--crl"]);
    assert!(none.code == 1 && none.err.contains("none yet"), "{none:?}");
    gate.ca_done(&["issue", "acme", "--client", "alice"]);
    assert!(
        gate.ca_done(&["export", "acme", "--crl"])
            .contains("X509 CRL")
    );
}

#[test]
fn t19_a_server_that_shares_the_leaf_binds_scram_from_the_client_to_itself() {
    let home = tempfile::tempdir().unwrap();
    let settings = |port: u16| {
        let acme = Project::new("acme", &format!("postgres://127.0.0.1:{port}"))
            .text("sslmode", "require");
        Settings::new(&[acme])
    };
    // The leaf is there before the server is.
    fs::write(home.path().join("proxy.toml"), settings(1).to_toml()).unwrap();
    let out = home.path().join("server");
    fs::create_dir(&out).unwrap();
    let out = out.to_str().unwrap();
    let ran = ca(
        home.path(),
        &[
            "issue",
            "acme",
            "--backend",
            "db1.internal",
            "--shared",
            "--out",
            out,
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let read = |name: &str| fs::read_to_string(Path::new(out).join(name)).unwrap();
    let server = Server::Eighteen.start(|plan| {
        plan.files.push(("server.crt", read("server.crt")));
        plan.files.push(("server.key", read("server.key")));
        plan.settings.push("ssl = on".to_owned());
    });
    let gate = Gate::within(home, &settings(server.port()));
    let conninfo = conninfo(&gate, "acme") + " channel_binding=require";
    let psql = || Client::psql(&conninfo).args(["-c", "select 1"]);
    assert_eq!(psql().prints(), "1");

    // The next leaf lies where the server looks for it, and the log says who must be told.
    let ran = gate.ca(&["renew", "acme"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = gate.log().wait("the renewal", |line| {
        text(line, "message").contains("must reload: select pg_reload_conf()")
    });
    assert_eq!(text(&line, "level").to_ascii_lowercase(), "warn");
    let told = text(&line, "servers");
    assert!(
        told.contains("db1.internal") && told.contains("server"),
        "{line}"
    );
}

#[test]
fn t34_with_a_key_encryption_key_no_private_key_lies_there_in_clear() {
    let backend = FakeBackend::welcoming();
    let key = "07".repeat(32);
    let projects = [Project::new("acme", &backend.url())];
    let plain = Settings::new(&projects);
    let sealed = plain
        .clone()
        .table("\n[keys]\nencryption_key_file = \"kek.txt\"\n");
    let gate = Gate::within(directory_of(&[("kek.txt", &key)]), &plain);
    let trusted = gate.tls("acme");
    let directory = gate.stopped();
    let gate = Gate::within(directory, &sealed);
    let line = gate.log().wait("the sealing", |line| {
        text(line, "message").contains("private keys sealed")
    });
    assert_eq!(text(&line, "files"), "2");
    for name in ["ca.key", "server.key"] {
        let kept = fs::read_to_string(gate.file("acme", name)).unwrap();
        assert!(kept.contains("PORTCULLIS SEALED KEY"), "{name}");
    }
    let mut client = Secured::connect(gate.addr(), &trusted);
    client.login(&alice());
    assert!(gate.ca_done(&["show", "acme"]).contains("sealed"));

    // Without the key both ways to give it are named, and nothing is made anew.
    let directory = gate.stopped();
    fs::write(directory.path().join("proxy.toml"), plain.to_toml()).unwrap();
    let ran = ca(directory.path(), &["show", "acme"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for way in ["encryption_key_file", "PORTCULLIS_KEY_ENCRYPTION_KEY"] {
        assert!(ran.err.contains(way), "{ran:?}");
    }
}

#[test]
fn an_own_certificate_is_not_the_gates_to_renew_nor_to_share() {
    let backend = FakeBackend::untouchable();
    let files = [("own.crt", ""), ("own.key", "")];
    let acme = Project::new("acme", &backend.url())
        .text("certificate", "own.crt")
        .text("key", "own.key");
    let directory = directory_of(&files);
    let settings = Settings::new(&[acme]);
    fs::write(directory.path().join("proxy.toml"), settings.to_toml()).unwrap();
    for arguments in [
        &["renew", "acme"][..],
        &[
            "issue",
            "acme",
            "--backend",
            "db1",
            "--shared",
            "--out",
            ".",
        ],
    ] {
        let ran = ca(directory.path(), arguments);
        assert!(ran.code == 1 && ran.err.contains("own.crt"), "{ran:?}");
    }
    // It has a CA all the same once a client needs one.
    let ran = ca(directory.path(), &["issue", "acme", "--client", "alice"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn an_own_certificate_is_swapped_when_its_files_change_and_stays_when_they_are_wrong() {
    let backend = FakeBackend::welcoming();
    let authority = Authority::new();
    let first = authority.leaf("acme.localhost");
    let files = [
        ("root.crt", authority.root()),
        ("own.crt", &first.chain),
        ("own.key", &first.key),
    ];
    let acme = Project::new("acme", &backend.url())
        .text("certificate", "own.crt")
        .text("key", "own.key");
    let gate = Gate::within(directory_of(&files), &Settings::new(&[acme]).with_admin());
    let root = gate.directory().join("root.crt");
    let shown = || {
        let tls = TlsClient::new(&root, "acme.localhost");
        let mut client = Secured::connect(gate.addr(), &tls);
        client.login(&alice());
        client
    };
    let replace = |name: &str, contents: &str| {
        let new = gate.directory().join("new");
        fs::write(&new, contents).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, gate.directory().join(name)).unwrap();
    };
    let mut live = shown();
    let second = authority.leaf("acme.localhost");
    replace("own.key", &second.key);
    replace("own.crt", &second.chain);
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let chain = shown().chain();
        if chain != live.chain() {
            break chain;
        }
        assert!(Instant::now() < deadline, "the new one is never shown");
    };

    let stranger = authority.leaf("other.localhost");
    let before = gate.log().len();
    replace("own.key", &stranger.key);
    replace("own.crt", &stranger.chain);
    gate.log().wait_after(before, "what is wrong", |line| {
        text(line, "message").contains("does not cover acme.localhost")
    });
    assert_eq!(shown().chain(), after);
    // Others are told, and clients are still sent here.
    let answer = gate.admin("/readyz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    live.is_alive();
}

#[test]
fn t31_a_renewal_that_fails_keeps_the_leaf_and_is_told_by_readyz_without_turning_it_off() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[Project::new("acme", &backend.url())]).with_admin();
    let gate = Gate::with(&settings);
    let mut before = gate.connect("acme");
    before.login(&alice());
    let damage = gate.log().len();
    fs::write(gate.file("acme", "ca.key"), "no key").unwrap();
    gate.log().wait_after(damage, "what is wrong", |line| {
        text(line, "message").contains("ca.key")
    });
    let deadline = Instant::now() + PATIENCE;
    while !gate.admin("/readyz").contains("project acme: ") {
        assert!(Instant::now() < deadline, "{}", gate.admin("/readyz"));
    }
    assert!(gate.admin("/readyz").starts_with("HTTP/1.1 200 "));
    assert!(gate.admin("/readyz").contains("ca.key"));
    let mut after = gate.connect("acme");
    after.login(&alice());
    assert_eq!(after.chain(), before.chain());
    before.is_alive();
}

#[test]
fn the_admin_listener_serves_the_revocation_lists_once_there_are_some() {
    let backend = FakeBackend::untouchable();
    let settings = Settings::new(&[Project::new("acme", &backend.url())]).with_admin();
    let gate = Gate::with(&settings);
    assert!(gate.admin("/crl/acme").starts_with("HTTP/1.1 404 "));
    gate.ca_done(&["issue", "acme", "--client", "alice"]);
    let answer = gate.admin("/crl/acme.pem");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(
        body,
        fs::read_to_string(gate.file("acme", "ca.crl")).unwrap()
    );
    assert!(gate.admin("/crl/acme").contains("application/pkix-crl"));
}
