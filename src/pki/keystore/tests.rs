use std::fs;
use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::*;
use crate::pki::testing::{Fixture, hosts};

mod damage;
mod leaf;
mod lock;

const DAY: SignedDuration = SignedDuration::from_hours(24);

impl Fixture {
    fn load(&self) -> Result<Identity, PkiError> {
        self.store
            .load_or_create(&hosts(&["db.example.com", "127.0.0.1"]), self.now)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    /// What `load` says when it must fail, and that it changed nothing.
    fn refusal(&self) -> String {
        let before = snapshot(&self.store.folder);
        let error = self.load().unwrap_err().to_string();
        assert_eq!(snapshot(&self.store.folder), before);
        error
    }
}

fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(der).unwrap().1
}

#[test]
fn the_first_start_makes_a_ca_and_a_leaf_and_keeps_the_keys_from_others() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    assert_eq!(mode(&fixture.directory.path().join("certs")), 0o755);
    for (file, expected) in [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("server.crt", 0o644),
        ("server.key", 0o600),
    ] {
        assert_eq!(mode(&fixture.file(file)), expected, "{file}");
    }
    assert_eq!(fixture.names().len(), 4);
    assert_eq!(
        identity.ca_bundle_pem().unwrap().as_bytes(),
        fixture.bytes("ca.crt")
    );
    assert_eq!(fixture.store.ca_certificate(), fixture.file("ca.crt"));
}

#[test]
fn t13_the_leaf_is_p256_with_sha256_and_is_sent_with_its_ca() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let [leaf, ca] = identity.chain() else {
        panic!("leaf and CA expected")
    };
    assert_eq!(leaf, identity.leaf_der());
    let (leaf, ca) = (parsed(leaf), parsed(ca));
    for certificate in [&leaf, &ca] {
        // ecdsa-with-SHA256, and the curve secp256r1.
        assert_eq!(
            certificate.signature_algorithm.algorithm.to_id_string(),
            "1.2.840.10045.4.3.2"
        );
        let curve = certificate
            .public_key()
            .algorithm
            .parameters
            .as_ref()
            .unwrap();
        assert_eq!(
            curve.as_oid().unwrap().to_id_string(),
            "1.2.840.10045.3.1.7"
        );
        assert!((15..=17).contains(&certificate.raw_serial().len()));
    }
    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert!(ca.subject().to_string().contains("acme"));
    assert!(!leaf.is_ca());
    assert!(
        leaf.extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .server_auth
    );
    assert_eq!(key_ids(&leaf).1, key_ids(&ca).0);
}

/// The subject key identifier and the authority key identifier.
fn key_ids(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    use x509_parser::extensions::ParsedExtension as E;
    let mut ids = (None, None);
    for extension in certificate.extensions() {
        if let E::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            ids.0 = Some(id.0.to_vec());
        }
        if let E::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
            ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
    }
    assert!(ids.0.is_some());
    ids
}

#[test]
fn certificates_begin_an_hour_early_and_last_ninety_days_and_ten_years() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let second = fixture.now.as_second();
    let validity: Vec<_> = identity
        .chain()
        .iter()
        .map(|der| parsed(der).validity().clone())
        .collect();
    assert_eq!(validity[0].not_before.timestamp(), second - 3600);
    assert_eq!(validity[0].not_after.timestamp(), second + 90 * 86400);
    assert_eq!(validity[1].not_before.timestamp(), second - 3600);
    assert_eq!(validity[1].not_after.timestamp(), second + 3653 * 86400);
    assert_eq!(identity.not_after().as_second(), second + 90 * 86400);
}

#[test]
fn a_second_start_changes_nothing() {
    let fixture = Fixture::new();
    let first = fixture.load().unwrap();
    let files = snapshot(&fixture.store.folder);
    let mut again = hosts(&["127.0.0.1", "db.example.com"]);
    for _ in 0..2 {
        let second = fixture.store.load_or_create(&again, fixture.now).unwrap();
        assert_eq!(second.chain(), first.chain());
        assert_eq!(snapshot(&fixture.store.folder), files);
        again.reverse();
    }
}

#[test]
fn two_projects_have_nothing_in_common() {
    let fixture = Fixture::new();
    let keystore = Keystore::open(fixture.directory.path().join("certs")).unwrap();
    let ours = fixture.load().unwrap();
    let other = keystore.project(&"other".parse().unwrap());
    let theirs = other.load_or_create(ours.hosts(), fixture.now).unwrap();
    assert!(verify(&theirs.chain()[..1], &ours.chain()[1], fixture.now).is_err());
}

#[test]
fn no_hosts_no_certificate_and_no_files() {
    let fixture = Fixture::new();
    assert!(matches!(
        fixture.store.load_or_create(&[], fixture.now),
        Err(PkiError::NoHosts)
    ));
    assert!(!fixture.store.folder.exists());
}
