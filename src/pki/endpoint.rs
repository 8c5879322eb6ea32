//! tls-server-end-point: what SCRAM binds a login to (RFC 5929 section 4).

use aws_lc_rs::digest::{self, Digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

/// id-RSASSA-PSS (RFC 4055 section 3), whose hash is in its parameters.
const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";

/// The channel binding data of a leaf: its hash by the hash that its signature uses, SHA-256 in
/// place of MD5 and SHA-1.
///
/// None where RFC 5929 defines no hash (Ed25519, Ed448; T13), where the hash is one that hardly
/// anybody uses (SHA-3), and where the bytes are not one whole certificate: such a leaf can't
/// be bound to, so SCRAM-SHA-256-PLUS must not be offered for it.
#[must_use]
pub fn tls_server_end_point(leaf_der: &[u8]) -> Option<Digest> {
    let (rest, leaf) = X509Certificate::from_der(leaf_der).ok()?;
    let hash = signature_hash(&leaf.signature_algorithm)?;
    rest.is_empty().then(|| digest::digest(hash, leaf_der))
}

/// The hash of a signature algorithm (RFC 3279, 4055, 5758, 8017).
fn signature_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static digest::Algorithm> {
    match algorithm.algorithm.to_id_string().as_str() {
        // MD5 and SHA-1 with RSA (two names), SHA-1 with DSA, SHA-1 with ECDSA.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.3.14.3.2.29"
        | "1.2.840.10040.4.3"
        | "1.2.840.10045.4.1"
        // SHA-256 with RSA, DSA, ECDSA.
        | "1.2.840.113549.1.1.11"
        | "2.16.840.1.101.3.4.3.2"
        | "1.2.840.10045.4.3.2" => Some(&digest::SHA256),
        "1.2.840.113549.1.1.14" | "2.16.840.1.101.3.4.3.1" | "1.2.840.10045.4.3.1" => {
            Some(&digest::SHA224)
        }
        "1.2.840.113549.1.1.12" | "2.16.840.1.101.3.4.3.3" | "1.2.840.10045.4.3.3" => {
            Some(&digest::SHA384)
        }
        "1.2.840.113549.1.1.13" | "2.16.840.1.101.3.4.3.4" | "1.2.840.10045.4.3.4" => {
            Some(&digest::SHA512)
        }
        RSASSA_PSS => pss_hash(algorithm),
        _ => None,
    }
}

/// The hash in the parameters of RSASSA-PSS; SHA-1 if they name none (RFC 4055 section 3.1).
fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<&'static digest::Algorithm> {
    let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    let Some(hash) = parameters.hash_algorithm() else {
        return Some(&digest::SHA256);
    };
    match hash.algorithm.to_id_string().as_str() {
        "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&digest::SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&digest::SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&digest::SHA512),
        "2.16.840.1.101.3.4.2.4" => Some(&digest::SHA224),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
