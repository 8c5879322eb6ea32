//! Issuing: the one place that makes certificates.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::revoked::Revoked;
use super::{ClientName, PkiError, Serial};
use crate::address::Host;
use crate::id::ProjectName;

/// Certificates begin this long before they are issued, for clients whose clock is behind.
const HEAD_START: SignedDuration = SignedDuration::from_hours(1);
/// Ninety days.
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Thirty days: a server that is told of revocations by file must be given the next list in time.
const REVOCATION_LIST_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Ten years.
const CA_LIFE: SignedDuration = SignedDuration::from_hours(3653 * 24);
/// ub-common-name (RFC 5280 appendix A.1), in characters.
const LONGEST_COMMON_NAME: usize = 64;

/// The organizational unit in the certificates by which the gate itself logs in. Nobody is ever handed
/// one with it, so that a server can tell the gate from a client that comes past it.
const GATES_UNIT: &str = "portcullis gate";

/// dnQualifier (X.520, RFC 5280 section 4.1.2.4): what keeps two of a name apart.
const DN_QUALIFIER: &[u64] = &[2, 5, 4, 46];

/// A private key with the certificate for it.
pub(super) struct Issued {
    /// The key.
    pub(super) key: Zeroizing<KeyPair>,
    /// The certificate.
    pub(super) certificate: Certificate,
    /// Its serial number.
    pub(super) serial: Serial,
    /// When it ends.
    pub(super) not_after: Timestamp,
}

/// A CA that can sign.
pub(super) struct Ca {
    /// Its certificate, DER.
    pub(super) certificate: CertificateDer<'static>,
    /// Its certificate as it is handed out, PEM.
    pub(super) pem: String,
    /// Its key.
    pub(super) key: Zeroizing<KeyPair>,
    /// When it begins.
    pub(super) not_before: Timestamp,
    /// When it ends.
    pub(super) not_after: Timestamp,
}

/// A CA of which the certificate was just made.
pub(super) fn authority(certificate: Certificate, key: Zeroizing<KeyPair>, now: Timestamp) -> Ca {
    Ca {
        pem: certificate.pem(),
        certificate: certificate.into(),
        key,
        not_before: after(now, -HEAD_START),
        not_after: after(now, CA_LIFE),
    }
}

/// A certificate in PEM (RFC 7468 section 5).
pub(super) fn certificate_pem(der: &CertificateDer<'_>) -> String {
    pem_block("CERTIFICATE", der)
}

/// A PEM block (RFC 7468 section 2).
pub(super) fn pem_block(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

/// Makes a new P-256 key.
pub(super) fn new_key() -> Result<Zeroizing<KeyPair>, PkiError> {
    Ok(Zeroizing::new(KeyPair::generate_for(
        &PKCS_ECDSA_P256_SHA256,
    )?))
}

/// Takes up a key that was kept; none if it is no key that signs with ECDSA P-256.
pub(super) fn take_up(key: &PrivateKeyDer<'_>) -> Option<Zeroizing<KeyPair>> {
    KeyPair::from_der_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)
        .ok()
        .map(Zeroizing::new)
}

/// The key in PEM, PKCS #8.
pub(super) fn key_pem(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(key.serialize_pem())
}

/// The key as rustls takes it.
pub(super) fn private_key(key: &KeyPair) -> Zeroizing<PrivateKeyDer<'static>> {
    Zeroizing::new(PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

/// DER of the key's SubjectPublicKeyInfo.
pub(super) fn public_key(key: &KeyPair) -> Vec<u8> {
    key.subject_public_key_info()
}

/// A self-signed CA certificate for the key. It may sign leaves, and no further CA. Its name and its
/// key identifier depend on nothing but the project and the key, so one made anew verifies what the
/// one before it verified; and two CAs of one project have two names, which everybody can tell apart
/// who looks for an issuer, or for a revocation list, by its name alone.
pub(super) fn ca(
    name: &ProjectName,
    key: &KeyPair,
    now: Timestamp,
) -> Result<Certificate, PkiError> {
    let mut params = CertificateParams::default();
    date_and_number(&mut params, now, after(now, CA_LIFE))?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Portcullis CA");
    params.distinguished_name.push(
        DnType::CustomDnType(DN_QUALIFIER.to_vec()),
        DnValue::PrintableString(qualifier(&public_key(key)).as_str().try_into()?),
    );
    params
        .distinguished_name
        .push(DnType::CommonName, name.as_str());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key)?)
}

/// What tells a key from others: the beginning of the SHA-256 of its SubjectPublicKeyInfo.
pub(super) fn qualifier(public_key: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, public_key);
    let bytes = digest.as_ref().iter().take(4);
    bytes.map(|byte| format!("{byte:02X}")).collect()
}

/// A leaf for the hosts, by a new key; it ends no later than its CA.
pub(super) fn leaf(ca: &Ca, hosts: &[Host], now: Timestamp) -> Result<Issued, PkiError> {
    by_new_key(ca, leaf_params(hosts)?, (now, LEAF_LIFE))
}

/// A client's certificate, by a new key; it ends no later than its CA.
pub(super) fn client(
    ca: &Ca,
    name: &ClientName,
    life: SignedDuration,
    now: Timestamp,
) -> Result<Issued, PkiError> {
    by_new_key(ca, client_params(name), (now, life))
}

/// A certificate by which the gate logs in for a client, by a new key; it ends no later than its CA.
pub(super) fn gates(
    ca: &Ca,
    name: &ClientName,
    life: SignedDuration,
    now: Timestamp,
) -> Result<Issued, PkiError> {
    let mut params = client_params(name);
    // Behind the common name, so that it is in front of it as a server writes it (RFC 2253 section 2.1),
    // where no common name can imitate it.
    let subject = &mut params.distinguished_name;
    subject.push(DnType::OrganizationalUnitName, GATES_UNIT);
    by_new_key(ca, params, (now, life))
}

/// A client's certificate for the key of a request, of which nothing else is taken: what it asks for
/// is not what it gets.
pub(super) fn client_for_request(
    ca: &Ca,
    name: &ClientName,
    (request, life): (&str, SignedDuration),
    now: Timestamp,
) -> Result<Signed, PkiError> {
    let request = CertificateSigningRequestParams::from_pem(request)
        .map_err(|error| PkiError::BadRequest(error.to_string()))?;
    sign(ca, client_params(name), &request.public_key, (now, life))
}

/// A certificate for a server that is no gate's: for these hosts, by a new key.
pub(super) fn server(
    ca: &Ca,
    hosts: &[Host],
    life: SignedDuration,
    now: Timestamp,
) -> Result<Issued, PkiError> {
    by_new_key(ca, leaf_params(hosts)?, (now, life))
}

/// What a CA has revoked.
pub(super) fn revocation_list(
    ca: &Ca,
    number: u64,
    revoked: &[Revoked],
    now: Timestamp,
) -> Result<CertificateRevocationList, PkiError> {
    let issuer = Issuer::from_ca_cert_der(&ca.certificate, &*ca.key)?;
    let entry = |revoked: &Revoked| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
            revocation_time: date(revoked.at)?,
            reason_code: None,
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: date(now)?,
        next_update: date(after(now, REVOCATION_LIST_LIFE))?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, PkiError>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(&issuer)?)
}

/// A certificate before it is put to its key.
pub(super) struct Signed {
    /// The certificate.
    pub(super) certificate: Certificate,
    /// Its serial number.
    pub(super) serial: Serial,
    /// When it ends.
    pub(super) not_after: Timestamp,
}

impl Signed {
    fn with(self, key: Zeroizing<KeyPair>) -> Issued {
        let Self {
            certificate,
            serial,
            not_after,
        } = self;
        Issued {
            key,
            certificate,
            serial,
            not_after,
        }
    }
}

/// What the CA signs ends no later than the CA.
/// Signs for a new key.
fn by_new_key(
    ca: &Ca,
    params: CertificateParams,
    when: (Timestamp, SignedDuration),
) -> Result<Issued, PkiError> {
    let key = new_key()?;
    Ok(sign(ca, params, &*key, when)?.with(key))
}

fn sign(
    ca: &Ca,
    mut params: CertificateParams,
    key: &impl PublicKeyData,
    (now, life): (Timestamp, SignedDuration),
) -> Result<Signed, PkiError> {
    let issuer = Issuer::from_ca_cert_der(&ca.certificate, &*ca.key)?;
    let not_after = ca.not_after.min(after(now, life));
    let serial = date_and_number(&mut params, now, not_after)?;
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(key, &issuer)?;
    Ok(Signed {
        certificate,
        serial,
        not_after,
    })
}

/// A leaf that nobody vouches for, and that nobody renews.
pub(super) fn self_signed(hosts: &[Host], now: Timestamp) -> Result<Issued, PkiError> {
    let key = new_key()?;
    let mut params = leaf_params(hosts)?;
    let not_after = after(now, CA_LIFE);
    let serial = date_and_number(&mut params, now, not_after)?;
    let certificate = params.self_signed(&*key)?;
    Ok(Issued {
        key,
        certificate,
        serial,
        not_after,
    })
}

fn client_params(name: &ClientName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, name.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn leaf_params(hosts: &[Host]) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = leaf_name(hosts);
    params.subject_alt_names = hosts.iter().map(san).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// What all certificates have in common; the serial number is a new one.
fn date_and_number(
    params: &mut CertificateParams,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<Serial, PkiError> {
    let serial = Serial::random()?;
    params.not_before = date(after(now, -HEAD_START))?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    Ok(serial)
}

/// The common name is for people who look at the certificate; clients go by the SAN alone. None
/// where it would be longer than X.520 allows.
fn leaf_name(hosts: &[Host]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let common = hosts.first().map(ToString::to_string);
    if let Some(common) = common.filter(|text| text.len() <= LONGEST_COMMON_NAME) {
        name.push(DnType::CommonName, common);
    }
    name
}

fn san(host: &Host) -> Result<SanType, PkiError> {
    Ok(match host {
        Host::Name(name) => SanType::DnsName(name.as_str().try_into()?),
        Host::Address(ip) => SanType::IpAddress(*ip),
    })
}

fn after(now: Timestamp, life: SignedDuration) -> Timestamp {
    now.saturating_add(life).unwrap_or(now)
}

fn date(at: Timestamp) -> Result<OffsetDateTime, PkiError> {
    let date = OffsetDateTime::from_unix_timestamp(at.as_second());
    date.map_err(|_| PkiError::Issue(format!("{at} is outside the calendar of certificates")))
}
