//! TLS towards a backend.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, version};

use super::verifier::{Proof, Roots, Verifier};
use super::{ClientIdentity, InvalidBackend, SslNegotiation};
use crate::pki::Serial;

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

    /// Whether a certificate must be of a known CA.
    #[must_use]
    pub const fn verifies(self) -> bool {
        match self {
            Self::Disable | Self::Require => false,
            Self::VerifyCa | Self::VerifyFull => true,
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

/// What TLS towards a backend must be, built once from the configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BackendTls {
    mode: SslMode,
    negotiation: SslNegotiation,
    /// There exactly if there is to be TLS.
    config: Option<Arc<ClientConfig>>,
}

impl PartialEq for BackendTls {
    /// Whether both are one and the same, as clones are.
    fn eq(&self, other: &Self) -> bool {
        let config = |tls: &Self| tls.config.as_ref().map(Arc::as_ptr);
        (self.mode, self.negotiation, config(self))
            == (other.mode, other.negotiation, config(other))
    }
}

impl Eq for BackendTls {}

impl Hash for BackendTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let config = self.config.as_ref().map(Arc::as_ptr);
        (self.mode, self.negotiation, config).hash(state);
    }
}

impl BackendTls {
    /// Plaintext.
    #[must_use]
    pub const fn disable() -> Self {
        Self {
            mode: SslMode::Disable,
            negotiation: SslNegotiation::Postgres,
            config: None,
        }
    }

    /// TLS by SSLRequest, with no certificate of ours. The roots are what `verify-ca` and
    /// `verify-full` verify against.
    ///
    /// # Errors
    /// Verification with no roots; roots that nothing would verify against; the system's roots with
    /// less than `verify-full`.
    pub fn new(mode: SslMode, roots: Option<&TrustedRoots>) -> Result<Self, InvalidBackend> {
        let proof = match (mode, roots) {
            (SslMode::Disable, None) => return Ok(Self::disable()),
            (SslMode::Require, None) => Proof::Nothing,
            (SslMode::VerifyCa, Some(roots)) if roots.is_system => {
                return Err(InvalidBackend::WeakSystemRoots);
            }
            (SslMode::VerifyCa, Some(roots)) => Proof::Chain(Arc::clone(&roots.roots)),
            (SslMode::VerifyFull, Some(roots)) => Proof::ChainAndHost(Arc::clone(&roots.roots)),
            (SslMode::Disable | SslMode::Require, Some(_)) => {
                return Err(InvalidBackend::SurplusRoots { mode });
            }
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                return Err(InvalidBackend::NoRoots { mode });
            }
        };
        Ok(Self {
            mode,
            negotiation: SslNegotiation::Postgres,
            config: Some(client_config(proof)),
        })
    }

    /// The same, begun in another way.
    #[must_use]
    pub fn negotiated(self, negotiation: SslNegotiation) -> Self {
        Self {
            negotiation,
            ..self
        }
    }

    /// The same, with a certificate to show to a backend that asks for one. A login that brings its
    /// own shows that instead.
    #[must_use]
    pub fn showing(self, identity: &ClientIdentity) -> Self {
        let config = self.config.map(|config| identity.shown_by(&config));
        Self { config, ..self }
    }

    /// Whether anybody else has the same, and not its like.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        let config = self.config.as_ref();
        config.is_some_and(|config| Arc::strong_count(config) > 1)
    }

    /// The mode that it was built from.
    #[must_use]
    pub const fn mode(&self) -> SslMode {
        self.mode
    }

    /// How it begins.
    #[must_use]
    pub const fn negotiation(&self) -> SslNegotiation {
        self.negotiation
    }

    pub(super) const fn config(&self) -> Option<&Arc<ClientConfig>> {
        self.config.as_ref()
    }
}

/// The CAs by which backends are verified. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustedRoots {
    roots: Arc<Roots>,
    is_system: bool,
}

impl TrustedRoots {
    /// Those of a PEM bundle. As with libpq, a leaf that stands in the bundle itself is trusted as
    /// it is. Blocks on the file system.
    ///
    /// # Errors
    /// A file that can't be read or holds no usable certificate.
    pub fn from_file(file: &Path) -> Result<Self, InvalidBackend> {
        let bundle = std::fs::read(file).map_err(|source| InvalidBackend::RootFile {
            path: file.to_owned(),
            source,
        })?;
        Self::from_pem(&bundle, file)
    }

    /// Those of a bundle that is in memory; `origin` is where an error says that it comes from.
    ///
    /// # Errors
    /// It holds no usable certificate.
    pub fn from_pem(bundle: &[u8], origin: &Path) -> Result<Self, InvalidBackend> {
        let roots = Arc::new(read_roots(bundle, origin)?);
        Ok(Self {
            roots,
            is_system: false,
        })
    }

    /// The same, but for the certificates that their CAs have revoked: those with these numbers. CAs that
    /// may sign others have no place here, for only the leaf is looked at.
    #[must_use]
    pub fn without(self, revoked: impl IntoIterator<Item = Serial>) -> Self {
        let roots = Arc::unwrap_or_clone(self.roots).without(revoked.into_iter().collect());
        Self {
            roots: Arc::new(roots),
            ..self
        }
    }

    /// Those of this system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`, as for OpenSSL and so for
    /// libpq. Blocks on the file system, for some milliseconds.
    ///
    /// # Errors
    /// There are none.
    pub fn of_system() -> Result<Self, InvalidBackend> {
        let found = rustls_native_certs::load_native_certs();
        let roots = Roots::usable(found.certs).ok_or_else(|| InvalidBackend::NoSystemRoots {
            what: found.errors.first().map_or_else(
                || "none were found; install your system's ca-certificates".to_owned(),
                ToString::to_string,
            ),
        })?;
        Ok(Self {
            roots: Arc::new(roots),
            is_system: true,
        })
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

fn read_roots(bundle: &[u8], origin: &Path) -> Result<Roots, InvalidBackend> {
    let bad = |what: String| InvalidBackend::BadRoots {
        path: origin.to_owned(),
        what,
    };
    let certificates = CertificateDer::pem_slice_iter(bundle)
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

    fn load(mode: SslMode, file: Option<&Path>) -> Result<BackendTls, InvalidBackend> {
        let roots = file.map(TrustedRoots::from_file).transpose()?;
        BackendTls::new(mode, roots.as_ref())
    }

    #[test]
    fn a_root_file_is_read_when_it_is_needed_and_an_error_names_it() {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("root.crt");
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let ca = keystore.project(&"acme".parse().unwrap());
        ca.load_or_create(&["127.0.0.1".parse().unwrap()], Timestamp::now())
            .unwrap();
        let refusal = || {
            load(SslMode::VerifyFull, Some(&file))
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
            assert_eq!(load(mode, Some(&file)).unwrap().mode(), mode);
            assert!(matches!(
                load(mode, None),
                Err(InvalidBackend::NoRoots { .. })
            ));
        }
        for mode in [SslMode::Disable, SslMode::Require] {
            assert_eq!(load(mode, None).unwrap().mode(), mode);
            let surplus = load(mode, Some(&file));
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
