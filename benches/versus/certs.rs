//! One throwaway CA and one P-256 leaf, served by every contestant, and the TLS of both ends.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::job::Tls;
use crate::process::Fault;

/// What all contestants are held to, in words for the report.
pub(crate) const TERMS: &str =
    "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, a P-256 leaf, no resumption";

/// Where the leaf lies.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Leaf {
    /// Makes the leaf in `dir`, its key 0600.
    pub(crate) fn issue(dir: &Path) -> Result<Self, Fault> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.distinguished_name.push(DnType::CommonName, "versus CA");
        let issuer = Issuer::new(ca, KeyPair::generate()?);
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        let pair = KeyPair::generate()?;
        let leaf = Self {
            certificate: dir.join("leaf.pem"),
            key: dir.join("leaf.key"),
        };
        fs::write(&leaf.certificate, params.signed_by(&pair, &issuer)?.pem())?;
        fs::write(&leaf.key, pair.serialize_pem())?;
        fs::set_permissions(&leaf.key, fs::Permissions::from_mode(0o600))?;
        Ok(leaf)
    }
}

/// The backend's side, on the same terms as the proxies'.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let leaf = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![leaf], key)
        })
        .map_err(io::Error::other)?;
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The client's side. It offers one suite, and a key share of one group, so that nobody can choose a
/// cheaper one.
pub(crate) fn connector(tls: Tls) -> io::Result<TlsConnector> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    if tls == Tls::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519,
            // PostgreSQL before 18 knows no other.
            aws_lc_rs::kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// The load doesn't pay for checking the certificate: that would slow it, not the proxy.
#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_tls13_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
