//! [`HandshakeSignatures`]: the half of verification that TLS has to do itself, on either leg.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::server::provider;

/// Checks that a peer has the key of the leaf that it shows (CertificateVerify, RFC 8446 section 4.4.3),
/// by the process's one cryptographic library. Who vouches for the leaf is another matter.
///
/// In TLS 1.3 a leaf of X.509 version 1 is taken, too, which webpki doesn't read: `openssl x509 -req`
/// makes such leaves up to OpenSSL 3.3, and so PostgreSQL's own instructions lead to them. libpq takes
/// one where nothing is verified but that the server has its key, and a client that shows one is to read
/// why it is never trusted.
#[derive(Debug)]
pub struct HandshakeSignatures(WebPkiSupportedAlgorithms);

impl HandshakeSignatures {
    /// By whatever the library knows.
    #[must_use]
    pub fn new() -> Self {
        Self(provider().signature_verification_algorithms)
    }

    /// What certificates may be signed by.
    #[must_use]
    pub const fn of_certificates(&self) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
        self.0.all
    }

    /// What handshakes may be signed by.
    #[must_use]
    pub fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }

    /// Checks the signature of a handshake in TLS 1.2.
    ///
    /// # Errors
    /// It is not by the leaf's key, or the leaf can't be read.
    pub fn tls12(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.0)
    }

    /// Checks the signature of a handshake in TLS 1.3.
    ///
    /// # Errors
    /// It is not by the leaf's key, or the leaf can't be read.
    pub fn tls13(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version1_key(leaf) {
            None => verify_tls13_signature(message, leaf, signature, &self.0),
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, &self.0),
        }
    }
}

impl Default for HandshakeSignatures {
    fn default() -> Self {
        Self::new()
    }
}

/// The public key of a certificate of version 1; none if it is of another version, or is none.
fn version1_key(leaf: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let key = certificate.public_key().raw;
    (certificate.version() == X509Version::V1).then(|| key.to_vec().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pki::testing::version1_leaf;

    #[test]
    fn the_public_key_of_a_version_1_certificate_is_found_whole_or_not_at_all() {
        let (leaf, key) = version1_leaf();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let whole = key.public_key().unwrap().into_owned();
        assert_eq!(version1_key(&leaf), Some(whole));
        for length in 0..leaf.len() {
            let part = CertificateDer::from(&leaf[..length]);
            assert_eq!(version1_key(&part), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_certificate_of_a_peer_ends_the_process(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..300,
            byte in any::<u8>(),
        ) {
            version1_key(&CertificateDer::from(bytes));
            let mut nearly = version1_leaf().0.to_vec();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            version1_key(&CertificateDer::from(nearly));
        }
    }
}
