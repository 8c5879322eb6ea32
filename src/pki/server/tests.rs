use std::io::{self, Read, Write};

use jiff::Timestamp;
use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{
    AlertDescription, CertificateError, CipherSuite, ClientConfig, ClientConnection, Error,
    HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, ServerConnection,
};
use tempfile::TempDir;

use super::*;
use crate::address::Host;
use crate::pki::Keystore;

/// One project's server, and clients that trust its CA.
struct Fixture {
    server: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
}

impl Fixture {
    fn new(policy: TlsPolicy) -> Self {
        let directory = TempDir::new().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let hosts = ["db.example.com", "127.0.0.1", "::1", "*.wild.example.com"];
        let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let store = keystore.project(&"acme".parse().unwrap());
        let identity = store.load_or_create(&hosts, Timestamp::now()).unwrap();
        let mut roots = RootCertStore::empty();
        let handed_out = rustls::pki_types::CertificateDer::from_pem_file(store.ca_certificate());
        roots.add(handed_out.unwrap()).unwrap();
        Self {
            server: server_config(&identity, &policy),
            roots: Arc::new(roots),
        }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_with(aws_lc_rs::default_provider(), versions)
    }

    fn client_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
        config
    }

    fn connect(&self, client: ClientConfig, name: &str) -> Result<Pair, Box<Failure>> {
        self.connect_again(&Arc::new(client), name)
    }

    fn connect_again(&self, client: &Arc<ClientConfig>, name: &str) -> Result<Pair, Box<Failure>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut pair = Pair {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            server: ServerConnection::new(Arc::clone(&self.server)).unwrap(),
        };
        pair.shake_hands()?;
        Ok(pair)
    }
}

/// A client and a server in one place.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

/// What each side had to say about a handshake that failed.
#[derive(Debug)]
struct Failure {
    client: Option<Error>,
    server: Option<Error>,
}

impl Pair {
    fn shake_hands(&mut self) -> Result<(), Box<Failure>> {
        let mut failure = Failure {
            client: None,
            server: None,
        };
        while self.client.wants_write() || self.server.wants_write() {
            let wire = drain(|wire| self.client.write_tls(wire));
            feed(&wire, |wire| self.server.read_tls(wire));
            if let Err(error) = self.server.process_new_packets() {
                failure.server.get_or_insert(error);
            }
            let wire = drain(|wire| self.server.write_tls(wire));
            feed(&wire, |wire| self.client.read_tls(wire));
            if let Err(error) = self.client.process_new_packets() {
                failure.client.get_or_insert(error);
            }
        }
        if failure.client.is_some() || failure.server.is_some() {
            return Err(Box::new(failure));
        }
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
        Ok(())
    }

    /// Sends from the server to the client; the length of each record on the wire.
    fn download(&mut self, plaintext: &[u8]) -> Vec<usize> {
        self.server.set_buffer_limit(None);
        self.server.writer().write_all(plaintext).unwrap();
        let wire = drain(|wire| self.server.write_tls(wire));
        let mut received = Vec::new();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
            let ended = self.client.reader().read_to_end(&mut received).unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::WouldBlock);
        }
        assert_eq!(received, plaintext);
        record_lengths(&wire)
    }
}

fn drain(mut write_tls: impl FnMut(&mut dyn Write) -> io::Result<usize>) -> Vec<u8> {
    let mut wire = Vec::new();
    while write_tls(&mut wire).unwrap() > 0 {}
    wire
}

fn feed(mut wire: &[u8], mut read_tls: impl FnMut(&mut dyn Read) -> io::Result<usize>) {
    while !wire.is_empty() {
        read_tls(&mut wire).unwrap();
    }
}

fn record_lengths(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        wire = &rest[length..];
    }
    assert!(wire.is_empty());
    lengths
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

#[test]
fn t12_a_record_towards_a_client_carries_at_most_8_kib_of_plaintext() {
    let fixture = Fixture::new(TlsPolicy::default());
    // What is around the plaintext: in TLS 1.3 the inner content type and the tag, in TLS 1.2 the
    // explicit nonce and the tag.
    for (version, around) in [(&version::TLS13, 1 + 16), (&version::TLS12, 8 + 16)] {
        let mut pair = fixture
            .connect(fixture.client(&[version]), "db.example.com")
            .unwrap();
        let lengths = pair.download(&vec![7; 3 * MAX_RECORD_PLAINTEXT + 1]);
        let full = MAX_RECORD_PLAINTEXT + around;
        assert_eq!(lengths, [full, full, full, 1 + around]);
    }
}

#[test]
fn t13_the_hosts_verify_by_the_ca_that_is_handed_out_and_other_hosts_do_not() {
    let fixture = Fixture::new(TlsPolicy::default());
    for name in [
        "db.example.com",
        "DB.example.com",
        "127.0.0.1",
        "::1",
        "a.wild.example.com",
    ] {
        fixture.connect(fixture.client(&BOTH), name).unwrap();
    }
    for name in [
        "example.com",
        "127.0.0.2",
        "a.b.wild.example.com",
        "wild.example.com",
    ] {
        let failure = fixture.connect(fixture.client(&BOTH), name).err().unwrap();
        let error = failure.client.unwrap();
        let not_for_name = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from(name).unwrap(),
            presented: Vec::new(),
        };
        let kind = |error: &Error| format!("{error:?}").split('{').next().unwrap().to_owned();
        assert_eq!(
            kind(&error),
            kind(&Error::InvalidCertificate(not_for_name)),
            "{name}"
        );
        assert!(failure.server.is_some());
    }
}

#[test]
fn t13_a_throwaway_leaf_finishes_tls_with_a_client_that_does_not_verify_and_no_other() {
    let mut fixture = Fixture::new(TlsPolicy::default());
    let identity = Identity::throwaway(Timestamp::now()).unwrap();
    assert!(identity.renew_at().is_none() && identity.ca_bundle_pem().is_none());
    fixture.server = server_config(&identity, &TlsPolicy::default());
    assert!(
        fixture
            .connect(fixture.client(&BOTH), "portcullis.invalid")
            .is_err()
    );
    let mut unverified = fixture.client(&BOTH);
    unverified
        .dangerous()
        .set_certificate_verifier(Arc::new(AnyLeaf));
    fixture.connect(unverified, "db.example.com").unwrap();
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_the_policy_can_end_1_2() {
    let fixture = Fixture::new(TlsPolicy::default());
    for (version, negotiated) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let pair = fixture
            .connect(fixture.client(&[version]), "db.example.com")
            .unwrap();
        assert_eq!(pair.server.protocol_version(), Some(negotiated));
    }
    let strict = Fixture::new(TlsPolicy {
        min_version: MinVersion::Tls13,
        ..TlsPolicy::default()
    });
    let failure = strict
        .connect(strict.client(&[&version::TLS12]), "db.example.com")
        .err()
        .unwrap();
    assert_eq!(
        failure.client,
        Some(Error::AlertReceived(AlertDescription::ProtocolVersion))
    );
    strict
        .connect(strict.client(&BOTH), "db.example.com")
        .unwrap();
}

#[test]
fn the_key_exchange_is_post_quantum_where_the_client_can_and_else_what_it_can() {
    let fixture = Fixture::new(TlsPolicy::default());
    let pair = fixture
        .connect(fixture.client(&BOTH), "db.example.com")
        .unwrap();
    let group = pair.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};
    for only in [X25519, SECP256R1, SECP384R1] {
        let kx_groups: Vec<&'static dyn SupportedKxGroup> = vec![only];
        let provider = CryptoProvider {
            kx_groups,
            ..aws_lc_rs::default_provider()
        };
        let client = fixture.client_with(provider, &BOTH);
        let pair = fixture.connect(client, "db.example.com").unwrap();
        assert_eq!(
            pair.server.negotiated_key_exchange_group().unwrap().name(),
            only.name()
        );
    }
}

#[test]
fn aes_128_gcm_is_chosen_whatever_the_client_would_like_best() {
    let fixture = Fixture::new(TlsPolicy::default());
    for (version, suite) in [
        (&version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (
            &version::TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
    ] {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| !format!("{suite:?}").contains("CHACHA20"));
        let client = fixture.client_with(provider, &[version]);
        let pair = fixture.connect(client, "db.example.com").unwrap();
        assert_eq!(
            pair.server.negotiated_cipher_suite().unwrap().suite(),
            suite
        );
    }
}

#[test]
fn t4_alpn_is_postgresql_or_none_and_anything_else_gets_the_alert() {
    let fixture = Fixture::new(TlsPolicy::default());
    for (offered, agreed) in [
        (vec![ALPN_POSTGRESQL.to_vec()], Some(ALPN_POSTGRESQL)),
        (
            vec![b"h2".to_vec(), ALPN_POSTGRESQL.to_vec()],
            Some(ALPN_POSTGRESQL),
        ),
        (vec![], None),
    ] {
        let mut client = fixture.client(&BOTH);
        client.alpn_protocols = offered;
        let pair = fixture.connect(client, "db.example.com").unwrap();
        assert_eq!(pair.client.alpn_protocol(), agreed);
    }
    for version in BOTH {
        let mut client = fixture.client(&[version]);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let failure = fixture.connect(client, "db.example.com").err().unwrap();
        let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(failure.client, Some(alert));
        assert_eq!(failure.server, Some(Error::NoApplicationProtocol));
    }
}

#[test]
fn t14_no_session_is_ever_resumed() {
    let fixture = Fixture::new(TlsPolicy::default());
    for version in BOTH {
        let mut client = fixture.client(&[version]);
        client.enable_early_data = true;
        let client = Arc::new(client);
        for _ in 0..3 {
            let mut pair = fixture.connect_again(&client, "db.example.com").unwrap();
            pair.download(b"so that a ticket would have arrived");
            assert_eq!(pair.client.tls13_tickets_received(), 0);
            assert_eq!(pair.server.handshake_kind(), pair.client.handshake_kind());
            assert_ne!(pair.server.handshake_kind(), Some(HandshakeKind::Resumed));
            assert!(!pair.client.is_early_data_accepted());
        }
    }
}

/// A client's verifier that takes every certificate, as `sslmode=require` does.
#[derive(Debug)]
struct AnyLeaf;

impl rustls::client::danger::ServerCertVerifier for AnyLeaf {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
