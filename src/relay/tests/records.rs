//! Records that hold little: they are more work than what they carry tells.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::fixture::{Backend, Client, Kind, Legs, TLS13, configs, cut, let_others_run};
use crate::relay::{Control, relay};

/// A record of one byte, its type and the tag of the cipher behind its header, in bytes.
const SMALLEST: u64 = 5 + 1 + 1 + 16;

/// As many records of one byte as take 2 MiB.
fn seal(mut writer: impl Write) {
    for _ in 0..(2 << 20) / SMALLEST {
        writer.write_all(b"x").unwrap();
    }
}

#[tokio::test]
async fn a_turn_takes_in_two_buffers_and_a_rest_at_most_however_little_a_record_holds() {
    for from_client in [true, false] {
        let Legs {
            mut client,
            client_leg,
            backend_leg,
            backend,
        } = Legs::with_socket_buffers(TLS13, Kind::Tls, Some(4 << 20)).await;
        let Backend::Tls(mut backend) = backend else {
            panic!("not over TLS")
        };
        if from_client {
            let tls = client.get_mut().1;
            tls.set_buffer_limit(None);
            seal(tls.writer());
        } else {
            let tls = backend.get_mut().1;
            tls.set_buffer_limit(None);
            seal(tls.writer());
        }
        let sending = tokio::spawn(async move {
            client.flush().await.unwrap();
            backend.flush().await.unwrap();
            (client, backend)
        });
        let_others_run().await;
        let control = Arc::new(Control::default());
        let mut session = relay(client_leg, backend_leg, Arc::clone(&control));
        let mut moved = Vec::new();
        for _ in 0..3 {
            let before = control.client_to_backend() + control.backend_to_client();
            let poll =
                std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut session).poll(cx))).await;
            assert!(poll.is_pending());
            moved.push(control.client_to_backend() + control.backend_to_client() - before);
        }
        let most = 3 * 68 * 1024 / SMALLEST;
        assert!(moved.iter().all(|moved| *moved <= most), "{moved:?}");
        // More than that was there to be taken in.
        assert!(moved.iter().sum::<u64>() > most, "{moved:?}");
        drop(sending);
    }
}

/// A TLS 1.3 client that sends records of 16 KiB, of which one byte is to be passed on.
struct Padder {
    socket: std::net::TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Padder {
    fn new(client: Client) -> Self {
        let (tap, connection) = client.into_inner();
        let suite = connection.negotiated_cipher_suite().unwrap();
        let secrets = connection.dangerous_extract_secrets().unwrap();
        let (sequence, secrets) = secrets.tx;
        let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
        else {
            panic!("another suite")
        };
        let socket = tap.tcp.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        Self {
            socket,
            encrypter: suite.tls13().unwrap().aead_alg.encrypter(key, iv),
            sequence,
        }
    }

    /// The byte, its type, and zeros, of which the last stands where the type would (RFC 8446
    /// section 5.4).
    fn seal(&mut self) -> Vec<u8> {
        let mut payload = [0; 16_000];
        payload[..2].copy_from_slice(&[b'x', 23]);
        let message = OutboundPlainMessage {
            typ: ContentType::Unknown(0),
            version: ProtocolVersion::TLSv1_3,
            payload: payload[..].into(),
        };
        let record = self.encrypter.encrypt(message, self.sequence).unwrap();
        self.sequence += 1;
        record.encode()
    }
}

/// Counted by plaintext alone, each turn would use up all that tokio lets a task do at a time, and leave
/// nothing of it for the clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn t27_a_cut_client_that_pads_without_end_is_gone_after_the_grace() {
    let (server, mut client) = configs(TLS13);
    Arc::make_mut(&mut client).enable_secret_extraction = true;
    let legs = [(server, client), configs(TLS13)];
    let legs = Legs::speaking(legs, Kind::Tcp, Some(4 << 20)).await;
    let mut session = legs.relay();
    let mut padder = Padder::new(session.client);
    let flood = thread::spawn(move || {
        loop {
            let record = padder.seal();
            if padder.socket.write_all(&record).is_err() {
                break;
            }
        }
    });
    while session.control.client_to_backend() == 0 {
        yield_now().await;
    }
    session.control.cut(cut());
    let closed = timeout(20 * cut().grace, &mut session.closed).await;
    assert!(closed.is_ok(), "it goes on");
    flood.join().unwrap();
}
