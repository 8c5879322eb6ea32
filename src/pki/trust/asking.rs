//! [`Asking`]: the half of client authentication that TLS has to do itself.

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};

use super::CaNames;
use crate::pki::HandshakeSignatures;

/// The most certificates that a client may show: its own, and those up to the CA.
const MOST_CERTIFICATES: usize = 10;
/// The most bytes that they may have together: they are kept as long as the session.
const MOST_BYTES: usize = 32 * 1024;

/// Asks a client for a certificate, and has it prove that it has the key (CertificateVerify). It
/// need not have one, nor need anybody have vouched for it: that is decided when the client can be
/// told, by [`ClientTrust::verify`](super::ClientTrust::verify).
#[derive(Debug)]
pub(in crate::pki) struct Asking {
    hints: Vec<DistinguishedName>,
    signatures: HandshakeSignatures,
}

impl Asking {
    /// Asks for one that a CA of one of these names has signed.
    pub(in crate::pki) fn for_one_of(names: &CaNames) -> Self {
        let CaNames(names) = names;
        Self {
            hints: names.iter().map(|name| name.to_vec().into()).collect(),
            signatures: HandshakeSignatures::new(),
        }
    }
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = intermediates.iter().map(|der| der.len()).sum();
        let is_bounded = intermediates.len() < MOST_CERTIFICATES
            && bytes.saturating_add(leaf.len()) <= MOST_BYTES;
        if is_bounded {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
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
