//! What a backend's certificate must prove. Whatever the mode, the handshake's signature is checked:
//! a leaf that the backend has no key for must not count as its own (T19 compares leaves).

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::pki::{HandshakeSignatures, Serial};

/// Checks a backend's certificate and its handshake signature.
#[derive(Debug)]
pub(super) struct Verifier {
    proof: Proof,
    signatures: HandshakeSignatures,
}

/// What is demanded of the certificate.
#[derive(Debug)]
pub(super) enum Proof {
    /// Nothing: `require`.
    Nothing,
    /// That a known CA has signed it: `verify-ca`.
    Chain(Arc<Roots>),
    /// That a known CA has signed it for the host that is dialled: `verify-full`.
    ChainAndHost(Arc<Roots>),
}

/// The CAs that a backend's certificate may come from.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    /// What these CAs have signed and count no more.
    revoked: BTreeSet<Serial>,
}

impl Roots {
    /// Takes up the certificates of a bundle. On failure says which one, counted from 1, and why.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, (usize, Error)> {
        let mut anchors = RootCertStore::empty();
        for (certificate, position) in certificates.iter().zip(1..) {
            anchors
                .add(certificate.clone())
                .map_err(|error| (position, error))?;
        }
        Ok(Self {
            anchors,
            certificates,
            revoked: BTreeSet::new(),
        })
    }

    /// Takes up those that can be used, of a list which somebody else looks after; none if there
    /// are none. A leaf does not count for being in it.
    pub(super) fn usable(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(certificates);
        (!anchors.is_empty()).then(|| Self {
            anchors,
            certificates: Vec::new(),
            revoked: BTreeSet::new(),
        })
    }

    /// The same, without the certificates that have these numbers.
    pub(super) fn without(self, revoked: BTreeSet<Serial>) -> Self {
        Self { revoked, ..self }
    }

    /// Whether a leaf counts no more. One whose number can't be read can't be looked up.
    fn have_revoked(&self, leaf: &CertificateDer<'_>) -> bool {
        let is_listed = |serial| self.revoked.contains(&serial);
        !self.revoked.is_empty() && Serial::of_certificate(leaf).is_none_or(is_listed)
    }
}

impl Verifier {
    pub(super) fn new(proof: Proof) -> Self {
        let signatures = HandshakeSignatures::new();
        Self { proof, signatures }
    }

    /// A self-signed leaf that is its own root is how PostgreSQL's documentation begins. A chain
    /// can't end in a leaf; but where the operator's file holds that very certificate, it is trusted
    /// for as long as it stands there.
    fn verify_chain(
        &self,
        roots: &Roots,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
    ) -> Result<(), Error> {
        if roots.have_revoked(leaf) {
            return Err(CertificateError::Revoked.into());
        }
        if roots.certificates.contains(leaf) {
            return Ok(());
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &roots.anchors,
            intermediates,
            now,
            self.signatures.of_certificates(),
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.proof {
            Proof::Nothing => {}
            Proof::Chain(roots) => self.verify_chain(roots, (leaf, intermediates), now)?,
            Proof::ChainAndHost(roots) => {
                self.verify_chain(roots, (leaf, intermediates), now)?;
                verify_server_name(&ParsedCertificate::try_from(leaf)?, host)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls12(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.tls13(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
