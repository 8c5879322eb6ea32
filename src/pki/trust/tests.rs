use jiff::SignedDuration;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType,
    SerialNumber,
};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::pki::{ClientName, Keystore};

/// A CA in a file of its own, and a place for its lists.
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

fn at(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000 + days * 86_400).unwrap()
}

/// The moment of `at(0)`.
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn common_name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.push(DnType::CommonName, name);
}

impl Authority {
    fn new() -> Self {
        Self::named("clients")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        common_name(&mut params, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let directory = TempDir::new().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(directory.path().join("ca.crt"), pem).unwrap();
        let issuer = Issuer::new(params, key);
        Self { directory, issuer }
    }

    fn cas(&self) -> ClientCas {
        ClientCas {
            files: vec![self.directory.path().join("ca.crt")],
            ..ClientCas::default()
        }
    }

    fn revoke(&self, serials: &[u64], next_update: OffsetDateTime) -> ClientCas {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(-1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at(-1),
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.directory.path().join("ca.crl");
        let pem = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        std::fs::write(&path, pem).unwrap();
        ClientCas {
            crls: vec![path],
            ..self.cas()
        }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        common_name(&mut params, "alice");
        (params.not_before, params.not_after) = (at(-1), at(1));
        params.serial_number = Some(SerialNumber::from(7));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        vec![params.signed_by(&key, &self.issuer).unwrap().into()]
    }
}

fn load(cas: &ClientCas) -> Result<ClientTrust, PkiError> {
    let directory = TempDir::new().unwrap();
    let keystore = Keystore::open(directory.path().to_owned()).unwrap();
    ClientTrust::load(cas, &keystore.project(&"acme".parse().unwrap()), now())
}

fn verify(cas: &ClientCas, chain: &[CertificateDer<'static>]) -> Result<TrustedClient, Distrust> {
    load(cas)
        .unwrap()
        .verify(Shown::of(Some(chain)).unwrap(), now())
}

#[test]
fn a_certificate_is_trusted_by_the_ca_that_signed_it_and_says_whose_it_is() {
    let authority = Authority::new();
    let leaf = authority.leaf(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("web.acme".try_into().unwrap()),
            SanType::Rfc822Name("alice@example.com".try_into().unwrap()),
            SanType::URI("spiffe://acme/web".try_into().unwrap()),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
        ];
    });
    let identity = verify(&authority.cas(), &leaf).unwrap();
    assert_eq!(identity.common_name(), Some("alice"));
    let names: Vec<_> = identity.alternative_names().collect();
    assert_eq!(
        names,
        ["web.acme", "alice@example.com", "spiffe://acme/web"]
    );
    assert_eq!(identity.to_string(), "CN=alice, serial 07");

    let other = Authority::new();
    assert_eq!(verify(&other.cas(), &leaf), Err(Distrust::UnknownAuthority));
}

#[test]
fn a_certificate_with_two_common_names_has_none() {
    let authority = Authority::new();
    let leaf = authority.leaf(|params| {
        let admin = DnType::CustomDnType(vec![2, 5, 4, 3]);
        params.distinguished_name.push(admin, "postgres");
    });
    let identity = verify(&authority.cas(), &leaf).unwrap();
    assert_eq!(identity.common_name(), None, "{}", identity.subject());
}

#[test]
fn a_certificate_that_is_over_or_has_not_begun_or_is_for_servers_is_not_trusted() {
    let authority = Authority::new();
    let over = authority.leaf(|params| params.not_after = at(-1) + time::Duration::HOUR);
    let error = verify(&authority.cas(), &over).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the client certificate expired on 14 January 2027, 09:00 UTC"
    );
    let early = authority.leaf(|params| params.not_before = at(1) - time::Duration::HOUR);
    let error = verify(&authority.cas(), &early).unwrap_err();
    assert!(matches!(error, Distrust::NotYetValid { .. }), "{error}");
    let server = authority.leaf(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let error = verify(&authority.cas(), &server).unwrap_err();
    assert_eq!(error, Distrust::WrongPurpose);
}

#[test]
fn a_revoked_certificate_is_not_trusted_nor_any_longer_if_it_was() {
    let authority = Authority::new();
    let leaf = authority.leaf(|_| ());
    let cas = authority.revoke(&[8], at(1));
    let identity = verify(&cas, &leaf).unwrap();
    assert_eq!(load(&cas).unwrap().verify_again(&identity), Ok(()));

    let cas = authority.revoke(&[8, 7], at(1));
    let serial: Box<str> = "07".into();
    let revoked = Distrust::Revoked { serial };
    assert_eq!(verify(&cas, &leaf), Err(revoked.clone()));
    assert_eq!(load(&cas).unwrap().verify_again(&identity), Err(revoked));
    let others = load(&Authority::new().cas()).unwrap();
    let gone = others.verify_again(&identity);
    assert_eq!(gone, Err(Distrust::UnknownAuthority));
}

#[test]
fn a_serial_number_on_any_list_of_the_issuers_is_revoked() {
    let authority = Authority::new();
    let leaf = authority.leaf(|_| ());
    let list = authority.directory.path().join("ca.crl");
    authority.revoke(&[8], at(1));
    let older = std::fs::read(&list).unwrap();
    let cas = authority.revoke(&[8, 7], at(1));
    let newer = std::fs::read(&list).unwrap();
    for both in [[&older[..], &newer].concat(), [&newer[..], &older].concat()] {
        std::fs::write(&list, both).unwrap();
        let serial = "07".into();
        assert_eq!(verify(&cas, &leaf), Err(Distrust::Revoked { serial }));
    }
}

#[test]
fn where_lists_are_given_a_ca_without_one_vouches_for_nobody() {
    let (authority, other) = (Authority::new(), Authority::named("others"));
    let leaf = authority.leaf(|_| ());
    let others_list = ClientCas {
        crls: other.revoke(&[8], at(1)).crls,
        ..authority.cas()
    };
    let no_list = Err(Distrust::NoRevocations);
    assert_eq!(verify(&others_list, &leaf), no_list);
    assert!(verify(&authority.revoke(&[8], at(1)), &leaf).is_ok());
    assert!(verify(&authority.cas(), &leaf).is_ok());
}

#[test]
fn a_leaf_in_the_file_of_cas_is_refused_as_it_could_sign_others() {
    let authority = Authority::new();
    let file = authority.directory.path().join("ca.crt");
    let leaf = authority.issuer.key().serialize_pem();
    let leaf = CertificateParams::default()
        .self_signed(&KeyPair::from_pem(&leaf).unwrap())
        .unwrap();
    let chain = std::fs::read_to_string(&file).unwrap() + &leaf.pem();
    std::fs::write(&file, chain).unwrap();
    let error = load(&authority.cas()).unwrap_err().to_string();
    assert!(
        error.contains("certificate 2 in it is not a CA's"),
        "{error}"
    );
}

#[test]
fn a_name_counts_only_in_the_form_of_its_kind() {
    let authority = Authority::new();
    let leaf = authority.leaf(|params| {
        params.subject_alt_names = vec![
            SanType::URI("postgres@corp.example".try_into().unwrap()),
            SanType::URI("postgres".try_into().unwrap()),
            SanType::DnsName("ann.corp.example".try_into().unwrap()),
            SanType::Rfc822Name("ann@corp.example".try_into().unwrap()),
        ];
    });
    let identity = verify(&authority.cas(), &leaf).unwrap();
    let names: Vec<_> = identity.alternative_names().collect();
    assert_eq!(names, ["ann.corp.example", "ann@corp.example"]);
}

#[test]
fn a_list_that_is_out_of_date_vouches_for_nobody_new() {
    let authority = Authority::new();
    let leaf = authority.leaf(|_| ());
    let identity = verify(&authority.revoke(&[8], at(1)), &leaf).unwrap();
    let stale = authority.revoke(&[8], at(0) - time::Duration::HOUR);
    assert_eq!(verify(&stale, &leaf), Err(Distrust::StaleRevocations));
    assert_eq!(load(&stale).unwrap().verify_again(&identity), Ok(()));
}

#[test]
fn what_the_projects_own_ca_issues_is_trusted_and_its_servers_leaf_is_not() {
    let directory = TempDir::new().unwrap();
    let keystore = Keystore::open(directory.path().to_owned()).unwrap();
    let project = keystore.project(&"acme".parse().unwrap());
    let cas = ClientCas {
        project: true,
        ..ClientCas::default()
    };
    let trust = ClientTrust::load(&cas, &project, now()).unwrap();
    let issuer = project.client_issuer(now()).unwrap();
    let name: ClientName = "alice".parse().unwrap();
    let issued = issuer.issue(&name, SignedDuration::from_hours(1), now());
    let chain = vec![issued.unwrap().certificate().clone()];
    let identity = trust.verify(Shown::of(Some(&chain)).unwrap(), now());
    assert_eq!(identity.unwrap().common_name(), Some("alice"));

    let hosts = ["acme.localhost".parse().unwrap()];
    let server = project.load_or_create(&hosts, now()).unwrap();
    let posing = trust.verify(Shown::of(Some(server.chain())).unwrap(), now());
    assert_eq!(posing, Err(Distrust::WrongPurpose));
}

#[test]
fn t25_nothing_is_trusted_by_a_file_that_is_damaged_or_by_none() {
    let authority = Authority::new();
    assert!(matches!(
        load(&ClientCas::default()),
        Err(PkiError::NoClientCa)
    ));
    let mut cas = authority.revoke(&[], at(1));
    std::fs::write(&cas.crls[0], "what?").unwrap();
    assert!(matches!(load(&cas), Err(PkiError::BadRevocations { .. })));
    // A CA where a list should be.
    cas.crls = cas.files.clone();
    assert!(matches!(load(&cas), Err(PkiError::BadRevocations { .. })));
    std::fs::write(&cas.files[0], "what?").unwrap();
    assert!(matches!(load(&cas), Err(PkiError::BadCertificate { .. })));
}

#[test]
fn t34_a_name_is_shown_without_what_could_forge_a_line_of_the_log() {
    let shown = printable(&format!("a\nb\u{1b}[2Jc{}", "x".repeat(1000)));
    assert!(shown.starts_with("a?b?[2Jc"), "{shown}");
    assert_eq!(shown.chars().count(), LONGEST_NAME);
}
