//! Real clients that show certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{acme, expired, gate};
use crate::support::client_ca::{ClientCa, ClientLeaf};
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::postgres::Server;

/// Writes a certificate and its key as libpq takes them; what to add to a connection string.
pub(super) fn installed(directory: &Path, leaf: &ClientLeaf) -> String {
    let (certificate, key) = (directory.join("client.crt"), directory.join("client.key"));
    fs::write(&certificate, &leaf.chain).unwrap();
    fs::write(&key, &leaf.key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        " sslcert={} sslkey={}",
        certificate.display(),
        key.display()
    )
}

#[test]
fn psql_with_a_certificate_logs_in_by_passthrough_and_without_one_reads_why_not() {
    let ca = ClientCa::new("clients");
    for server in [Server::System, Server::Eighteen] {
        let cluster = server.plain();
        let backend = format!("postgres://127.0.0.1:{}", cluster.port());
        let acme = Project::new("acme", &backend)
            .text("client_certificate", "required")
            .text("client_ca", "clients-ca.crt");
        let directory = directory_of(&[("clients-ca.crt", ca.pem())]);
        let gate = Gate::within(directory, &Settings::new(&[acme]));
        let conninfo = conninfo(&gate, "acme");
        let with = conninfo.clone() + &installed(gate.directory(), &ca.leaf("alice"));
        let psql = Client::psql(&with).args(["-c", "select current_user"]);
        assert_eq!(psql.prints(), "alice");
        let said = Client::psql(&conninfo).args(["-c", "select 1"]).fails();
        let why = "FATAL:  connections to this project need a client certificate";
        assert!(said.contains(why) && said.contains("sslcert"), "{said}");
    }
}

#[test]
fn psycopg_reads_what_is_wrong_with_its_certificate() {
    let ca = ClientCa::new("clients");
    let backend = FakeBackend::untouchable();
    let gate = gate(&ca, &[acme(&backend, "required")]);
    let conninfo = conninfo(&gate, "acme") + &installed(gate.directory(), &expired(&ca));
    let said = Client::python("psycopg_logins.py").arg(conninfo).prints();
    assert!(said.contains("the client certificate expired on"), "{said}");
}
