//! A client that speaks the protocol byte by byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use super::PATIENCE;
use super::message::{self, Message};
use super::unverified::Unverified;

/// A TCP connection to the gate, in clear; every read ends after a while.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn connect(gate: SocketAddr) -> Self {
        Self::own(TcpStream::connect(gate).unwrap())
    }

    #[cfg(target_os = "linux")]
    /// Connects from a loopback address of choice.
    pub(crate) fn connect_from(source: &str, gate: SocketAddr) -> Self {
        let source: IpAddr = source.parse().unwrap();
        let kind = socket2::Type::STREAM;
        let socket = socket2::Socket::new(socket2::Domain::for_address(gate), kind, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&gate.into()).unwrap();
        Self::own(socket.into())
    }

    fn own(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Sends it all; that the gate has gone away already is for the next read to find out.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => panic!("sending: {error}"),
        }
    }

    /// Sends it in pieces of `size` bytes, each in a segment of its own.
    pub(crate) fn send_in_pieces(&mut self, bytes: &[u8], size: usize) {
        bytes.chunks(size).for_each(|piece| self.send(piece));
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream
            .read_exact(&mut byte)
            .expect("one byte of answer");
        byte[0]
    }

    pub(crate) fn message(&mut self) -> Message {
        Message::read(&mut self.stream).expect("a message")
    }

    /// What comes until the gate closes; a RST ends it as well.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if is_gone(&error) => bytes,
            Err(error) => panic!("the gate neither answers nor closes: {error}"),
        }
    }

    /// Asks for TLS, and is granted it.
    pub(crate) fn ask_for_tls(mut self) -> Self {
        self.send(&message::ssl_request());
        assert_eq!(char::from(self.byte()), 'S');
        self
    }

    /// Begins TLS here and now.
    pub(crate) fn begin_tls(self, tls: &TlsClient) -> Secured {
        let records = Arc::default();
        let socket = Socket {
            stream: self.stream,
            piece: tls.piece,
            sniffer: Sniffer::new(&records),
        };
        let name = ServerName::try_from(tls.server_name.clone()).unwrap();
        let connection = ClientConnection::new(tls.config.clone(), name).unwrap();
        Secured {
            stream: StreamOwned::new(connection, socket),
            records,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
}

fn is_pause(error: &io::Error) -> bool {
    [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut].contains(&error.kind())
}

/// How a client does TLS.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    pub(crate) config: Arc<ClientConfig>,
    roots: RootCertStore,
    server_name: String,
    piece: usize,
}

impl TlsClient {
    /// Trusts the CA at `ca`, asks for `server_name`, and offers ALPN `postgresql`.
    pub(crate) fn new(ca: &Path, server_name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(ca).unwrap();
        certificates.for_each(|certificate| roots.add(certificate.unwrap()).unwrap());
        Self::of(roots, server_name)
    }

    /// Trusts anybody, as `sslmode=require` does, and asks for `server_name`.
    pub(crate) fn trusting_anybody(server_name: &str) -> Self {
        Self::of(RootCertStore::empty(), server_name).unverified()
    }

    fn of(roots: RootCertStore, server_name: &str) -> Self {
        let config = config(&roots, rustls::DEFAULT_VERSIONS);
        let server_name = server_name.to_owned();
        Self {
            config: Arc::new(config),
            roots,
            server_name,
            piece: usize::MAX,
        }
    }

    /// Speaks one version of TLS only.
    pub(crate) fn at_version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            config: Arc::new(config(&self.roots, &[version])),
            ..self
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    pub(crate) fn with_alpn(self, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self.with(|config| config.alpn_protocols = protocols)
    }

    /// Shows a certificate by `resolver`.
    pub(crate) fn showing(self, resolver: Arc<dyn ResolvesClientCert>) -> Self {
        self.with(|config| config.client_auth_cert_resolver = resolver)
    }

    /// Verifies no certificate, as `sslmode=require` doesn't.
    pub(crate) fn unverified(self) -> Self {
        self.with(|config| {
            let provider = config.crypto_provider().clone();
            config
                .dangerous()
                .set_certificate_verifier(Arc::new(Unverified(provider)));
        })
    }

    /// Writes to the socket at most `piece` bytes at a time.
    pub(crate) fn in_pieces_of(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    /// The bytes that the client would begin TLS with.
    pub(crate) fn client_hello(self) -> Vec<u8> {
        let name = ServerName::try_from(self.server_name).unwrap();
        let mut client = ClientConnection::new(self.config, name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }
}

fn config(roots: &RootCertStore, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let roots = roots.clone();
    let mut config = builder
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config
}

/// A client inside TLS.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) stream: StreamOwned<ClientConnection, Socket>,
    records: Arc<Mutex<Vec<usize>>>,
}

impl Secured {
    /// SSLRequest, then TLS.
    pub(crate) fn connect(gate: SocketAddr, tls: &TlsClient) -> Self {
        Raw::connect(gate).ask_for_tls().begin_tls(tls)
    }

    /// The alert that the gate ends the handshake with.
    #[track_caller]
    pub(crate) fn alert(&mut self) -> AlertDescription {
        let error = self.handshake().expect_err("an alert");
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            other => panic!("not an alert: {other:?}, {error}"),
        }
    }

    /// Finishes the handshake.
    pub(crate) fn handshake(&mut self) -> io::Result<()> {
        while self.stream.conn.is_handshaking() {
            self.stream.conn.complete_io(&mut self.stream.sock)?;
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    #[track_caller]
    pub(crate) fn message(&mut self) -> Message {
        match Message::read(&mut self.stream) {
            Ok(message) => message,
            Err(error) => panic!("no message: {error}"),
        }
    }

    /// Sends a StartupMessage and reads up to ReadyForQuery; what was read.
    #[track_caller]
    pub(crate) fn login(&mut self, startup: &[u8]) -> Vec<Message> {
        self.send(startup);
        let mut messages = Vec::new();
        loop {
            let message = self.message();
            assert_ne!(message.tag, b'E', "refused: {:?}", message.error());
            messages.push(message);
            if messages.last().is_some_and(|message| message.tag == b'Z') {
                return messages;
            }
        }
    }

    /// Sends a StartupMessage that is refused; the refusal. Nothing follows it but the end.
    #[track_caller]
    pub(crate) fn refused(&mut self, startup: &[u8]) -> message::Fields {
        self.send(startup);
        let refusal = self.message().error();
        assert_eq!(self.rest().unwrap(), b"", "something follows the refusal");
        refusal
    }

    /// A Query, answered with ReadyForQuery: the session lives.
    #[track_caller]
    pub(crate) fn is_alive(&mut self) {
        self.send(&message::query("select 1"));
        assert_eq!(self.message().tag, b'Z');
    }

    /// Sends a byte and gives the gate a moment to say something or to go; whether it did neither.
    pub(crate) fn takes(&mut self, byte: u8) -> bool {
        self.stream
            .sock
            .stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let sent = self
            .stream
            .write_all(&[byte])
            .and_then(|()| self.stream.flush());
        sent.is_ok()
            && self
                .stream
                .read(&mut [0])
                .is_err_and(|error| is_pause(&error))
    }

    /// Everything until the end; an end without close_notify is an error (`UnexpectedEof`).
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }

    /// Ends what is sent by close_notify and FIN, not what is read.
    pub(crate) fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
        self.stream
            .sock
            .stream
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
    }

    /// The TCP connection, with TLS forgotten: no close_notify is sent.
    pub(crate) fn into_tcp(self) -> TcpStream {
        self.stream.into_parts().1.stream
    }

    /// The length of every TLS record that came, without its header.
    pub(crate) fn records(&self) -> Vec<usize> {
        self.records.lock().unwrap().clone()
    }

    /// The certificates that the gate sent, leaf first.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.stream
            .conn
            .peer_certificates()
            .unwrap_or_default()
            .to_vec()
    }
}

/// A TCP stream that writes in pieces and notes the TLS records that it reads.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    piece: usize,
    sniffer: Sniffer,
}

impl Socket {
    pub(crate) fn write_timeout(&self, timeout: Duration) {
        self.stream.set_write_timeout(Some(timeout)).unwrap();
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.sniffer.see(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.piece)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Finds the record headers (RFC 8446 section 5.1) in a stream.
#[derive(Debug)]
struct Sniffer {
    records: Arc<Mutex<Vec<usize>>>,
    header: Vec<u8>,
    body: usize,
}

impl Sniffer {
    fn new(records: &Arc<Mutex<Vec<usize>>>) -> Self {
        Self {
            records: records.clone(),
            header: Vec::new(),
            body: 0,
        }
    }

    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let missing = (5 - self.header.len()).min(bytes.len());
            if self.body == 0 && missing > 0 {
                self.header.extend_from_slice(&bytes[..missing]);
                bytes = &bytes[missing..];
            }
            if self.header.len() == 5 {
                self.body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.records.lock().unwrap().push(self.body);
                self.header.clear();
            }
        }
    }
}
