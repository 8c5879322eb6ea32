use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA224, SHA256, SHA384, SHA512, digest};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use x509_parser::der_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::der_parser::oid::Oid;

use super::*;

fn leaf(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(vec!["acme.example".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn hash_of(oid: &str, parameters: Option<&[u8]>) -> Option<&'static digest::Algorithm> {
    let arcs: Vec<u64> = oid.split('.').map(|arc| arc.parse().unwrap()).collect();
    let parameters = parameters.map(|der| Any::from_der(der).unwrap().1);
    signature_hash(&AlgorithmIdentifier::new(
        Oid::from(&arcs).unwrap(),
        parameters,
    ))
}

#[test]
fn the_end_point_is_the_leaf_hashed_as_its_signature_is() {
    for (algorithm, hash) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, &SHA256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &SHA384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, &SHA512),
    ] {
        let der = leaf(algorithm);
        let end_point = tls_server_end_point(&der).unwrap();
        assert_eq!(end_point.as_ref(), digest(hash, &der).as_ref());
    }
}

#[test]
fn t13_an_ed25519_leaf_has_no_end_point() {
    assert!(tls_server_end_point(&leaf(&rcgen::PKCS_ED25519)).is_none());
    assert!(hash_of("1.3.101.113", None).is_none());
}

#[test]
fn md5_and_sha_1_are_replaced_by_sha_256() {
    for oid in [
        "1.2.840.113549.1.1.4",
        "1.2.840.113549.1.1.5",
        "1.3.14.3.2.29",
        "1.2.840.10040.4.3",
        "1.2.840.10045.4.1",
    ] {
        assert_eq!(hash_of(oid, None), Some(&SHA256), "{oid}");
    }
}

#[test]
fn each_signature_algorithm_has_its_own_hash() {
    let families = ["1.2.840.10045.4.3.", "2.16.840.1.101.3.4.3."];
    let numbers: BTreeMap<_, _> = [
        ("1", &SHA224),
        ("2", &SHA256),
        ("3", &SHA384),
        ("4", &SHA512),
    ]
    .into();
    for family in families {
        for (number, hash) in &numbers {
            assert_eq!(hash_of(&format!("{family}{number}"), None), Some(*hash));
        }
    }
    for (number, hash) in [(11, &SHA256), (12, &SHA384), (13, &SHA512), (14, &SHA224)] {
        assert_eq!(
            hash_of(&format!("1.2.840.113549.1.1.{number}"), None),
            Some(hash)
        );
    }
    for unknown in ["1.2.3", "2.16.840.1.101.3.4.3.14", "1.2.840.113549.1.1.1"] {
        assert!(hash_of(unknown, None).is_none());
    }
}

#[test]
fn rsassa_pss_has_the_hash_of_its_parameters() {
    // SEQUENCE { [0] { SEQUENCE { OID sha256 .. sha224 } } }
    for (last, hash) in [(1, &SHA256), (2, &SHA384), (3, &SHA512), (4, &SHA224)] {
        let der = [
            0x30, 0x0f, 0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
            0x04, 0x02, last,
        ];
        assert_eq!(hash_of(RSASSA_PSS, Some(&der)), Some(hash));
    }
    assert_eq!(
        hash_of(RSASSA_PSS, Some(&[0x30, 0x00])),
        Some(&SHA256),
        "SHA-1 by default"
    );
    assert!(hash_of(RSASSA_PSS, None).is_none());
    assert!(hash_of(RSASSA_PSS, Some(&[0x05, 0x00])).is_none());
}

#[test]
fn what_is_not_one_whole_certificate_has_no_end_point() {
    let der = leaf(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(tls_server_end_point(&[der.as_slice(), b"x"].concat()).is_none());
    for length in 0..der.len() {
        assert!(tls_server_end_point(&der[..length]).is_none());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(tls_server_end_point(&bytes).is_none());
    }

    #[test]
    fn any_change_of_a_leaf_changes_its_end_point(at in any::<prop::sample::Index>(), mask in 1_u8..) {
        let der = leaf(&rcgen::PKCS_ECDSA_P256_SHA256);
        let mut changed = der.clone();
        changed[at.index(der.len())] ^= mask;
        let end_point = |der: &[u8]| tls_server_end_point(der).map(|digest| digest.as_ref().to_vec());
        prop_assert_ne!(end_point(&der), end_point(&changed));
    }
}
