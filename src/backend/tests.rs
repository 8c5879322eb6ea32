use crate::relay::BackendStream;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::address::Host;
use crate::pki::{Identity, Keystore, TlsPolicy, server_config};

mod cancels;
mod revoked;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const MODES: [SslMode; 3] = [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

/// A CA, an identity that it signed, and its certificate as a file.
struct Pki {
    identity: Identity,
    roots: PathBuf,
    _directory: TempDir,
}

impl Pki {
    fn new(hosts: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let store = keystore.project(&"acme".parse().unwrap());
        let hosts: Vec<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let identity = store.load_or_create(&hosts, Timestamp::now()).unwrap();
        Self {
            identity,
            roots: store.ca_certificate(),
            _directory: directory,
        }
    }

    fn tls(&self, mode: SslMode) -> BackendTls {
        let verifies = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull);
        let roots = verifies.then(|| TrustedRoots::from_file(&self.roots).unwrap());
        BackendTls::new(mode, roots.as_ref()).unwrap()
    }
}

fn dialling(tls: &BackendTls) -> Dialling {
    Dialling {
        tls: tls.clone(),
        connect_timeout: Duration::from_secs(60),
        names: NameCaching::default(),
        tcp: TcpTuning::default(),
    }
}

fn backend(addr: &str, tls: &BackendTls) -> Endpoint {
    Endpoint::new(addr.parse().unwrap(), &dialling(tls)).unwrap()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads SSLRequest, answers so, and gives back all that comes after it.
fn answer(listener: TcpListener, answer: &'static [u8]) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        let mut stream = accept_ssl_request(&listener).await;
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // A client that closes with our bytes unread resets the connection.
        match stream.read_to_end(&mut rest).await {
            Ok(_) => rest,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("{error}"),
        }
    })
}

async fn accept_ssl_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, SSL_REQUEST);
    stream
}

/// Serves TLS once, echoes five bytes, and gives back the server_name that was asked for.
fn serve(listener: TcpListener, config: Arc<ServerConfig>) -> JoinHandle<Option<String>> {
    tokio::spawn(async move {
        let mut stream = accept_ssl_request(&listener).await;
        stream.write_all(b"S").await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
        let mut five = [0; 5];
        stream.read_exact(&mut five).await.ok()?;
        stream.write_all(&five).await.unwrap();
        stream.flush().await.unwrap();
        Some(
            stream
                .get_ref()
                .1
                .server_name()
                .unwrap_or("none")
                .to_owned(),
        )
    })
}

/// Dials a server that shows this identity, by this host.
async fn dial(
    identity: &Identity,
    host: &str,
    tls: &BackendTls,
) -> (Result<BackendConnection, DialError>, Option<String>) {
    let (listener, address) = listen().await;
    let server = serve(listener, server_config(identity, &TlsPolicy::default()));
    let dialled = backend(&format!("postgres://{host}:{}", address.port()), tls)
        .dial(None)
        .await;
    let dialled = match dialled {
        Ok(mut connection) => {
            echo(&mut connection.stream).await;
            Ok(connection)
        }
        Err(error) => Err(error),
    };
    (dialled, server.await.unwrap())
}

async fn echo(stream: &mut BackendStream) {
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let mut five = [0; 5];
    stream.read_exact(&mut five).await.unwrap();
    assert_eq!(&five, b"hello");
}

#[tokio::test]
async fn t18_a_backend_without_tls_is_refused_in_every_mode_that_demands_it() {
    let pki = Pki::new(&["127.0.0.1"]);
    for mode in MODES {
        let (listener, address) = listen().await;
        let server = answer(listener, b"N");
        let error = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, DialError::TlsRefused { .. }) && error.is_tls(),
            "{error}"
        );
        assert!(error.to_string().contains("ssl = on"), "{error}");
        assert_eq!(server.await.unwrap(), b"", "not a byte may follow in clear");
    }
}

#[tokio::test]
async fn t18_an_error_or_an_end_instead_of_an_answer_fails_and_is_not_quoted() {
    let pki = Pki::new(&["127.0.0.1"]);
    for (said, is_tls) in [
        (&b"E\0\0\0\x20SFATAL\0Mhush hush\0\0"[..], false),
        (b"Ehush hush\n\0", false),
        (b"", false),
        (b"HTTP/1.1 400 hush hush\r\n", true),
        (b"\0", true),
        (b"s", true),
    ] {
        let (listener, address) = listen().await;
        let server = answer(listener, said);
        let tls = pki.tls(SslMode::Require);
        let error = backend(&format!("postgres://{address}"), &tls)
            .dial(None)
            .await
            .unwrap_err();
        assert_eq!(error.is_tls(), is_tls, "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        assert_eq!(server.await.unwrap(), b"");
    }
}

#[tokio::test]
async fn t1_bytes_behind_the_answer_to_ssl_request_end_the_connection() {
    let pki = Pki::new(&["127.0.0.1"]);
    for mode in MODES {
        let (listener, address) = listen().await;
        let server = answer(listener, b"SE\0\0\0\x08Mhi\0");
        let error = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, DialError::BytesBeforeTls { .. }) && error.is_tls(),
            "{error}"
        );
        assert_eq!(server.await.unwrap(), b"", "no ClientHello either");
    }
}

#[tokio::test]
async fn verify_full_takes_a_certificate_of_the_ca_for_the_host_that_is_dialled() {
    let pki = Pki::new(&["localhost", "127.0.0.1"]);
    for (host, server_name) in [("127.0.0.1", "none"), ("localhost", "localhost")] {
        let (dialled, asked) = dial(&pki.identity, host, &pki.tls(SslMode::VerifyFull)).await;
        let connection = dialled.unwrap();
        assert_eq!(asked.as_deref(), Some(server_name));
        assert_eq!(connection.leaf_der.as_ref(), Some(pki.identity.leaf_der()));
        assert!(connection.peer.to_string().starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_taken_by_verify_ca_and_refused_by_verify_full() {
    let pki = Pki::new(&["db.example.com"]);
    dial(&pki.identity, "127.0.0.1", &pki.tls(SslMode::VerifyCa))
        .await
        .0
        .unwrap();
    let (dialled, _) = dial(&pki.identity, "127.0.0.1", &pki.tls(SslMode::VerifyFull)).await;
    let error = dialled.unwrap_err();
    assert!(
        error.is_tls() && error.to_string().contains("not valid for name"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_unless_nothing_is_verified() {
    let (pki, other) = (Pki::new(&["127.0.0.1"]), Pki::new(&["127.0.0.1"]));
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let error = dial(&pki.identity, "127.0.0.1", &other.tls(mode))
            .await
            .0
            .unwrap_err();
        assert!(error.is_tls(), "{error}");
    }
    dial(&pki.identity, "127.0.0.1", &other.tls(SslMode::Require))
        .await
        .0
        .unwrap();
}

#[tokio::test]
async fn a_self_signed_leaf_is_taken_by_require_and_where_it_stands_in_the_root_file_itself() {
    let identity = Identity::throwaway(Timestamp::now()).unwrap();
    let require = BackendTls::new(SslMode::Require, None).unwrap();
    dial(&identity, "127.0.0.1", &require).await.0.unwrap();

    let other = Pki::new(&["127.0.0.1"]);
    assert!(
        dial(&identity, "127.0.0.1", &other.tls(SslMode::VerifyCa))
            .await
            .0
            .is_err()
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), pem(identity.leaf_der())).unwrap();
    let roots = TrustedRoots::from_file(file.path()).unwrap();
    let verify_ca = BackendTls::new(SslMode::VerifyCa, Some(&roots)).unwrap();
    dial(&identity, "127.0.0.1", &verify_ca).await.0.unwrap();
    let verify_full = BackendTls::new(SslMode::VerifyFull, Some(&roots)).unwrap();
    assert!(dial(&identity, "127.0.0.1", &verify_full).await.0.is_err());
}

fn pem(der: &CertificateDer<'_>) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*three.get(at).unwrap_or(&0))
        });
        for digit in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap();
            text.push(if digit > three.len() {
                '='
            } else {
                char::from(DIGITS[value])
            });
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn t19_a_leaf_without_its_key_is_refused_even_where_nothing_is_verified() {
    let (pki, thief) = (Pki::new(&["127.0.0.1"]), Pki::new(&["127.0.0.1"]));
    let key = Arc::clone(&thief.identity.certified_key().key);
    let stolen = CertifiedKey::new(pki.identity.chain().to_vec(), key);
    let mut config = (*server_config(&thief.identity, &TlsPolicy::default())).clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    for mode in MODES {
        let (listener, address) = listen().await;
        let server = serve(listener, Arc::new(config.clone()));
        let error = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        let error = error.unwrap_err();
        assert!(
            error.is_tls() && error.to_string().contains("BadSignature"),
            "{error}"
        );
        assert_eq!(server.await.unwrap(), None);
    }
}

#[tokio::test]
async fn without_tls_not_a_byte_is_sent_before_the_session() {
    let (listener, address) = listen().await;
    let tls = BackendTls::new(SslMode::Disable, None).unwrap();
    let connection = backend(&format!("postgres://{address}"), &tls)
        .dial(None)
        .await
        .unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    drop(connection);
    assert_eq!(server.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_tcp_connection_neither_delays_small_packets_nor_outlives_its_peer_unnoticed() {
    let (_listener, address) = listen().await;
    let tls = BackendTls::new(SslMode::Disable, None).unwrap();
    let connection = backend(&format!("postgres://{address}"), &tls)
        .dial(None)
        .await
        .unwrap();
    let BackendStream::Tcp(stream) = connection.stream else {
        panic!("TCP expected")
    };
    assert!(stream.nodelay().unwrap());
    assert!(socket2::SockRef::from(&stream).keepalive().unwrap());
}

#[tokio::test]
async fn a_unix_socket_is_dialled_by_its_directory_and_port() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join(".s.PGSQL.6543");
    let listener = UnixListener::bind(&socket).unwrap();
    let tls = BackendTls::new(SslMode::Disable, None).unwrap();
    let addr = format!("{}:6543", directory.path().display());
    let mut connection = backend(&addr, &tls).dial(None).await.unwrap();
    assert_eq!(connection.peer, BackendPeer::Unix(socket));
    assert_eq!(connection.leaf_der, None);
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    echo(&mut connection.stream).await;

    drop(listener);
    let error = backend(&addr, &tls).dial(None).await.unwrap_err();
    assert!(
        matches!(error, DialError::Unreachable { .. }) && !error.is_tls(),
        "{error}"
    );
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_no_matter_of_tls() {
    let (listener, address) = listen().await;
    drop(listener);
    let tls = BackendTls::new(SslMode::Require, None).unwrap();
    let error = backend(&format!("postgres://{address}"), &tls)
        .dial(None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::Unreachable { .. }) && !error.is_tls(),
        "{error}"
    );
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_answers_costs_no_more_than_the_timeout() {
    let tls = BackendTls::new(SslMode::Require, None).unwrap();
    for answers in [&b""[..], b"S"] {
        let (listener, address) = listen().await;
        let silent = tokio::spawn(async move {
            let mut stream = accept_ssl_request(&listener).await;
            stream.write_all(answers).await.unwrap();
            // Until the client gives up.
            while stream
                .read(&mut [0; 512])
                .await
                .is_ok_and(|length| length > 0)
            {}
        });
        let error = backend(&format!("postgres://{address}"), &tls)
            .dial(None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, DialError::Timeout { .. }) && !error.is_tls(),
            "{error}"
        );
        assert!(
            error.to_string().ends_with("did not finish TLS within 60s"),
            "{error}"
        );
        silent.await.unwrap();
    }
}

#[test]
fn tls_over_a_unix_socket_and_a_wildcard_host_are_refused_by_the_configuration() {
    let require = BackendTls::new(SslMode::Require, None).unwrap();
    for (addr, says) in [
        ("/run/postgresql", "set sslmode to disable"),
        ("postgres://*.internal", "*.internal"),
    ] {
        let addresses = vec![addr.parse().unwrap()];
        let error = Backend::new(addresses, &dialling(&require), Balance::Order).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// PostgreSQL's documentation makes such a leaf, and libpq takes it.
#[tokio::test]
async fn a_leaf_of_x509_version_1_is_taken_by_require_with_its_key_only() {
    let pki = Pki::new(&["127.0.0.1"]);
    let (leaf, key) = version1::tests::leaf();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let other_key = Arc::clone(&pki.identity.certified_key().key);
    for (key, mode, complaint) in [
        (&key, SslMode::Require, None),
        (&other_key, SslMode::Require, Some("BadSignature")),
        (&key, SslMode::VerifyFull, Some("X.509 version 3")),
    ] {
        let mut config = (*server_config(&pki.identity, &TlsPolicy::default())).clone();
        let certified = CertifiedKey::new(vec![leaf.clone()], Arc::clone(key));
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        let (listener, address) = listen().await;
        let server = serve(listener, Arc::new(config));
        let dialled = backend(&format!("postgres://{address}"), &pki.tls(mode))
            .dial(None)
            .await;
        match (dialled, complaint) {
            (Ok(mut connection), None) => {
                echo(&mut connection.stream).await;
                assert_eq!(connection.leaf_der, Some(leaf.clone()));
            }
            (Err(error), Some(complaint)) => {
                assert!(error.to_string().contains(complaint), "{error}")
            }
            (dialled, complaint) => panic!("{dialled:?} where {complaint:?} was expected"),
        }
        server.await.unwrap();
    }
}
