//! A server whose certificate, by the project's CA, is revoked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::clients::{Client, conninfo};
use crate::support::gate::{Gate, Project, Settings, ca, text};
use crate::support::message::{alice, query};
use crate::support::postgres::Server;

/// The one file of this kind in a folder.
fn file_in(folder: &Path, kind: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let found = files.find(|file| file.extension().is_some_and(|found| found == kind));
    found.unwrap()
}

#[test]
fn a_revoked_server_is_refused_within_a_second_and_the_sessions_that_are_in_stay() {
    let home = tempfile::tempdir().unwrap();
    let settings = |port: u16| {
        let acme = Project::new("acme", &format!("postgres://127.0.0.1:{port}"))
            .text("sslmode", "verify-full")
            .text("sslrootcert", "project");
        Settings::new(&[acme])
    };
    fs::write(home.path().join("proxy.toml"), settings(1).to_toml()).unwrap();
    let out = home.path().join("tls");
    fs::create_dir(&out).unwrap();
    let issue = ["issue", "acme", "--backend", "127.0.0.1", "--out"];
    let ran = ca(
        home.path(),
        &[&issue[..], &[out.to_str().unwrap()]].concat(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let leaf = |kind: &str| fs::read_to_string(file_in(&out, kind)).unwrap();
    let cluster = Server::System.start(|plan| {
        plan.settings.push("ssl = on".to_owned());
        plan.files.push(("server.crt", leaf("crt")));
        plan.files.push(("server.key", leaf("key")));
        plan.hba = vec!["hostssl all all 127.0.0.1/32 trust".to_owned()];
    });
    let gate = Gate::within(home, &settings(cluster.port()));
    let psql = || Client::psql(&conninfo(&gate, "acme")).args(["-c", "select current_user"]);
    assert_eq!(psql().prints(), "alice");
    let mut live = gate.connect("acme");
    live.login(&alice());

    let shown = gate.ca(&["show", "acme", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    let serial = shown["issued"][0]["serial"].as_str().unwrap();
    let before = gate.log().len();
    let revoked = gate.ca(&["revoke", "acme", serial]);
    assert_eq!(revoked.code, 0, "{revoked:?}");
    gate.log().wait_after(before, "the reload", |line| {
        text(line, "message").contains("configuration reloaded")
    });
    let said = psql().fails();
    assert!(
        said.contains("the database server can't be trusted"),
        "{said}"
    );
    gate.log().wait_after(before, "why", |line| {
        line.to_string().contains("the project's CA has revoked it")
    });
    live.send(&query("select 1"));
    // Whatever a real server answers, to its end.
    while live.message().tag != b'Z' {}
}
