//! What no well-behaved peer does, and what takes 2^24 records to happen.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::Poll;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    RootCertStore, ServerConfig, SupportedCipherSuite, version,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio_rustls::TlsConnector;

use super::testing::short_lived;
use super::{ClientHello, ClientSide, ServerSide, TlsStream};

type Configs = (Arc<ServerConfig>, Arc<ClientConfig>);

fn tls13() -> SupportedCipherSuite {
    cipher_suite::TLS13_AES_128_GCM_SHA256
}

fn tls12() -> SupportedCipherSuite {
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
}

/// A server that speaks this suite alone, and a client that trusts it, whose own keys last.
fn configs(suite: SupportedCipherSuite) -> Configs {
    configs_of(suite, default_provider().cipher_suites)
}

fn configs_of(suite: SupportedCipherSuite, of_client: Vec<SupportedCipherSuite>) -> Configs {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf: CertificateDer<'static> = params.self_signed(&key).unwrap().into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).unwrap();
    let mut provider = default_provider();
    provider.cipher_suites = vec![suite];
    let versions = match suite {
        SupportedCipherSuite::Tls12(_) => &[&version::TLS12],
        SupportedCipherSuite::Tls13(_) => &[&version::TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    server.max_fragment_size = Some(8192 + 5);
    server.send_tls13_tickets = 0;
    let mut provider = default_provider();
    provider.cipher_suites = of_client;
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(server), Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> TlsStream<ServerSide> {
    let hello = ClientHello::read(socket).await.unwrap();
    hello.answer(config).finish().await.unwrap()
}

/// Both of our own sides, after the login.
async fn pair(configs: Configs) -> (TlsStream<ClientSide>, TlsStream<ServerSide>) {
    let (client, mut server) = pair_before_login(configs).await;
    server.expects_no_secrets();
    (client, server)
}

async fn pair_before_login(
    (server, client): Configs,
) -> (TlsStream<ClientSide>, TlsStream<ServerSide>) {
    let (near, far) = tcp_pair().await;
    let client = TlsStream::connect(near, client, name());
    let (client, server) = tokio::join!(client, accept(far, server));
    (client.unwrap(), server)
}

/// A TLS 1.3 client that decides itself what a record holds.
struct Forger {
    socket: TcpStream,
    keys: KernelConnection<rustls::client::ClientConnectionData>,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    fn new(client: TlsStream<ClientSide>) -> Self {
        let (socket, side) = client.into_parts();
        let connection = side.into_connection();
        let (secrets, keys) = connection.dangerous_into_kernel_connection().unwrap();
        let (sequence, secrets) = secrets.tx;
        Self {
            socket,
            keys,
            encrypter: encrypter(secrets),
            sequence,
        }
    }

    async fn send(&mut self, typ: ContentType, payload: &[u8]) {
        let record = self.seal(typ, payload);
        self.socket.write_all(&record).await.unwrap();
    }

    fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_3,
            payload: payload.into(),
        };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        record.encode()
    }

    fn renew_keys(&mut self) {
        let (sequence, secrets) = self.keys.update_tx_secret().unwrap();
        (self.sequence, self.encrypter) = (sequence, encrypter(secrets));
    }
}

fn encrypter(secrets: ConnectionTrafficSecrets) -> Box<dyn MessageEncrypter> {
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
        panic!("another suite")
    };
    tls13().tls13().unwrap().aead_alg.encrypter(key, iv)
}

/// A KeyUpdate that asks for one in return (RFC 8446 section 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 1];

async fn read_some(stream: &mut TlsStream<ServerSide>, expected: &[u8]) {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_key_update_split_over_two_records_with_answers_in_between_is_followed() {
    for at in 1..KEY_UPDATE.len() {
        let (client, mut server) = pair(configs(tls13())).await;
        let mut forger = Forger::new(client);
        let (first, second) = KEY_UPDATE.split_at(at);
        forger.send(ContentType::ApplicationData, b"before").await;
        forger.send(ContentType::Handshake, first).await;
        read_some(&mut server, b"before").await;
        // The first half has to be kept while other work is done.
        while !server.holds_bytes() {
            let polled =
                poll_fn(|cx| Poll::Ready(server.poll_plaintext(cx, &mut 0).is_pending())).await;
            assert!(polled, "there is nothing to be had of it");
            yield_now().await;
        }
        server.write_all(b"in between").await.unwrap();
        server.flush().await.unwrap();
        forger.send(ContentType::Handshake, second).await;
        forger.renew_keys();
        forger.send(ContentType::ApplicationData, b"after").await;
        read_some(&mut server, b"after").await;
        server.write_all(b"at last").await.unwrap();
        server.shutdown().await.unwrap();
        assert!(!server.holds_bytes());
    }
}

#[tokio::test]
async fn a_record_amid_a_split_message_is_a_violation_told_by_an_alert() {
    let (client, mut server) = pair(configs(tls13())).await;
    let mut forger = Forger::new(client);
    forger.send(ContentType::Handshake, &KEY_UPDATE[..2]).await;
    forger.send(ContentType::ApplicationData, b"no place").await;
    let error = server.plaintext_to_come().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // Said again, and never as an end.
    assert!(server.plaintext_to_come().await.is_err() && server.write_all(b"x").await.is_err());
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_came_before_a_record_that_is_not_authentic_is_read_and_an_alert_sent() {
    let (client, mut server) = pair(configs(tls13())).await;
    let mut forger = Forger::new(client);
    forger.send(ContentType::ApplicationData, b"good").await;
    // A sequence number is left out.
    forger.sequence += 1;
    forger.send(ContentType::ApplicationData, b"bad").await;
    read_some(&mut server, b"good").await;
    assert_eq!(
        server.plaintext_to_come().await.unwrap_err().to_string(),
        "cannot decrypt peer's message"
    );
    let mut alert = [0; 5 + 2 + 1 + 16];
    forger.socket.read_exact(&mut alert).await.unwrap();
    drop(server);
    assert_eq!(forger.socket.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn t15_a_query_in_the_same_segment_as_finished_is_not_lost() {
    let (server, client) = configs(tls13());
    let (near, far) = tcp_pair().await;
    let accepting = tokio::spawn(accept(far, server));
    let mut client = ClientConnection::new(client, name()).unwrap();
    let mut near = near.into_std().unwrap();
    near.set_nonblocking(false).unwrap();
    let handshaking = tokio::task::spawn_blocking(move || {
        client.write_tls(&mut near).unwrap();
        while client.is_handshaking() {
            client.read_tls(&mut near).unwrap();
            client.process_new_packets().unwrap();
        }
        // Finished is not sent yet.
        client.writer().write_all(b"the first query").unwrap();
        let mut segment = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut segment).unwrap();
        }
        // With the beginning of a record whose end comes later.
        client.writer().write_all(b", the second").unwrap();
        client.write_tls(&mut segment).unwrap();
        let rest = segment.split_off(segment.len() - 7);
        near.write_all(&segment).unwrap();
        (near, rest)
    });
    let mut server = accepting.await.unwrap();
    read_some(&mut server, b"the first query").await;
    let (mut near, rest) = handshaking.await.unwrap();
    near.write_all(&rest).unwrap();
    read_some(&mut server, b", the second").await;
    drop(server);
    near.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
#[cfg(target_pointer_width = "64")]
fn an_idle_stream_fits_what_the_allocator_gives_without_waste() {
    // jemalloc's next size is 1,280. The server's side lies in the relay's box, which is 1,280.
    let size = size_of::<TlsStream<ClientSide>>();
    assert!(size <= 1024, "{size}");
}

#[tokio::test]
async fn an_idle_stream_holds_no_memory_for_bytes() {
    for suite in [tls12(), tls13()] {
        let (mut client, mut server) = pair(configs(suite)).await;
        assert!(client.is_at_rest() && server.is_at_rest());
        let sent = vec![7; 300_000];
        let mut received = vec![0; sent.len()];
        let sending = async {
            client.write_all(&sent).await.unwrap();
            client.flush().await.unwrap();
        };
        let (count, ()) = tokio::join!(server.read_exact(&mut received), sending);
        assert_eq!(count.unwrap(), sent.len());
        assert!(client.is_at_rest() && server.is_at_rest());
    }
}

#[tokio::test]
async fn tls_1_2_ends_with_close_notify_when_its_keys_are_used_up() {
    let (server, client) = configs(short_lived(tls12(), 64));
    let (near, far) = tcp_pair().await;
    let client = TlsConnector::from(client).connect(name(), near);
    let (client, mut server) = tokio::join!(client, accept(far, server));
    let mut client = client.unwrap();
    let mut sent = 0;
    assert_eq!(server.last_record(), Some(64));
    let error = loop {
        match server.write_all(&[7; 8192]).await {
            Ok(()) => sent += 8192,
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "TLS has no keys left to encrypt with");
    // The handshake took one.
    assert_eq!(sent, 63 * 8192);
    server.flush().await.unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), sent);
    assert!(server.write_all(b"more").await.is_err());
    server.shutdown().await.unwrap();
}

/// What comes of all that one side sends, and its end.
async fn sent_whole(
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
    bytes: &[u8],
) -> Vec<u8> {
    let sending = async {
        from.write_all(bytes).await.unwrap();
        from.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (count, ()) = tokio::join!(to.read_to_end(&mut received), sending);
    count.unwrap();
    received
}

#[tokio::test]
async fn tls_1_3_renews_its_keys_before_they_are_used_up() {
    let (server, client) = configs(short_lived(tls13(), 64));
    let (near, far) = tcp_pair().await;
    let client = TlsConnector::from(client).connect(name(), near);
    let (client, mut server) = tokio::join!(client, accept(far, server));
    let mut client = client.unwrap();
    let sent = vec![7; 4 << 20];
    // 512 records, and a KeyUpdate for every 64.
    assert!(sent_whole(&mut server, &mut client, &sent).await == sent);
}

#[tokio::test]
async fn tls_1_3_renews_the_keys_of_both_sides_for_as_long_as_they_talk() {
    let suite = short_lived(tls13(), 16);
    let (mut client, mut server) = pair(configs_of(suite, vec![suite])).await;
    for round in 0..200_u8 {
        client.write_all(&[round; 100]).await.unwrap();
        client.flush().await.unwrap();
        read_some(&mut server, &[round; 100]).await;
        server.write_all(&[round; 100]).await.unwrap();
        server.flush().await.unwrap();
        let mut answer = [0; 100];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [round; 100]);
        assert_eq!((client.last_record(), server.last_record()), (None, None));
    }
}

/// So no peer keeps a thread at work with what has nothing to be passed on.
#[tokio::test]
async fn a_peer_that_only_sends_empty_records_or_key_updates_is_soon_cut_off() {
    const NOTHING: (ContentType, &[u8]) = (ContentType::ApplicationData, b"");
    const NEW_KEYS: (ContentType, &[u8]) = (ContentType::Handshake, &[24, 0, 0, 1, 0]);
    for (typ, payload) in [NOTHING, NEW_KEYS] {
        let (client, mut server) = pair(configs(tls13())).await;
        let mut forger = Forger::new(client);
        for _ in 0..200 {
            forger.send(typ, payload).await;
            if typ == ContentType::Handshake {
                forger.renew_keys();
            }
        }
        let error = server.plaintext_to_come().await.unwrap_err();
        assert!(error.to_string().contains("TooMany"), "{error}");
    }
}

#[tokio::test]
async fn records_as_small_as_tls_allows_carry_everything_amid_new_keys() {
    // 27 bytes of plaintext to a record make of a buffer twice as much as usual, and a KeyUpdate for
    // every few of them is due while there is no room yet.
    let (server, client) = configs(short_lived(tls13(), 4_000));
    let mut server = ServerConfig::clone(&server);
    server.max_fragment_size = Some(32);
    let (mut client, mut server) = pair((Arc::new(server), client)).await;
    let sent: Vec<u8> = (0..600_000_u32)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    assert!(sent_whole(&mut server, &mut client, &sent).await == sent);
}

/// The buffers that this thread keeps, and whether any of them holds `bytes`.
fn is_kept_anywhere(bytes: &[u8]) -> bool {
    // More than are kept: all of them are lent at once.
    fn look(bytes: &[u8], depth: usize) -> bool {
        depth > 0
            && super::buffer::lend(|buffer| {
                buffer.windows(bytes.len()).any(|part| part == bytes) || look(bytes, depth - 1)
            })
    }
    look(bytes, 8)
}

/// A buffer is lent to whichever session comes next.
#[tokio::test]
async fn t34_what_a_client_says_in_its_login_stays_in_no_buffer_however_the_login_ends() {
    const SECRET: &[u8] = b"correct horse battery staple";
    let (mut client, mut server) = pair_before_login(configs(tls13())).await;
    for _ in 0..2 {
        client.write_all(SECRET).await.unwrap();
        client.flush().await.unwrap();
    }
    let mut read = [0; SECRET.len()];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(read, SECRET);
    // The second one is here, and nobody takes it.
    assert_eq!(server.plaintext_to_come().await.unwrap(), SECRET);
    drop(server);
    assert!(!is_kept_anywhere(SECRET));
    // Afterwards nothing is wiped, so that this test would see it.
    let (mut client, mut server) = pair(configs(tls13())).await;
    client.write_all(SECRET).await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut read).await.unwrap();
    assert!(is_kept_anywhere(SECRET));
}

#[tokio::test]
async fn the_parts_of_a_message_take_no_more_memory_than_a_buffer() {
    let (client, mut server) = pair(configs(tls13())).await;
    let mut forger = Forger::new(client);
    forger
        .send(ContentType::Handshake, &[24, 0, 0xff, 0x00])
        .await;
    for parts in 1..72 {
        forger.send(ContentType::Handshake, &[0; 900]).await;
        while server.held().0 < parts * 900 {
            let pending =
                poll_fn(|cx| Poll::Ready(server.poll_plaintext(cx, &mut 0).is_pending())).await;
            assert!(pending);
            yield_now().await;
        }
        let (length, room) = server.held();
        assert!(room <= 68 * 1024, "{length} bytes in {room}");
    }
}
