//! X.509 version 1: what `openssl x509 -req` makes up to OpenSSL 3.3, and so what PostgreSQL's own
//! instructions lead to. libpq takes such a leaf, and webpki doesn't. The gate takes it where nothing
//! is verified but that the backend has the leaf's key; for that, its public key must be found.

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// SEQUENCE, constructed (X.690 section 8.9).
const SEQUENCE: u8 = 0x30;
/// The tag of TBSCertificate's version, which version 1 leaves out (RFC 5280 section 4.1).
const VERSION: u8 = 0xa0;
/// serialNumber, signature, issuer, validity and subject stand before the key.
const BEFORE_PUBLIC_KEY: usize = 5;

/// The public key of a certificate of version 1; none if it is of another version, or is none.
pub(super) fn public_key(leaf: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let mut rest = sequence(sequence(leaf)?)?;
    if *rest.first()? == VERSION {
        return None;
    }
    for _ in 0..BEFORE_PUBLIC_KEY {
        (_, rest) = element(rest)?.split_off(rest)?;
    }
    let (key, _) = element(rest)?.split_off(rest)?;
    sequence(key)?;
    Some(SubjectPublicKeyInfoDer::from(key.to_vec()))
}

/// The contents of the SEQUENCE that comes first.
fn sequence(der: &[u8]) -> Option<&[u8]> {
    let element = element(der)?;
    let contents = der.get(element.header..element.end)?;
    (*der.first()? == SEQUENCE).then_some(contents)
}

/// Where the contents of an element begin and end.
struct Element {
    header: usize,
    end: usize,
}

impl Element {
    fn split_off(self, der: &[u8]) -> Option<(&[u8], &[u8])> {
        der.split_at_checked(self.end)
    }
}

/// Reads the tag and the length of the element that comes first (X.690 section 8.1): a length of at
/// most three bytes, more than a TLS certificate's own (RFC 8446 section 4.4.2).
fn element(der: &[u8]) -> Option<Element> {
    let (header, length) = match *der.get(1..)? {
        [short @ 0..=0x7f, ..] => (2, usize::from(short)),
        [0x81, a, ..] => (3, usize::from(a)),
        [0x82, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
        [0x83, a, b, c, ..] => (5, usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?),
        _ => return None,
    };
    Some(Element {
        header,
        end: header.checked_add(length)?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// Made for this test by openssl 3.0, and known to everybody.
    const PEM: &[u8] = b"
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEII75AznnPPvia70YUePzqg56VTRX/nFILyLt6mHg8nkWoAoGCCqGSM49
AwEHoUQDQgAEi0puJRehu6PFwBbuQGNGfOgy6+Vs6vJcKtZNYVbjVcsRMEPwpNe6
jaETNGLx728csL4eAqZ/ro9odn/EIcKaTQ==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBITCByAIUJNABpwoiTmYOm5MXjG7NNOEBdLcwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEcm9vdDAgFw0yNjExMjExOTA1MDVaGA8yMTI2MTAyODE5MDUwNVowFjEU
MBIGA1UEAwwLZGIuaW50ZXJuYWwwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASL
Sm4lF6G7o8XAFu5AY0Z86DLr5Wzq8lwq1k1hVuNVyxEwQ/Ck17qNoRM0YvHvbxyw
vh4Cpn+uj2h2f8QhwppNMAoGCCqGSM49BAMCA0gAMEUCIQCO8jgiOqeqY+XJgdj5
4hs/rj06XGCTKoXoLl4bFRgVtwIgd2LM0Mzf/slvcKUeH/wAMseVJefbJSaRyFqu
aFj4eX4=
-----END CERTIFICATE-----
";

    /// A leaf of version 1, and its key.
    pub(in crate::backend) fn leaf() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let leaf = CertificateDer::from_pem_slice(PEM).unwrap();
        (leaf, PrivateKeyDer::from_pem_slice(PEM).unwrap())
    }

    #[test]
    fn the_public_key_of_a_version_1_certificate_is_found_whole_or_not_at_all() {
        let (leaf, key) = leaf();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        assert_eq!(
            public_key(&leaf),
            Some(key.public_key().unwrap().into_owned())
        );
        for length in 0..leaf.len() {
            assert_eq!(
                public_key(&CertificateDer::from(&leaf[..length])),
                None,
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_certificate_of_a_peer_ends_the_process(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..300,
            byte in any::<u8>(),
        ) {
            public_key(&CertificateDer::from(bytes));
            let mut nearly = leaf().0.to_vec();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            public_key(&CertificateDer::from(nearly));
        }
    }
}
