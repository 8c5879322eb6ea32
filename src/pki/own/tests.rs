use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use tempfile::TempDir;

use super::*;
use crate::pki::testing::pem;

/// A chain such as a public CA gives: leaf, intermediate, root.
struct Fixture {
    directory: TempDir,
    now: Timestamp,
    pems: [String; 3],
    key: KeyPair,
}

impl Fixture {
    fn new() -> Self {
        Self::with(&PKCS_ECDSA_P256_SHA256)
    }

    fn with(algorithm: &'static SignatureAlgorithm) -> Self {
        let (root, root_params, root_key) = ca("root", None);
        let (middle, middle_params, middle_key) = ca("middle", Some((&root_params, &root_key)));
        let key = KeyPair::generate_for(algorithm).unwrap();
        let sans = ["db.example.com", "*.wild.example.com", "192.0.2.1"].map(str::to_owned);
        let mut params = CertificateParams::new(sans).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "cn.example.com");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let issuer = Issuer::from_params(&middle_params, &middle_key);
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let pems = [leaf.pem(), middle.pem(), root.pem()];
        Self {
            directory: TempDir::new().unwrap(),
            now,
            pems,
            key,
        }
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load(&self, chain: &[usize], hosts: &[&str]) -> Result<Identity, PkiError> {
        let chain: String = chain
            .iter()
            .map(|index| self.pems[*index].as_str())
            .collect();
        self.load_texts(&chain, &self.key.serialize_pem(), hosts)
    }

    fn load_texts(&self, chain: &str, key: &str, hosts: &[&str]) -> Result<Identity, PkiError> {
        let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let (chain, key) = (self.write("chain.pem", chain), self.write("key.pem", key));
        Identity::from_files(&chain, &key, &hosts, self.now)
    }
}

fn ca(
    name: &str,
    issuer: Option<(&CertificateParams, &KeyPair)>,
) -> (Certificate, CertificateParams, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = match issuer {
        Some((issuer, issuer_key)) => params
            .signed_by(&key, &Issuer::from_params(issuer, issuer_key))
            .unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (certificate, params, key)
}

#[test]
fn an_own_chain_is_served_as_it_is_and_is_not_ours_to_renew() {
    let fixture = Fixture::new();
    let hosts = [
        "db.example.com",
        "a.wild.example.com",
        "*.wild.example.com",
        "192.0.2.1",
    ];
    for chain in [&[0][..], &[0, 1], &[0, 1, 2]] {
        let identity = fixture.load(chain, &hosts).unwrap();
        assert_eq!(identity.chain().len(), chain.len());
        assert_eq!(identity.hosts().len(), hosts.len());
        assert_eq!(identity.not_after().to_string(), "2040-01-01T00:00:00Z");
        assert!(identity.renew_at().is_none() && identity.ca_bundle_pem().is_none());
    }
}

#[test]
fn t13_a_host_is_covered_by_the_san_alone_and_a_wildcard_covers_one_label() {
    let fixture = Fixture::new();
    for uncovered in [
        "cn.example.com",
        "example.com",
        "a.b.wild.example.com",
        "wild.example.com",
        "192.0.2.2",
    ] {
        let error = fixture
            .load(&[0, 1], &["db.example.com", uncovered])
            .unwrap_err();
        let expected = format!(
            "does not cover {uncovered}: its subject alternative names are db.example.com, \
             *.wild.example.com, 192.0.2.1"
        );
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}

#[test]
fn every_usual_form_of_a_key_is_read() {
    let rsa = Fixture::with(&PKCS_RSA_SHA256);
    rsa.load(&[0, 1], &[]).unwrap();
    for fixture in [Fixture::new(), rsa] {
        let pkcs8 = fixture.key.serialize_pem();
        // The older forms are what PKCS #8 wraps; openssl makes them the same way.
        let inner = inner_key(fixture.key.serialized_der());
        let label = if fixture.key.is_compatible(&PKCS_RSA_SHA256) {
            "RSA"
        } else {
            "EC"
        };
        let older = pem(&format!("{label} PRIVATE KEY"), &inner);
        let chain = fixture.pems[..2].concat();
        for key in [pkcs8, older] {
            fixture
                .load_texts(&chain, &key, &["db.example.com"])
                .unwrap();
        }
    }
}

/// The octets in a PKCS #8 PrivateKeyInfo (RFC 5208 section 5).
fn inner_key(pkcs8: &[u8]) -> Vec<u8> {
    use x509_parser::der_parser::asn1_rs::{FromDer, Integer, OctetString, Sequence};
    let (_, info) = Sequence::from_der(pkcs8).unwrap();
    let (rest, _) = Integer::from_der(info.content.as_ref()).unwrap();
    let (rest, _) = Sequence::from_der(rest).unwrap();
    let (_, key) = OctetString::from_der(rest).unwrap();
    key.as_ref().to_vec()
}

#[test]
fn the_key_of_another_leaf_is_refused() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let chain = fixture.pems.concat();
    let error = fixture
        .load_texts(&chain, &other.key.serialize_pem(), &[])
        .unwrap_err();
    assert!(matches!(error, PkiError::KeyMismatch { .. }), "{error}");
    // Also where the chain is upside down.
    let error = fixture.load(&[2, 1, 0], &[]).unwrap_err();
    assert!(
        error.to_string().ends_with("the leaf comes first"),
        "{error}"
    );
}

#[test]
fn a_certificate_that_is_over_or_has_not_begun_is_refused_with_its_dates() {
    let mut fixture = Fixture::new();
    for moment in ["2019-12-31T23:59:59Z", "2040-01-01T00:00:01Z"] {
        fixture.now = moment.parse().unwrap();
        let error = fixture.load(&[0, 1], &[]).unwrap_err().to_string();
        assert!(error.contains("certificate 1 in"), "{error}");
        assert!(error.contains("CN=cn.example.com"), "{error}");
        let dates = "from 1 January 2020, 00:00 UTC to 1 January 2040, 00:00 UTC only";
        assert!(error.contains(dates), "{error}");
    }
    fixture.now = "2040-01-01T00:00:00Z".parse().unwrap();
    fixture.load(&[0, 1], &[]).unwrap();
    fixture.now -= SignedDuration::from_hours(24 * 365 * 20);
    fixture.load(&[0, 1], &[]).unwrap();
}

#[test]
fn a_chain_in_the_wrong_order_is_refused_with_the_place_where_it_breaks() {
    let fixture = Fixture::new();
    for (chain, position) in [
        (&[0, 2][..], 2),
        (&[0, 2, 1], 2),
        (&[0, 1, 1], 3),
        (&[0, 0], 2),
    ] {
        let error = fixture.load(chain, &[]).unwrap_err().to_string();
        assert!(
            error.contains(&format!("certificate {position} in")),
            "{error}"
        );
        assert!(error.contains("did not sign the one before it"), "{error}");
    }
}

#[test]
fn an_issuer_of_the_same_name_with_another_key_is_refused() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let chain = format!("{}{}", fixture.pems[0], other.pems[1]);
    let error = fixture
        .load_texts(&chain, &fixture.key.serialize_pem(), &[])
        .unwrap_err();
    assert!(error.to_string().contains("certificate 2 in"), "{error}");
}

#[test]
fn t13_an_ed25519_leaf_is_refused_since_channel_binding_has_no_hash_for_it() {
    let fixture = Fixture::with(&PKCS_ED25519);
    let error = fixture.load(&[0, 1], &[]).unwrap_err();
    assert!(
        matches!(error, PkiError::NoChannelBinding { .. }),
        "{error}"
    );
}

#[test]
fn t34_files_that_hold_something_else_are_refused_and_not_quoted() {
    let fixture = Fixture::new();
    let (chain, key) = (fixture.pems.concat(), fixture.key.serialize_pem());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let spoilt = key.replacen("BEGIN PRIVATE KEY-----", "BEGIN PRIVATE KEY-hush", 1);
    for bad in ["", "hush", &chain, &encrypted, &spoilt, &key[..100]] {
        let error = fixture.load_texts(&chain, bad, &[]).unwrap_err();
        assert!(matches!(error, PkiError::BadKey { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
    for bad in [
        "",
        "hush",
        &key,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let error = fixture.load_texts(bad, &key, &[]).unwrap_err();
        assert!(matches!(error, PkiError::BadCertificate { .. }), "{error}");
    }
}

#[test]
fn a_missing_file_and_an_exposed_key_are_errors_that_name_the_file() {
    let fixture = Fixture::new();
    let chain = fixture.write("chain.pem", &fixture.pems[0]);
    let key = fixture.directory.path().join("key.pem");
    let error = Identity::from_files(&chain, &key, &[], fixture.now)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot read") && error.contains("key.pem"),
        "{error}"
    );
    fs::write(&key, fixture.key.serialize_pem()).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let error = Identity::from_files(&chain, &key, &[], fixture.now)
        .unwrap_err()
        .to_string();
    assert!(error.contains("chmod 600"), "{error}");
}
