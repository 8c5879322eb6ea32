//! [`Handshakes`]: how many are computed at once, so that a crowd of logins leaves live sessions their
//! turn.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

use crate::tls::{ClientHello, Handshake};

/// Turns at computing a handshake, given in the order of asking.
///
/// A signature and a key exchange keep a worker for a quarter of a millisecond. A hundred ClientHellos
/// that come at once are a hundred tasks that are ready, and whoever becomes ready after them would
/// wait for them all. With turns, only so many of them are ready at a time, and each begins when whoever
/// else is ready has had its time: a live session waits for no more than the one that is being computed.
#[derive(Debug)]
pub struct Handshakes(Semaphore);

/// A turn; the next one's comes when this is dropped.
#[derive(Debug)]
struct Turn<'h> {
    _permit: Option<SemaphorePermit<'h>>,
}

impl Handshakes {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Answers a ClientHello in its turn. Whatever the client does to its socket, it can't keep the turn.
    pub(super) async fn answer(&self, hello: ClientHello, config: Arc<ServerConfig>) -> Handshake {
        let turn = self.turn().await;
        let mut handshake = hello.answer(config);
        handshake.send_ready().await;
        drop(turn);
        // Who is asked for another ClientHello has cost nothing yet; the answer to that one does.
        while handshake.is_put_off() {
            handshake.heard().await;
            let turn = self.turn().await;
            handshake = handshake.go_on().await;
            handshake.send_ready().await;
            drop(turn);
        }
        handshake
    }

    /// Waits for a turn, and then until all who are ready by now have had their time on this worker.
    async fn turn(&self) -> Turn<'_> {
        // It is never closed; if it were, there would be nothing to wait for.
        let permit = self.0.acquire().await.ok();
        // Once, and the sockets are looked at; but tokio resumes whoever yielded before those whose sockets
        // have become ready meanwhile, during the handshake before this one above all. Twice, and they go first.
        yield_now().await;
        yield_now().await;
        Turn { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::os::unix::net::UnixStream as StdStream;
    use std::sync::Mutex;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, version};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_is_ready_goes_before_each_handshake_of_a_crowd() {
        let handshakes = Arc::new(Handshakes::new(1));
        let log = Arc::new(Mutex::new(Vec::new()));
        let crowd: Vec<_> = (0..3)
            .map(|number| {
                let (handshakes, log) = (Arc::clone(&handshakes), Arc::clone(&log));
                tokio::spawn(async move {
                    let turn = handshakes.turn().await;
                    log.lock().unwrap().push(number);
                    // Somebody becomes ready while it is computed.
                    tokio::spawn(async move { log.lock().unwrap().push(number + 100) });
                    drop(turn);
                })
            })
            .collect();
        let session = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.lock().unwrap().push(99) }
        });
        session.await.unwrap();
        for one in crowd {
            one.await.unwrap();
        }
        yield_now().await;
        assert_eq!(*log.lock().unwrap(), [99, 0, 100, 1, 101, 2, 102]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_session_whose_bytes_came_during_a_handshake_goes_before_the_next_one() {
        let ended = tokio::spawn(on_the_one_worker());
        assert_eq!(ended.await.unwrap(), ["handshake", "session", "handshake"]);
    }

    /// A server, and a client that shows it a key of a kind that it can't use.
    fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(leaf.clone()).unwrap();
        let [server, client] = [
            vec![kx_group::X25519],
            vec![kx_group::SECP256R1, kx_group::X25519],
        ]
        .map(|groups| {
            let mut provider = default_provider();
            provider.kx_groups = groups;
            Arc::new(provider)
        });
        let server = ServerConfig::builder_with_provider(server)
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(client)
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    /// Sends what the client has to say, in two segments.
    async fn say(client: &mut ClientConnection, socket: &mut TcpStream) {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).unwrap();
        }
        let (first, second) = said.split_at(said.len() / 2);
        socket.write_all(first).await.unwrap();
        for _ in 0..200 {
            yield_now().await;
        }
        socket.write_all(second).await.unwrap();
    }

    async fn listen(client: &mut ClientConnection, socket: &mut TcpStream) {
        let mut heard = vec![0; 65_536];
        let count = socket.read(&mut heard).await.unwrap();
        assert_ne!(count, 0, "the end");
        let mut heard = &heard[..count];
        while !heard.is_empty() {
            client.read_tls(&mut heard).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_that_a_hello_retry_request_has_put_off_waits_for_its_turn_too() {
        let (server, client) = configs();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        socket.set_nodelay(true).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let handshakes = Arc::new(Handshakes::new(1));
        let serving = tokio::spawn({
            let handshakes = Arc::clone(&handshakes);
            async move {
                let hello = ClientHello::read(accepted).await.unwrap();
                handshakes.answer(hello, server).await.finish().await
            }
        });
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(client, name).unwrap();
        say(&mut client, &mut socket).await;
        while !client.wants_write() {
            listen(&mut client, &mut socket).await;
        }
        let kind = Some(HandshakeKind::FullWithHelloRetryRequest);
        assert_eq!(client.handshake_kind(), kind);
        let turn = handshakes.turn().await;
        say(&mut client, &mut socket).await;
        for _ in 0..2_000 {
            yield_now().await;
        }
        let early = socket.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock);
        drop(turn);
        while client.is_handshaking() {
            listen(&mut client, &mut socket).await;
        }
        say(&mut client, &mut socket).await;
        assert!(serving.await.unwrap().is_ok());
    }

    async fn on_the_one_worker() -> Vec<&'static str> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ours, theirs) = StdStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        let (say, said) = oneshot::channel();
        let session = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                say.send(()).unwrap();
                theirs.read_exact(&mut [0]).await.unwrap();
                log.lock().unwrap().push("session");
                theirs
            }
        });
        said.await.unwrap();
        let handshakes = Arc::new(Handshakes::new(1));
        let crowd = [(); 2].map(|()| {
            let (handshakes, log) = (Arc::clone(&handshakes), Arc::clone(&log));
            let mut ours = ours.try_clone().unwrap();
            tokio::spawn(async move {
                let turn = handshakes.turn().await;
                ours.write_all(b"Q").unwrap();
                log.lock().unwrap().push("handshake");
                drop(turn);
            })
        });
        for one in crowd {
            one.await.unwrap();
        }
        drop(session.await.unwrap());
        Arc::into_inner(log).unwrap().into_inner().unwrap()
    }
}
