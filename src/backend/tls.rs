//! TLS towards a backend.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, version};

use super::InvalidBackend;
use super::verifier::{Proof, Roots, Verifier};

/// How much a backend must prove, in libpq's words. libpq's `allow` and `prefer` are missing: the
/// gate does not fall back to plaintext (T18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Plaintext.
    Disable,
    /// Encryption, with no proof of who it is.
    Require,
    /// A certificate that a known CA has signed.
    VerifyCa,
    /// A certificate that a known CA has signed for the host that is dialled.
    VerifyFull,
}

impl SslMode {
    /// libpq's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl FromStr for SslMode {
    type Err = InvalidSslMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let modes = [
            Self::Disable,
            Self::Require,
            Self::VerifyCa,
            Self::VerifyFull,
        ];
        modes
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(InvalidSslMode)
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not an sslmode that the gate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sslmode is disable, require, verify-ca or verify-full")]
pub struct InvalidSslMode;

/// What TLS towards a backend must be, built once from `sslmode` and `sslrootcert`. Cheap to clone.
#[derive(Debug, Clone)]
pub enum BackendTls {
    /// Plaintext.
    Disable,
    /// Encryption; the backend proves that it has the key of the leaf that it shows, and no more.
    Require(Arc<ClientConfig>),
    /// Also that a known CA has signed the leaf.
    VerifyCa(Arc<ClientConfig>),
    /// Also that the leaf's subject alternative names cover the host that is dialled.
    VerifyFull(Arc<ClientConfig>),
}

impl BackendTls {
    /// Builds it from `sslmode` and `sslrootcert`, a PEM bundle of CAs. As with libpq, a leaf that
    /// stands in the bundle itself is trusted as it is.
    ///
    /// # Errors
    /// A file that can't be read or holds no usable certificate; verification with no file; a file
    /// that nothing would verify against.
    pub fn load(mode: SslMode, root_file: Option<&Path>) -> Result<Self, InvalidBackend> {
        match (mode, root_file) {
            (SslMode::Disable, None) => Ok(Self::Disable),
            (SslMode::Require, None) => Ok(Self::Require(client_config(Proof::Nothing))),
            (SslMode::VerifyCa, Some(file)) => Ok(Self::VerifyCa(client_config(Proof::Chain(
                read_roots(file)?,
            )))),
            (SslMode::VerifyFull, Some(file)) => Ok(Self::VerifyFull(client_config(
                Proof::ChainAndHost(read_roots(file)?),
            ))),
            (SslMode::Disable | SslMode::Require, Some(_)) => {
                Err(InvalidBackend::SurplusRoots { mode })
            }
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                Err(InvalidBackend::NoRoots { mode })
            }
        }
    }

    /// The mode that it was built from.
    #[must_use]
    pub const fn mode(&self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Require(_) => SslMode::Require,
            Self::VerifyCa(_) => SslMode::VerifyCa,
            Self::VerifyFull(_) => SslMode::VerifyFull,
        }
    }

    pub(super) const fn config(&self) -> Option<&Arc<ClientConfig>> {
        match self {
            Self::Disable => None,
            Self::Require(config) | Self::VerifyCa(config) | Self::VerifyFull(config) => {
                Some(config)
            }
        }
    }
}

fn client_config(proof: Proof) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    // PostgreSQL takes the client's order, and AES-128 seals for less than AES-256.
    let cheapest = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != cheapest);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has cipher suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(proof)))
        .with_no_client_auth();
    // As libpq 17 does; older servers take no notice.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    // PostgreSQL issues no tickets.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn read_roots(file: &Path) -> Result<Roots, InvalidBackend> {
    let bundle = std::fs::read(file).map_err(|source| InvalidBackend::RootFile {
        path: file.to_owned(),
        source,
    })?;
    let bad = |what: String| InvalidBackend::BadRoots {
        path: file.to_owned(),
        what,
    };
    let certificates = CertificateDer::pem_slice_iter(&bundle)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad("its PEM is damaged".to_owned()))?;
    if certificates.is_empty() {
        return Err(bad("there is no PEM block CERTIFICATE in it".to_owned()));
    }
    Roots::new(certificates)
        .map_err(|(position, error)| bad(format!("certificate {position} in it: {error}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::*;
    use crate::pki::Keystore;

    #[test]
    fn a_root_file_is_read_when_it_is_needed_and_an_error_names_it() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("root.crt");
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let ca = keystore.project(&"acme".parse().unwrap());
        ca.load_or_create(&["127.0.0.1".parse().unwrap()], Timestamp::now())
            .unwrap();
        let refusal = || {
            BackendTls::load(SslMode::VerifyFull, Some(&file))
                .unwrap_err()
                .to_string()
        };
        assert!(refusal().contains("cannot read sslrootcert") && refusal().contains("root.crt"));
        for damaged in [
            "",
            "hush",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&file, damaged).unwrap();
            assert!(
                refusal().contains("root.crt holds no usable certificate"),
                "{}",
                refusal()
            );
        }
        let good = fs::read_to_string(ca.ca_certificate()).unwrap();
        fs::write(&file, good.clone() + &good).unwrap();
        for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(BackendTls::load(mode, Some(&file)).unwrap().mode(), mode);
            assert!(matches!(
                BackendTls::load(mode, None),
                Err(InvalidBackend::NoRoots { .. })
            ));
        }
        for mode in [SslMode::Disable, SslMode::Require] {
            assert_eq!(BackendTls::load(mode, None).unwrap().mode(), mode);
            let surplus = BackendTls::load(mode, Some(&file));
            assert!(matches!(surplus, Err(InvalidBackend::SurplusRoots { .. })));
        }
    }

    #[test]
    fn t18_sslmode_is_libpqs_word_and_never_one_that_falls_back_to_plaintext() {
        for mode in [
            SslMode::Disable,
            SslMode::Require,
            SslMode::VerifyCa,
            SslMode::VerifyFull,
        ] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for other in ["allow", "prefer", "", "Require", "verify_full"] {
            assert_eq!(other.parse::<SslMode>(), Err(InvalidSslMode));
        }
    }
}
