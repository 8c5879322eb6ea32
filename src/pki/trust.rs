//! Client certificates: whose a project trusts, and what one that it trusts says.
//!
//! In TLS a client proves only that it has the key of the certificate that it shows (`asking`);
//! whether the certificate is to be trusted is decided by [`ClientTrust::verify`], afterwards, where
//! a client that isn't can be told why. No [`TrustedClient`] is made anywhere else.

mod asking;
mod distrust;
mod revocation;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{Cert, EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use self::revocation::Revocations;
use super::certificate::unix_time;
use super::server::provider;
use super::{ClientRoots, PkiError, ProjectKeystore, Serial, files};

pub(super) use asking::Asking;
pub use distrust::Distrust;

/// The longest text of a name that is shown, in characters: a certificate may hold any.
const LONGEST_NAME: usize = 200;

/// Which CAs a project's clients may have their certificates from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientCas {
    /// The project's own CA.
    pub project: bool,
    /// Files of CAs, PEM.
    pub files: Vec<PathBuf>,
    /// Files of lists of revoked certificates, PEM, by the CAs in `files`.
    pub crls: Vec<PathBuf>,
}

/// Whose client certificates a project trusts, and which of them are revoked.
pub struct ClientTrust {
    cas: ClientCas,
    roots: RootCertStore,
    anchors: BTreeSet<Fingerprint>,
    /// Those of them that are the project's own.
    own: BTreeSet<Fingerprint>,
    revocations: Revocations,
}

/// The names of CAs as a CertificateRequest has them (RFC 8446 section 4.2.4), DER. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CaNames(Arc<[Box<[u8]>]>);

/// A CA by its name and its key: it stays the same when its certificate is renewed.
type Fingerprint = [u8; 32];

/// The certificates that a client showed in TLS. It has the leaf's key; nobody has vouched for
/// anything else yet.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    leaf: &'a CertificateDer<'static>,
    intermediates: &'a [CertificateDer<'static>],
}

/// What a trusted client certificate says. Only [`ClientTrust::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedClient {
    subject: Box<str>,
    common_name: Option<Box<str>>,
    alternative_names: Box<[Box<str>]>,
    serial: Box<str>,
    anchor: Fingerprint,
    links: Box<[Link]>,
}

/// A certificate on the way to the CA, as lists of revoked ones name it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    issuer: Box<[u8]>,
    serial: Box<[u8]>,
}

impl<'a> Shown<'a> {
    /// What rustls says that the client showed; none if it showed nothing.
    #[must_use]
    pub fn of(chain: Option<&'a [CertificateDer<'static>]>) -> Option<Self> {
        let (leaf, intermediates) = chain?.split_first()?;
        Some(Self {
            leaf,
            intermediates,
        })
    }

    /// Whom the leaf says that it is about, and its serial number: a claim that nobody has vouched for,
    /// printable and of bounded length.
    #[must_use]
    pub fn claim(self) -> String {
        let Ok((_, certificate)) = X509Certificate::from_der(self.leaf) else {
            return "no readable certificate".to_owned();
        };
        let subject = printable(&certificate.subject().to_string());
        format!(
            "{subject}, serial {}",
            serial_text(certificate.raw_serial())
        )
    }
}

impl ClientTrust {
    /// Reads what `cas` names. Blocks on the file system.
    ///
    /// # Errors
    /// A file that can't be read, or that holds no CA or no list of revoked certificates; no CA at
    /// all; whatever keeps the project's own CA from being had.
    pub fn load(
        cas: &ClientCas,
        project: &ProjectKeystore,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let mut roots = RootCertStore::empty();
        let mut revocations = Revocations::default();
        if cas.project {
            let ClientRoots { certificates, crls } = project.client_roots(now)?;
            let path = project.ca_certificate();
            add_roots(&mut roots, &path, certificates)?;
            revocations.take_up_our_own(&crls, &path)?;
        }
        // The project's own CA has a list once it has issued anything, and needs none before.
        let own = roots.roots.iter().map(fingerprint).collect();
        for path in &cas.files {
            add_roots(&mut roots, path, files::read_chain(path)?)?;
        }
        for path in &cas.crls {
            revocations.read(path)?;
        }
        if roots.is_empty() {
            return Err(PkiError::NoClientCa);
        }
        let anchors = roots.roots.iter().map(fingerprint).collect();
        Ok(Self {
            cas: cas.clone(),
            roots,
            anchors,
            own,
            revocations,
        })
    }

    /// What it was read from.
    #[must_use]
    pub const fn cas(&self) -> &ClientCas {
        &self.cas
    }

    /// The names of its CAs.
    #[must_use]
    pub fn names(&self) -> CaNames {
        let names = self.roots.subjects();
        CaNames(names.iter().map(|name| name.as_ref().into()).collect())
    }

    /// Decides whether what a client showed is to be trusted: signed by one of the CAs, valid now,
    /// made for clients, not revoked.
    ///
    /// # Errors
    /// It isn't, and why.
    pub fn verify(&self, shown: Shown<'_>, now: Timestamp) -> Result<TrustedClient, Distrust> {
        let leaf = EndEntityCert::try_from(shown.leaf).map_err(Distrust::from_webpki)?;
        let lists = self.revocations.lists();
        let verified = leaf.verify_for_usage(
            provider().signature_verification_algorithms.all,
            &self.roots.roots,
            shown.intermediates,
            unix_time(now),
            KeyUsage::client_auth(),
            revocation::options(&lists),
            None,
        );
        let path = verified.map_err(|error| {
            if error == webpki::Error::CertRevoked {
                let serial = serial_text(leaf.serial());
                return Distrust::Revoked { serial };
            }
            Distrust::from_webpki(error)
        })?;
        let identity = TrustedClient::read(shown.leaf, &path).ok_or_else(Distrust::unreadable)?;
        // webpki asks the first list of an issuer alone, and passes over those that are not made for
        // the certificate's distribution points; a serial number that any list has counts here.
        if identity.links.iter().any(|link| self.has_revoked(link)) {
            return Err(Distrust::Revoked {
                serial: identity.serial,
            });
        }
        // As with PostgreSQL's ssl_crl_file: where lists are given, who is on none is not in the clear.
        if !self.cas.crls.is_empty()
            && !self.own.contains(&identity.anchor)
            && !self.revocations.know_all(&identity.links)
        {
            return Err(Distrust::NoRevocations);
        }
        if self.revocations.are_stale(&identity.links, now) {
            return Err(Distrust::StaleRevocations);
        }
        Ok(identity)
    }

    /// Decides again on what was trusted once, by what can have changed since: the CA is one of these,
    /// and nothing on the way to it is revoked. What was signed stays signed, so this costs no
    /// cryptography; and a session may outlast its certificate.
    ///
    /// # Errors
    /// It is to be trusted no longer, and why.
    pub fn verify_again(&self, identity: &TrustedClient) -> Result<(), Distrust> {
        if !self.anchors.contains(&identity.anchor) {
            return Err(Distrust::UnknownAuthority);
        }
        match identity.links.iter().any(|link| self.has_revoked(link)) {
            true => Err(Distrust::Revoked {
                serial: identity.serial.clone(),
            }),
            false => Ok(()),
        }
    }

    fn has_revoked(&self, link: &Link) -> bool {
        self.revocations.have(&link.issuer, &link.serial)
    }
}

fn add_roots(
    roots: &mut RootCertStore,
    path: &std::path::Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<(), PkiError> {
    let bad = |what| PkiError::BadCertificate {
        path: path.to_owned(),
        what,
    };
    for (certificate, position) in certificates.into_iter().zip(1..) {
        // A root is trusted without a look at what it may do, so a leaf among them could sign others.
        if !is_ca(&certificate) {
            return Err(bad(format!("certificate {position} in it is not a CA's")));
        }
        let added = roots.add(certificate);
        added.map_err(|error| {
            bad(format!(
                "certificate {position} in it can't be a CA's: {error}"
            ))
        })?;
    }
    Ok(())
}

/// Whether it may sign certificates (RFC 5280 sections 4.2.1.3 and 4.2.1.9).
fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, read)| {
        let usage = read.key_usage();
        let may_sign = usage.is_ok_and(|usage| usage.is_none_or(|it| it.value.key_cert_sign()));
        read.is_ca() && may_sign
    })
}

fn fingerprint(anchor: &TrustAnchor<'_>) -> Fingerprint {
    // The subject's length goes first, so that no two pairs make one text.
    let length = anchor.subject.len().to_be_bytes();
    let parts = [
        &length[..],
        &anchor.subject,
        &anchor.subject_public_key_info,
    ];
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, &parts.concat()).as_ref());
    fingerprint
}

impl TrustedClient {
    fn read(leaf: &CertificateDer<'_>, path: &VerifiedPath<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let intermediates = path.intermediate_certificates().map(Link::of);
        Some(Self {
            subject: printable(&certificate.subject().to_string()),
            common_name: common_name(&certificate),
            alternative_names: alternative_names(&certificate),
            serial: serial_text(path.end_entity().serial()),
            anchor: fingerprint(path.anchor()),
            links: std::iter::once(Link::of(path.end_entity()))
                .chain(intermediates)
                .collect(),
        })
    }

    /// Its common name. None if it has none, or several.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Its subject alternative names that are texts: DNS names, e-mail addresses, URIs.
    pub fn alternative_names(&self) -> impl Iterator<Item = &str> {
        self.alternative_names.iter().map(AsRef::as_ref)
    }

    /// Its subject for people: printable and of bounded length.
    #[must_use]
    pub const fn subject(&self) -> &str {
        &self.subject
    }

    /// Its serial number, as [`Serial`] is written.
    #[must_use]
    pub const fn serial(&self) -> &str {
        &self.serial
    }
}

impl fmt::Display for TrustedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, serial {}", self.subject, self.serial)
    }
}

impl Link {
    fn of(certificate: &Cert<'_>) -> Self {
        Self {
            issuer: certificate.issuer().into(),
            serial: certificate.serial().into(),
        }
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let mut names = certificate.subject().iter_common_name();
    // Of several names the reader would choose one; which, is not for us to guess.
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(Box::from),
        (_, _) => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum; the other kinds are no texts"
)]
fn alternative_names(certificate: &X509Certificate<'_>) -> Box<[Box<str>]> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|san| &san.value.general_names);
    names
        .filter_map(|name| match name {
            // Each in the form of its kind alone: what constrains a CA to names of one kind says
            // nothing of the others.
            GeneralName::DNSName(text) if !text.contains(['@', ':', '/']) => Some(Box::from(*text)),
            GeneralName::RFC822Name(text) if text.contains('@') && !text.contains(':') => {
                Some(Box::from(*text))
            }
            GeneralName::URI(text) if text.contains(':') => Some(Box::from(*text)),
            _ => None,
        })
        .collect()
}

/// A text of a stranger's making, fit for a log line.
fn printable(text: &str) -> Box<str> {
    text.chars()
        .take(LONGEST_NAME)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect::<String>()
        .into()
}

/// None for a number that no CA may give out.
fn serial_text(serial: &[u8]) -> Box<str> {
    let serial = Serial::from_der_integer(serial);
    serial.map_or_else(|| "0".into(), |serial| serial.to_string().into())
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTrust")
            .field("roots", &self.roots.len())
            .field("revocations", &self.revocations)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
