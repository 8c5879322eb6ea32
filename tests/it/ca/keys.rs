//! Private keys: those that the gate never sees, and those that it keeps sealed (T34).

use std::fs;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::support::client_ca::{ClientLeaf, Showing};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, run, text};
use crate::support::message::alice;
use crate::support::raw::Secured;

#[test]
fn a_certificate_by_request_is_for_its_key_and_for_nothing_else_that_it_asks_for() {
    let backend = FakeBackend::welcoming();
    let acme = Project::new("acme", &backend.url()).text("client_certificate", "required");
    let gate = Gate::start(&[acme]);
    let key = KeyPair::generate().unwrap();
    let mut asked = CertificateParams::new(["acme.localhost".to_owned()]).unwrap();
    asked.distinguished_name.push(DnType::CommonName, "mallory");
    let request = asked.serialize_request(&key).unwrap().pem().unwrap();
    fs::write(gate.directory().join("alice.csr"), request).unwrap();
    let issue = ["issue", "acme", "--client", "alice", "--csr", "alice.csr"];
    let said = gate.ca_done(&issue);
    assert!(said.contains("sslkey=YOUR-KEY"), "{said}");
    assert!(!gate.directory().join("alice.key").exists());
    let leaf = ClientLeaf {
        chain: fs::read_to_string(gate.directory().join("alice.crt")).unwrap(),
        key: key.serialize_pem(),
    };
    let tls = gate.tls("acme").showing(Showing::leaf(&leaf));
    Secured::connect(gate.addr(), &tls).login(&alice());
    let opened = gate.log().wait("the session", |line| {
        text(line, "message") == "session opened"
    });
    assert_eq!(text(&opened, "certificate"), "CN=alice");

    fs::write(gate.directory().join("bad.csr"), "no request").unwrap();
    let bad = ["issue", "acme", "--client", "bob", "--csr", "bad.csr"];
    let ran = gate.ca(&bad);
    assert!(ran.code == 1 && ran.err.contains("request"), "{ran:?}");
    assert!(!gate.directory().join("bob.crt").exists());
}

/// Every file below a folder; a socket is none.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files_below(&path),
            false => Vec::from_iter(path.is_file().then_some(path)),
        })
        .collect()
}

#[test]
fn t34_a_key_of_the_environment_seals_every_private_key_and_without_it_the_gate_does_not_start() {
    let backend = FakeBackend::welcoming();
    let key = "07".repeat(32);
    let plain = Settings::new(&[Project::new("acme", &backend.url())]);
    let sealed = plain
        .clone()
        .env("PORTCULLIS_KEY_ENCRYPTION_KEY", Path::new(&key));
    let gate = Gate::with(&sealed);
    let trusting = gate.tls("acme");
    gate.connect("acme").login(&alice());
    let mut keys = 0;
    for file in files_below(&gate.directory().join("certs")) {
        let contents = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!contents.contains("PRIVATE KEY"), "{}", file.display());
        keys += usize::from(contents.contains("PORTCULLIS SEALED KEY"));
    }
    assert_eq!(keys, 2, "of the CA and of the leaf");

    let directory = gate.stopped();
    for other in [None, Some("08".repeat(32))] {
        let settings = other.map_or_else(
            || plain.clone(),
            |other| {
                let name = "PORTCULLIS_KEY_ENCRYPTION_KEY";
                plain.clone().env(name, Path::new(&other))
            },
        );
        let ran = run(directory.path(), &settings);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.err.contains("PORTCULLIS_KEY_ENCRYPTION_KEY"), "{ran:?}");
        assert!(!ran.err.contains(&key), "{ran:?}");
    }
    let gate = Gate::within(directory, &sealed);
    Secured::connect(gate.addr(), &trusting).login(&alice());
}
