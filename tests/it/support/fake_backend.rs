//! A PostgreSQL server that does what a test tells it to.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::PATIENCE;
use super::message::{Message, read_packet, welcome};

/// A listener on loopback whose connections are served by a script, each in a thread of its own.
/// A panic in a script fails the test when this is dropped. Declare it before the gate, so that the
/// gate ends first.
pub(crate) struct FakeBackend {
    addr: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
    stop: Sender<SocketAddr>,
}

impl FakeBackend {
    /// Serves every connection with `script`.
    pub(crate) fn serving(script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = channel();
        let acceptor =
            thread::spawn(move || accept(&listener, &stopped, &(Arc::new(script) as Script)));
        Self {
            addr,
            acceptor: Some(acceptor),
            stop,
        }
    }

    /// Fails the test if anything connects.
    pub(crate) fn untouchable() -> Self {
        Self::serving(|_| panic!("the backend was touched"))
    }

    /// Lets everybody in, then answers every Query with ReadyForQuery until Terminate or the end.
    pub(crate) fn welcoming() -> Self {
        Self::serving(|mut peer| {
            peer.login();
            peer.serve_queries();
        })
    }

    /// An address of loopback on which nobody listens.
    pub(crate) fn nobody() -> SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
    }

    /// As a project's `backend`.
    pub(crate) fn url(&self) -> String {
        url(self.addr)
    }
}

/// An address as a project's `backend`.
pub(crate) fn url(addr: SocketAddr) -> String {
    format!("postgres://{addr}")
}

type Script = Arc<dyn Fn(Peer) + Send + Sync>;

fn accept(listener: &TcpListener, stopped: &Receiver<SocketAddr>, script: &Script) {
    let mut scripts = Vec::new();
    let mut last = None;
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        // Connections come in order, so whatever was to come before the last has come.
        last = last.or_else(|| stopped.try_recv().ok());
        if last.is_some() && stream.peer_addr().ok() == last {
            break;
        }
        let script = script.clone();
        scripts.push(thread::spawn(move || script(Peer::new(stream))));
    }
    for script in scripts {
        script.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        // Bound before it connects, so that the address is told before the connection is seen.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        if self.stop.send(own).is_err() || socket.connect(&self.addr.into()).is_err() {
            return;
        }
        if let Some(Err(panic)) = self.acceptor.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// The gate, as a backend sees it.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// The next packet without a type byte, as it came.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        read_packet(&mut self.stream).expect("a packet from the gate")
    }

    pub(crate) fn message(&mut self) -> Message {
        Message::read(&mut self.stream).expect("a message from the gate")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the gate reads on");
    }

    /// Reads a StartupMessage and lets the client in; the StartupMessage as it came.
    pub(crate) fn login(&mut self) -> Vec<u8> {
        let startup = self.packet();
        self.send(&welcome());
        startup
    }

    /// Answers every Query with ReadyForQuery, until Terminate or the end.
    pub(crate) fn serve_queries(&mut self) {
        while let Ok(message) = Message::read(&mut self.stream) {
            match message.tag {
                b'Q' => self.send(&super::message::ready_for_query()),
                b'X' => break,
                other => panic!("unexpected message {:?}", char::from(other)),
            }
        }
    }

    /// Ends what is sent, not what is read.
    pub(crate) fn finish(&self) {
        // The gate may have ended both sides by now, as is its right.
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Everything until the gate ends its side.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).map(|_| rest)
    }

    /// Ends with a RST.
    pub(crate) fn reset(self) {
        reset(self.stream);
    }
}

/// Ends a connection with a RST: what is unsent is thrown away.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
