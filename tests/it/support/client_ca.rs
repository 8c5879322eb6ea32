//! CAs for clients' certificates, of the tests' own making.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

/// A CA that signs clients' certificates.
pub(crate) struct ClientCa {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A client's certificate and key, PEM.
#[derive(Debug, Clone)]
pub(crate) struct ClientLeaf {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl ClientCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// The CA that a gate keeps for a project, in this folder.
    pub(crate) fn kept_in(folder: &Path) -> Self {
        let read = |name| fs::read_to_string(folder.join(name)).unwrap();
        let (pem, key) = (read("ca.crt"), read("ca.key"));
        let key = KeyPair::from_pem(&key).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
        Self { pem, issuer }
    }

    /// Its certificate, PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `name`, valid now.
    pub(crate) fn leaf(&self, name: &str) -> ClientLeaf {
        self.leaf_with(name, |_| ())
    }

    /// A certificate for `name`, with `change` made to it.
    pub(crate) fn leaf_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientLeaf {
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        (params.not_before, params.not_after) = (now - Duration::HOUR, now + Duration::HOUR);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        ClientLeaf {
            chain: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// The list of what it has revoked, PEM.
    pub(crate) fn crl(&self, serials: &[u64]) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::DAY,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// An e-mail address as a subject alternative name.
pub(crate) fn email(address: &str) -> SanType {
    SanType::Rfc822Name(address.try_into().unwrap())
}

/// A client that shows `chain`, and signs with `key`, whatever is asked for. It notes whose
/// certificates are.
#[derive(Debug)]
pub(crate) struct Showing {
    certified: Option<Arc<CertifiedKey>>,
    pub(crate) asked: Mutex<Vec<Vec<Vec<u8>>>>,
}

impl Showing {
    pub(crate) fn leaf(leaf: &ClientLeaf) -> Arc<Self> {
        let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes());
        Self::chain(chain.map(Result::unwrap).collect(), &leaf.key)
    }

    pub(crate) fn chain(chain: Vec<CertificateDer<'static>>, key: &str) -> Arc<Self> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let certified = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
        Arc::new(Self {
            certified: Some(Arc::new(certified)),
            asked: Mutex::default(),
        })
    }

    pub(crate) fn nothing() -> Arc<Self> {
        Arc::new(Self {
            certified: None,
            asked: Mutex::default(),
        })
    }
}

impl ResolvesClientCert for Showing {
    fn resolve(&self, cas: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let cas = cas.iter().map(|name| name.to_vec()).collect();
        self.asked.lock().unwrap().push(cas);
        self.certified.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}
