//! What a certificate says, as far as the gate asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Serial;
use super::server::provider;
use crate::address::{Host, HostName};

/// id-Ed25519 and id-Ed448 (RFC 8410 section 3).
const EDWARDS: [&str; 2] = ["1.3.101.112", "1.3.101.113"];

/// What one certificate says.
#[derive(Debug)]
pub(super) struct Facts {
    /// Whom it is about, as a text for people.
    pub(super) subject: String,
    /// DER of the subject's name.
    pub(super) subject_raw: Vec<u8>,
    /// DER of the issuer's name.
    pub(super) issuer_raw: Vec<u8>,
    /// Its serial number; none if it is longer than one may be.
    pub(super) serial: Option<Serial>,
    /// DER of the SubjectPublicKeyInfo.
    pub(super) public_key: Vec<u8>,
    /// When it begins.
    pub(super) not_before: Timestamp,
    /// When it ends.
    pub(super) not_after: Timestamp,
    /// The DNS names and addresses that it is for (SAN only; T13).
    pub(super) hosts: Vec<Host>,
    /// Whether its key or its signature is Ed25519 or Ed448.
    pub(super) is_edwards: bool,
}

impl Facts {
    /// Reads a certificate; none if it isn't one, or if its dates are outside every calendar.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        let key_algorithm = certificate.public_key().algorithm.algorithm.to_id_string();
        let signature_algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        Some(Self {
            subject: certificate.subject().to_string(),
            subject_raw: certificate.subject().as_raw().to_vec(),
            issuer_raw: certificate.issuer().as_raw().to_vec(),
            serial: Serial::from_der_integer(certificate.raw_serial()),
            public_key: certificate.public_key().raw.to_vec(),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            hosts: hosts(&certificate),
            is_edwards: EDWARDS
                .iter()
                .any(|id| *id == key_algorithm || *id == signature_algorithm),
        })
    }

    /// Whether its dates include this moment.
    pub(super) fn is_valid_at(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether it names the host: as it is, or by a wildcard for its first label.
    pub(super) fn covers(&self, host: &Host) -> bool {
        let by_wildcard = || match host {
            Host::Name(name) => name
                .wildcard()
                .is_some_and(|wild| self.names(&Host::Name(wild))),
            Host::Address(_) => false,
        };
        self.names(host) || by_wildcard()
    }

    fn names(&self, host: &Host) -> bool {
        self.hosts.contains(host)
    }
}

/// When two thirds of a life are over.
pub(super) fn two_thirds(begin: Timestamp, end: Timestamp) -> Timestamp {
    let third = begin.duration_until(end) / 3;
    end.saturating_sub(third).unwrap_or(end)
}

/// Checks signatures, dates and purposes from the leaf to the root, as clients will.
pub(super) fn verify(
    chain: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<(), rustls::Error> {
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or(rustls::Error::NoCertificatesPresented)?;
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned())?;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        &roots,
        intermediates,
        unix_time(now),
        provider().signature_verification_algorithms.all,
    )
}

/// As rustls counts.
pub(super) fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.as_second().max(0).unsigned_abs()))
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<Host> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension
        .iter()
        .flat_map(|san| &san.value.general_names)
        .filter_map(host)
        .collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum; the other kinds name no host"
)]
fn host(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(text) => text.parse::<HostName>().ok().map(Host::Name),
        GeneralName::IPAddress(octets) => address(octets).map(Host::Address),
        _ => None,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(|four| Ipv4Addr::from(four).into())
        .or_else(|_| <[u8; 16]>::try_from(octets).map(|sixteen| Ipv6Addr::from(sixteen).into()))
        .ok()
}
