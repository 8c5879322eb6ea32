//! What the gate's own logins are bound to: at a backend that speaks TLS and offers
//! SCRAM-SHA-256-PLUS, whoever it is (T13, T19).

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair};

use super::hostile::{PENCIL, VERIFIER, nonce_of};
use super::site::by_query;
use crate::support::authority::{Authority, Leaf};
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::{Message, message, read_packet};
use crate::support::postgres::PASSWORD;
use crate::support::tls_peer::{chain, secured};

/// Who proves what to the backend: the user by its keys, the service account, the user by its password.
const MODES: [Mode; 3] = [Mode::Scram, Mode::Query, Mode::Password];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Scram,
    Query,
    Password,
}

/// What a backend heard of one login: the user, SASLInitialResponse, and the client-final-message if
/// there was one.
#[derive(Debug)]
struct Heard {
    user: String,
    initial: String,
    last: Option<String>,
}

/// A backend that shows `leaf`, offers PLUS, asks whoever comes for a proof, and leaves with it.
fn offering_plus(leaf: &Leaf) -> (FakeBackend, Receiver<Heard>) {
    let (hear, heard) = channel();
    let leaf = Arc::new(leaf.clone());
    let backend = FakeBackend::serving(move |peer| {
        let mut peer = secured(peer, &leaf);
        // Where nothing but a certificate is refused, nothing comes.
        let Ok(startup) = read_packet(&mut peer) else {
            return;
        };
        let startup = String::from_utf8_lossy(&startup);
        let mut words = startup.split('\0').skip_while(|word| *word != "user");
        let user = words.nth(1).unwrap().to_owned();
        let offer = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        peer.write_all(&message(b'R', offer)).unwrap();
        let Ok(initial) = Message::read(&mut peer) else {
            return;
        };
        let nonce = nonce_of(&initial);
        let first = format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let first = message(b'R', &[b"\0\0\0\x0b", first.as_bytes()].concat());
        peer.write_all(&first).unwrap();
        // A login whose verifier can't be had ends here.
        let last = Message::read(&mut peer).ok();
        let text = |message: Message| String::from_utf8_lossy(&message.body).into_owned();
        let initial = text(initial);
        let last = last.map(text);
        hear.send(Heard {
            user,
            initial,
            last,
        })
        .unwrap();
    });
    (backend, heard)
}

/// What psql reads at a gate in front of `backend`.
fn psql_says(backend: &FakeBackend, mode: Mode, (sslmode, root): (&str, &str)) -> String {
    let acme = Project::new("acme", &backend.url()).text("sslmode", sslmode);
    let acme = match sslmode {
        "require" => acme,
        _ => acme.text("sslrootcert", "root.crt"),
    };
    let acme = match mode {
        Mode::Scram => acme.text("auth", "scram").text("verifiers", "users.txt"),
        Mode::Query => by_query(acme),
        Mode::Password => acme.text("auth", "password"),
    };
    let users = format!("\"alice\" \"{VERIFIER}\"\n");
    let directory = directory_of(&[
        ("users.txt", &users),
        ("auth.password", PASSWORD),
        ("root.crt", root),
    ]);
    let gate = Gate::within(directory, &Settings::new(&[acme]));
    let psql = Client::psql(&conninfo(&gate, "acme")).env("PGPASSWORD", PENCIL);
    psql.args(["-c", "select 1"]).fails()
}

/// A leaf for which no tls-server-end-point is defined, its own root.
fn ed25519() -> Leaf {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    Leaf {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn t19_each_login_of_the_gates_own_is_bound_to_the_leaf_that_the_backend_shows() {
    let leaf = Authority::new().leaf("127.0.0.1");
    let end_point = digest(&SHA256, &chain(&leaf)[0]);
    let gs2_header = &b"p=tls-server-end-point,,"[..];
    let bound = BASE64_STANDARD.encode([gs2_header, end_point.as_ref()].concat());
    for (mode, proved) in [
        (Mode::Scram, "alice"),
        (Mode::Query, "gate"),
        (Mode::Password, "alice"),
    ] {
        let (backend, heard) = offering_plus(&leaf);
        psql_says(&backend, mode, ("require", ""));
        drop(backend);
        let mut proofs = Vec::new();
        for login in heard {
            let initial = &login.initial;
            let begins = initial.starts_with("SCRAM-SHA-256-PLUS\0");
            assert!(
                begins && initial.contains("p=tls-server-end-point,,n=,r="),
                "{login:?}"
            );
            if let Some(last) = login.last {
                assert!(
                    last.starts_with(&format!("c={bound},r=")),
                    "{mode:?}: {last}"
                );
                proofs.push(login.user);
            }
        }
        assert_eq!(proofs, [proved], "{mode:?}");
    }
}

/// Whoever is in the middle can choose to show one, and would pass on a proof that is bound to nothing.
#[test]
fn t19_a_leaf_that_cant_be_bound_to_gets_no_proof_where_nothing_is_verified() {
    let leaf = ed25519();
    for mode in MODES {
        let (backend, heard) = offering_plus(&leaf);
        let said = psql_says(&backend, mode, ("require", ""));
        assert!(
            said.contains("the database server can't be trusted"),
            "{said}"
        );
        drop(backend);
        assert_eq!(heard.into_iter().count(), 0, "{mode:?}");
    }
}

#[test]
fn t13_a_leaf_that_cant_be_bound_to_does_where_it_is_verified() {
    let leaf = ed25519();
    for mode in MODES {
        let (backend, heard) = offering_plus(&leaf);
        psql_says(&backend, mode, ("verify-full", &leaf.chain));
        drop(backend);
        let logins: Vec<_> = heard.into_iter().collect();
        let plain = |login: &Heard| login.initial.starts_with("SCRAM-SHA-256\0");
        assert!(!logins.is_empty() && logins.iter().all(plain), "{logins:?}");
    }
}
