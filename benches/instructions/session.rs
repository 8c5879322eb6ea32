//! A session through the relay, all of it on one thread.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use portcullis::relay::{BackendStream, Closed, Control, Relay, relay};
use portcullis::tls::ClientHello;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::configs;

const CHUNK: usize = 64 << 10;
const QUESTION: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
/// RowDescription, DataRow, CommandComplete and ReadyForQuery, as PostgreSQL answers it.
const ANSWER: &[u8] =
    b"T\0\0\0\x21\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0\
    D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// SELECT 1 so many times, one after another.
    Queries(usize),
    /// So many bytes to the client.
    Download(usize),
    /// So many bytes from the client.
    Upload(usize),
}

/// A session whose handshake is done.
pub(crate) struct Session {
    runtime: Runtime,
    client: TlsStream<TcpStream>,
    backend: TcpStream,
    relay: Relay,
    work: Work,
}

impl Session {
    pub(crate) fn new(work: Work) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (client, backend, relay) = runtime.block_on(connected());
        Self {
            runtime,
            client,
            backend,
            relay,
            work,
        }
    }

    pub(crate) fn run(mut self) {
        let (mut relay, work) = (self.relay, self.work);
        let relay = async move { poll_fn(|cx| relayed(pin!(&mut relay), cx)).await };
        LocalSet::new().block_on(&self.runtime, async {
            let relay = tokio::task::spawn_local(relay);
            let backend = tokio::task::spawn_local(async move {
                match work {
                    Work::Queries(count) => answer(&mut self.backend, count).await,
                    Work::Download(bytes) => send(&mut self.backend, bytes).await,
                    Work::Upload(bytes) => receive(&mut self.backend, bytes).await,
                }
            });
            match work {
                Work::Queries(count) => ask(&mut self.client, count).await,
                Work::Download(bytes) => receive(&mut self.client, bytes).await,
                Work::Upload(bytes) => send(&mut self.client, bytes).await,
            }
            backend.await.expect("a backend");
            drop(self.client);
            relay.await.expect("a relay");
        });
    }
}

/// What is counted, by its name.
#[inline(never)]
fn relayed(relay: Pin<&mut Relay>, cx: &mut Context<'_>) -> Poll<Closed> {
    relay.poll(cx)
}

async fn ask(client: &mut TlsStream<TcpStream>, count: usize) {
    let mut answer = [0; ANSWER.len()];
    for _ in 0..count {
        client.write_all(QUESTION).await.expect("a question");
        client.flush().await.expect("a question");
        client.read_exact(&mut answer).await.expect("an answer");
    }
}

async fn answer(backend: &mut TcpStream, count: usize) {
    let mut question = [0; QUESTION.len()];
    for _ in 0..count {
        backend.read_exact(&mut question).await.expect("a question");
        backend.write_all(ANSWER).await.expect("an answer");
    }
}

async fn send(peer: &mut (impl AsyncWriteExt + Unpin), bytes: usize) {
    let chunk = vec![7; CHUNK];
    for _ in 0..bytes / CHUNK {
        peer.write_all(&chunk).await.expect("bytes");
    }
    peer.flush().await.expect("bytes");
}

async fn receive(peer: &mut (impl AsyncReadExt + Unpin), bytes: usize) {
    let mut chunk = vec![0; CHUNK];
    for _ in 0..bytes / CHUNK {
        peer.read_exact(&mut chunk).await.expect("bytes");
    }
}

/// TLS to the client, plain TCP to the backend.
async fn connected() -> (TlsStream<TcpStream>, TcpStream, Relay) {
    let (server, client) = configs();
    let ((far, near), (backend, backend_leg)) = (tcp_pair().await, tcp_pair().await);
    let name = ServerName::try_from("localhost").expect("a name");
    let accepting = async {
        let hello = ClientHello::read(near).await.expect("a ClientHello");
        hello.answer(server).finish().await.expect("a handshake")
    };
    let connecting = TlsConnector::from(client).connect(name, far);
    let (client_leg, client) = tokio::join!(accepting, connecting);
    let backend_leg = BackendStream::Tcp(backend_leg);
    let relay = relay(client_leg, backend_leg, Arc::new(Control::default()));
    (client.expect("a handshake"), backend, relay)
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let far = TcpStream::connect(address).await.expect("a peer");
    let (near, _) = listener.accept().await.expect("a peer");
    for socket in [&far, &near] {
        socket.set_nodelay(true).expect("a socket");
    }
    (far, near)
}
