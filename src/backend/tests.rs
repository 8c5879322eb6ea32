use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::address::Host;
use crate::pki::{Identity, Keystore, TlsPolicy, server_config};
use crate::relay::BackendStream;

mod tls;

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
        let error = Backend::new(addresses, dialling(&require).into(), Balance::Order).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn what_an_address_needs_is_made_when_somebody_is_sent_to_it() {
    let made = |addr: &str| {
        let dialling = Arc::new(dialling(&BackendTls::disable()));
        Backend::new(vec![addr.parse().unwrap()], dialling, Balance::Order).unwrap()
    };
    let (before, addr) = (made("postgres://10.0.0.1"), "postgres://10.0.0.1");
    assert!(before.endpoints.get().is_none());
    // Of what nobody asked for there is nothing to go on from.
    let after = made(addr).carrying_on_from(&before);
    assert!(after.endpoints.get().is_none());
    let session = after.endpoints()[0].enter();
    assert!(after.endpoints.get().is_some());
    let again = made(addr).carrying_on_from(&after);
    assert_eq!(again.endpoints()[0].live(), 1);
    drop(session);
    assert_eq!(again.endpoints()[0].live(), 0);
}
