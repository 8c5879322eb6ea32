//! Somebody in the middle, in front of the gate, who ends TLS and carries the login on (T19).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::site::scram_in_front_of;
use crate::support::authority::Authority;
use crate::support::clients::Client;
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::ssl_request;
use crate::support::postgres::Server;
use crate::support::raw::TlsClient;

/// Carries one connection on, in clear between the two ends of it.
async fn carry_on(mut client: TcpStream, gate: SocketAddr, tls: (ServerConfig, ClientConfig)) {
    client.read_exact(&mut [0; 8]).await.unwrap();
    client.write_all(b"S").await.unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls.0));
    let mut client = acceptor.accept(client).await.unwrap();
    let mut server = TcpStream::connect(gate).await.unwrap();
    server.write_all(&ssl_request()).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'S');
    let name = ServerName::try_from("acme.localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(tls.1));
    let mut server = connector.connect(name, server).await.unwrap();
    // Either side may be cut off.
    drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
}

/// Somebody who listens in the place of a gate, until this is dropped.
struct Middle {
    port: u16,
    _runtime: Runtime,
}

impl Middle {
    /// In front of `gate`, which `trusting` trusts.
    fn of(gate: &Gate, trusting: &TlsClient) -> Self {
        let leaf = Authority::new().leaf("acme.localhost");
        let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap);
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ending = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .unwrap();
        let beginning = trusting.config.as_ref().clone();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = gate.addr();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let tls = (ending.clone(), beginning.clone());
                tokio::spawn(carry_on(client, to, tls));
            }
        });
        Self {
            port,
            _runtime: runtime,
        }
    }

    /// A client that doesn't look at certificates, as `sslmode=require` doesn't.
    fn conninfo(&self, binding: &str) -> String {
        format!(
            "host=acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app sslmode=require \
             channel_binding={binding}",
            self.port
        )
    }

    /// What psql and psycopg (libpq 18) make of it.
    fn logins(&self, binding: &str) -> [String; 2] {
        let conninfo = self.conninfo(binding);
        let psql = Client::psql(&conninfo).args(["-c", "select 'ok'"]).run();
        let psycopg = Client::python("psycopg_logins.py").arg(&conninfo).prints();
        [psql.stdout.trim().to_owned() + &psql.stderr, psycopg]
    }

    fn is_found_out(&self) {
        // Without channel binding the attack succeeds: it is what the refusal is about.
        assert_eq!(self.logins("disable"), ["ok", "ok"]);
        for binding in ["require", "prefer"] {
            for said in self.logins(binding) {
                let why = "FATAL: SCRAM channel binding check failed";
                assert!(said.replace("FATAL:  ", "FATAL: ").contains(why), "{said}");
            }
        }
    }
}

#[test]
fn t19_somebody_in_front_of_a_gate_that_does_scram_itself_is_refused_by_channel_binding() {
    let cluster = Server::System.plain();
    let gate = scram_in_front_of(&cluster);
    Middle::of(&gate, &gate.tls("acme")).is_found_out();
    gate.log().wait("the refusal", |line| {
        line.to_string().contains("\"channel_binding\"")
    });
}

#[test]
fn t19_somebody_in_front_of_a_gate_that_shares_its_leaf_is_refused_by_the_servers_channel_binding()
{
    let authority = Authority::new();
    let own = authority.leaf("acme.localhost");
    for server in [Server::System, Server::Eighteen] {
        let cluster = server.start(|plan| {
            plan.settings.push("ssl = on".to_owned());
            plan.files.push(("server.crt", own.chain.clone()));
            plan.files.push(("server.key", own.key.clone()));
        });
        let backend = format!("postgres://127.0.0.1:{}", cluster.port());
        let acme = Project::new("acme", &backend)
            .text("certificate", "own.crt")
            .text("key", "own.key")
            .text("sslmode", "require");
        let files = [
            ("root.crt", authority.root()),
            ("own.crt", &own.chain),
            ("own.key", &own.key),
        ];
        let gate = Gate::within(directory_of(&files), &Settings::new(&[acme]));
        let root = gate.directory().join("root.crt");
        Middle::of(&gate, &TlsClient::new(&root, "acme.localhost")).is_found_out();
    }
}
