//! A session whose four ends are in the test's hands.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::relay::{BackendStream, ClientStream, Closed, Control, Cut, relay};
use crate::tls::{ClientHello, TlsStream};

/// The most plaintext in a record towards a client (T12). rustls counts a record's header in.
pub(super) const MAX_FRAGMENT_SIZE: usize = 8192 + 5;

/// The kinds of backend leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Unix,
    Tls,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Tcp, Kind::Unix, Kind::Tls];

pub(super) static TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(super) static TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// The TLS client at the other end of the client leg.
pub(super) type Client = client::TlsStream<Tap>;

/// The fake backend's end of the backend leg.
#[derive(Debug)]
pub(super) enum Backend {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<server::TlsStream<Tap>>),
}

/// Both ends of a session's legs, with no relay between them yet.
pub(super) struct Legs {
    pub(super) client: Client,
    pub(super) client_leg: ClientStream,
    pub(super) backend_leg: BackendStream,
    pub(super) backend: Backend,
}

/// A session with its relay running as a task of its own.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) backend: Backend,
    pub(super) control: Arc<Control>,
    pub(super) closed: JoinHandle<Closed>,
}

impl Legs {
    pub(super) async fn new(version: &'static SupportedProtocolVersion, kind: Kind) -> Self {
        Self::with_socket_buffers(version, kind, None).await
    }

    /// With every TCP socket's buffers at a fixed size in bytes, where one is given.
    pub(super) async fn with_socket_buffers(
        version: &'static SupportedProtocolVersion,
        kind: Kind,
        size: Option<usize>,
    ) -> Self {
        Self::speaking([configs(version), configs(version)], kind, size).await
    }

    /// With these configurations for the ends of the client's leg, and of the backend's.
    pub(super) async fn speaking(
        [(server, client), of_backend]: [Configs; 2],
        kind: Kind,
        size: Option<usize>,
    ) -> Self {
        let (near, far) = tcp_pair(size).await;
        let (tapped, client_leg) = tokio::join!(
            TlsConnector::from(client).connect(name(), Tap::new(near)),
            client_leg(far, server),
        );
        let (backend_leg, backend) = match kind {
            Kind::Tcp => {
                let (near, far) = tcp_pair(size).await;
                (BackendStream::Tcp(near), Backend::Tcp(far))
            }
            Kind::Unix => {
                let (near, far) = UnixStream::pair().unwrap();
                (BackendStream::Unix(near), Backend::Unix(far))
            }
            Kind::Tls => {
                let (server, client) = of_backend;
                let (near, far) = tcp_pair(size).await;
                let (near, far) = tokio::join!(
                    TlsStream::connect(near, client, name()),
                    TlsAcceptor::from(server).accept(Tap::new(far)),
                );
                let (near, far) = (Box::new(near.unwrap()), Box::new(far.unwrap()));
                (BackendStream::Tls(near), Backend::Tls(far))
            }
        };
        Self {
            client: tapped.unwrap(),
            client_leg,
            backend_leg,
            backend,
        }
    }

    pub(super) fn relay(self) -> Session {
        let control = Arc::new(Control::default());
        let closed = tokio::spawn(relay(
            self.client_leg,
            self.backend_leg,
            Arc::clone(&control),
        ));
        Session {
            client: self.client,
            backend: self.backend,
            control,
            closed,
        }
    }
}

impl Session {
    pub(super) async fn new(version: &'static SupportedProtocolVersion, kind: Kind) -> Self {
        Legs::new(version, kind).await.relay()
    }
}

impl Backend {
    /// Closes with RST.
    pub(super) fn reset(self) {
        assert!(!matches!(self, Self::Unix(_)), "it has no RST");
        self.reset_on_close();
    }

    /// Makes the close that follows an RST, where there is such a thing.
    pub(super) fn reset_on_close(&self) {
        match self {
            Self::Tcp(tcp) => tcp.set_zero_linger().unwrap(),
            Self::Unix(_) => {}
            Self::Tls(tls) => tls.get_ref().0.tcp.set_zero_linger().unwrap(),
        }
    }
}

/// A cut as the process would make it, with a second's grace.
pub(super) fn cut() -> Cut {
    let message = bytes::Bytes::from_static(b"E\0\0\0\x12SFATAL\0C57P01\0\0");
    Cut {
        reason: "rule removed",
        message,
        grace: Duration::from_secs(1),
    }
}

/// Gives every other task of the runtime its turns, and the sockets theirs.
pub(super) async fn let_others_run() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

/// Bytes that tell their own position.
pub(super) fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| {
        (at ^ seed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .to_le_bytes()
    };
    (0..).flat_map(word).take(length).collect()
}

/// A TCP connection below TLS, which notes the size of the records that it is sent, and can send its
/// own a few bytes at a time.
#[derive(Debug)]
pub(super) struct Tap {
    pub(super) tcp: TcpStream,
    /// The largest record body so far, in bytes, as encrypted.
    pub(super) largest: usize,
    /// The most bytes in one write.
    pub(super) dribble: usize,
    header: Vec<u8>,
    body: usize,
}

impl Tap {
    const fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            largest: 0,
            header: Vec::new(),
            body: 0,
            dribble: usize::MAX,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.body > 0 {
                self.body -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [_, _, _, high, low] = self.header[..] {
                self.body = usize::from(u16::from_be_bytes([high, low]));
                self.largest = self.largest.max(self.body);
                self.header.clear();
            }
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        self.note(&buffer.filled()[before..]);
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let end = bytes.len().min(self.dribble);
        Pin::new(&mut self.tcp).poll_write(cx, &bytes[..end])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

macro_rules! delegate {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match $stream.get_mut() {
            Backend::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Backend::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Backend::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for Backend {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Backend {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}

async fn tcp_pair(buffers: Option<usize>) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        if let Some(size) = buffers {
            let socket = socket2::SockRef::from(stream);
            socket.set_recv_buffer_size(size).unwrap();
            socket.set_send_buffer_size(size).unwrap();
        }
    }
    (near, far)
}

/// The client leg of a session, whose client is about to begin its handshake.
pub(super) async fn client_leg(socket: TcpStream, config: Arc<ServerConfig>) -> ClientStream {
    let hello = ClientHello::read(socket).await.unwrap();
    hello.answer(config).finish().await.unwrap()
}

pub(super) fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// Of a server, and of a client that trusts it.
pub(super) type Configs = (Arc<ServerConfig>, Arc<ClientConfig>);

pub(super) fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    configs_by(version, |_, _| {})
}

/// Both sides' cryptography may be changed.
pub(super) fn configs_by(
    version: &'static SupportedProtocolVersion,
    change: impl FnOnce(&mut CryptoProvider, &mut CryptoProvider),
) -> Configs {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut providers = [default_provider(), default_provider()];
    let [of_server, of_client] = &mut providers;
    change(of_server, of_client);
    let [of_server, of_client] = providers.map(Arc::new);
    let mut server = ServerConfig::builder_with_provider(of_server)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    server.max_fragment_size = Some(MAX_FRAGMENT_SIZE);
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(of_client)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}
