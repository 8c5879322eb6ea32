//! Certificates of the tests' own making.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A CA with an intermediate below it, which signs leaves.
pub(crate) struct Authority {
    root: String,
    intermediate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf's chain and key, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (root, root_key) = ca("root");
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let (middle, middle_key) = ca("intermediate");
        let certificate = middle
            .signed_by(&middle_key, &Issuer::new(root, root_key))
            .unwrap();
        let issuer = Issuer::new(middle, middle_key);
        Self {
            root: root_pem,
            intermediate: certificate.pem(),
            issuer,
        }
    }

    /// The root, PEM: what those trust who trust this authority.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A leaf for `host`, a name or an address, with the intermediate behind it.
    pub(crate) fn leaf(&self, host: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            chain: leaf.pem() + &self.intermediate,
            key: key.serialize_pem(),
        }
    }
}

fn ca(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    (params, KeyPair::generate().unwrap())
}
