//! What a byte costs on its way through the relay, beside a plain TCP copy and tokio's own copy
//! loop over the same TLS: CPU seconds of the relaying thread alone for each GB (10^9 bytes) of
//! plaintext, in interleaved rounds, as a Markdown table.
//!
//! `cargo bench --bench relay -- --rounds 9 --megabytes 512`
//!
//! The relaying thread is pinned to CPU 1 and its peers to CPU 0 where `taskset` is found. Compare
//! figures of one run only, and ratios rather than seconds: loopback charges a sender for the
//! receiver's share of the kernel's work.

#[path = "relay/tls.rs"]
mod tls;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use portcullis::relay::{BackendStream, Control, relay};
use portcullis::tls::ClientHello;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, StreamOwned};
use tokio_rustls::TlsAcceptor;

/// The ways to carry the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    /// Plain TCP on both sides, 64 KiB at a time: what no TLS relay can be cheaper than.
    RawCopy,
    /// Nothing is carried: the bytes are sealed or opened, as TLS would do it, where they lie.
    CipherAlone,
    /// TLS to the client; `tokio::io::copy_bidirectional` as it comes.
    CopyBidirectional,
    /// TLS to the client; the relay.
    Relay,
}

const CONTENDERS: [Contender; 4] = [
    Contender::RawCopy,
    Contender::CipherAlone,
    Contender::CopyBidirectional,
    Contender::Relay,
];

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Self::RawCopy => "raw TCP copy, 64 KiB",
            Self::CipherAlone => "AES-128-GCM alone, in place",
            Self::CopyBidirectional => "tokio-rustls, copy_bidirectional",
            Self::Relay => "relay",
        }
    }
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
}

const DIRECTIONS: [Direction; 2] = [Direction::Download, Direction::Upload];

/// The client's side of the connection.
enum Client {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The same TLS for every contender: 1.3, AES-128, P-256, records of at most 8 KiB to the client.
struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn main() {
    let (rounds, megabytes) = (argument("--rounds", 7), argument("--megabytes", 256));
    let (server, client) = tls::configs();
    let tls = Tls { server, client };
    let mut samples = vec![Vec::new(); CONTENDERS.len() * DIRECTIONS.len()];
    for round in 0..=rounds {
        // Back and forth, so that no contender always has the same neighbour.
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for case in order {
            let contender = CONTENDERS[case / DIRECTIONS.len()];
            let direction = DIRECTIONS[case % DIRECTIONS.len()];
            let seconds = run(&tls, contender, direction, megabytes * 1_000_000);
            // The first round fills caches and socket buffers' autotuning.
            if round > 0 {
                samples[case].push(seconds / (megabytes as f64 / 1_000.0));
            }
        }
    }
    print!("{}", table(&samples, rounds, megabytes));
}

/// CPU seconds that the relaying thread took for so many bytes.
fn run(tls: &Tls, contender: Contender, direction: Direction, bytes: usize) -> f64 {
    if contender == Contender::CipherAlone {
        let cipher = thread::spawn(move || cipher_alone(direction, bytes));
        return cipher.join().expect("the cipher's thread");
    }
    let ((near, far), (backend_near, backend_far)) = (tcp_pair(), tcp_pair());
    let client_config = Arc::clone(&tls.client);
    let client = thread::spawn(move || {
        pin(0);
        let client = match contender {
            Contender::RawCopy => Client::Plain(far),
            Contender::CipherAlone | Contender::CopyBidirectional | Contender::Relay => {
                handshake(client_config, far)
            }
        };
        match direction {
            Direction::Download => client.discard(),
            Direction::Upload => client.send(bytes),
        }
    });
    let backend = thread::spawn(move || {
        pin(0);
        match direction {
            Direction::Download => send(&backend_far, bytes),
            Direction::Upload => discard(&backend_far),
        }
    });
    let server_config = Arc::clone(&tls.server);
    let relaying = thread::spawn(move || {
        pin(1);
        carry(contender, server_config, near, backend_near)
    });
    let (seconds, carried) = relaying.join().expect("the relaying thread");
    client.join().expect("the client");
    let received = backend.join().expect("the backend");
    match direction {
        Direction::Download => assert!(contender != Contender::Relay || carried == bytes as u64),
        Direction::Upload => assert_eq!(received, bytes),
    }
    seconds
}

/// Carries everything, on a runtime of this thread's own: CPU seconds from the end of the
/// handshake to the end of the connection, and, from the relay, the bytes to the client.
#[tokio::main(flavor = "current_thread")]
async fn carry(
    contender: Contender,
    tls: Arc<ServerConfig>,
    client: TcpStream,
    backend: TcpStream,
) -> (f64, u64) {
    let mut client = tokio::net::TcpStream::from_std(client).expect("a socket");
    let mut backend = tokio::net::TcpStream::from_std(backend).expect("a socket");
    if contender == Contender::RawCopy {
        let before = cpu_seconds();
        let size = 64 * 1024;
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, size, size)
            .await
            .expect("a copy");
        return (cpu_seconds() - before, 0);
    }
    if contender == Contender::Relay {
        let hello = ClientHello::read(client).await.expect("a ClientHello");
        let client = hello.answer(tls).finish().await.expect("a handshake");
        let backend = BackendStream::Tcp(backend);
        let before = cpu_seconds();
        let closed = relay(client, backend, Arc::new(Control::default())).await;
        return (cpu_seconds() - before, closed.backend_to_client);
    }
    let mut client = TlsAcceptor::from(tls)
        .accept(client)
        .await
        .expect("a handshake");
    let before = cpu_seconds();
    // A client that has all it came for goes without close_notify, which is an error here.
    drop(tokio::io::copy_bidirectional(&mut client, &mut backend).await);
    (cpu_seconds() - before, 0)
}

/// CPU seconds for so many bytes in records of the size that the relay gets to see: 8 KiB of
/// plaintext towards the client, 16 KiB from this one.
fn cipher_alone(direction: Direction, bytes: usize) -> f64 {
    pin(1);
    let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key");
    let key = LessSafeKey::new(key);
    let size = match direction {
        Direction::Download => 8 * 1024,
        Direction::Upload => 16 * 1024,
    };
    let nonce = || Nonce::assume_unique_for_key([7; 12]);
    // As many as the relay handles at a time.
    let mut records = vec![vec![7; size]; 64 * 1024 / size];
    let before = cpu_seconds();
    for at in 0..bytes / size {
        let count = records.len();
        let record = &mut records[at % count];
        let sealed = match direction {
            Direction::Download => key.seal_in_place_append_tag(nonce(), Aad::from([7; 5]), record),
            // Nothing authentic is to be had at this speed; the work is the same.
            Direction::Upload => {
                drop(key.open_in_place(nonce(), Aad::from([7; 5]), record));
                Ok(())
            }
        };
        sealed.expect("a record");
        record.truncate(size);
    }
    cpu_seconds() - before
}

impl Client {
    /// Takes what comes and, so that the relay is what limits the flow, decrypts none of it.
    fn discard(self) -> usize {
        match self {
            Self::Plain(socket) => discard(&socket),
            Self::Tls(stream) => discard(&stream.sock),
        }
    }

    fn send(self, bytes: usize) -> usize {
        match self {
            Self::Plain(socket) => send(&socket, bytes),
            Self::Tls(mut stream) => {
                write_all(&mut stream, bytes);
                stream.conn.send_close_notify();
                stream.flush().expect("a socket that takes bytes");
                discard(&stream.sock)
            }
        }
    }
}

fn handshake(config: Arc<ClientConfig>, mut socket: TcpStream) -> Client {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(config, name).expect("a configuration");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("a handshake");
    }
    Client::Tls(Box::new(StreamOwned::new(connection, socket)))
}

/// Sends so many bytes and the end, then waits for the other side's.
fn send(socket: &TcpStream, bytes: usize) -> usize {
    write_all(&mut &*socket, bytes);
    socket
        .shutdown(Shutdown::Write)
        .expect("a socket that is open");
    discard(socket)
}

fn write_all(sink: &mut impl Write, bytes: usize) {
    let chunk = vec![7; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let now = &chunk[..left.min(chunk.len())];
        sink.write_all(now).expect("a socket that takes bytes");
        left -= now.len();
    }
}

/// Reads to the end, and counts.
fn discard(mut socket: &TcpStream) -> usize {
    let mut chunk = vec![0; 256 * 1024];
    let mut count = 0;
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return count,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The near end is for a runtime, the far end for a thread.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let far = TcpStream::connect(listener.local_addr().expect("an address")).expect("a peer");
    let (near, _) = listener.accept().expect("a peer");
    near.set_nonblocking(true).expect("a socket");
    for socket in [&near, &far] {
        socket.set_nodelay(true).expect("a socket");
    }
    (near, far)
}

/// The time that this thread has run so far (Linux; first field of schedstat, in nanoseconds).
fn cpu_seconds() -> f64 {
    // A turn in the scheduler brings the field up to date.
    thread::yield_now();
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = schedstat.split(' ').next().expect("a field");
    nanoseconds.parse::<f64>().expect("a number") / 1e9
}

fn pin(cpu: usize) {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else {
        return;
    };
    let Some(id) = thread.file_name() else { return };
    drop(
        Command::new("taskset")
            .arg("-pc")
            .arg(cpu.to_string())
            .arg(id)
            .output(),
    );
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != name)
        .skip(1);
    arguments
        .next()
        .map_or(default, |value| value.parse().expect("a number"))
}

fn table(samples: &[Vec<f64>], rounds: usize, megabytes: usize) -> String {
    let mut out = format!(
        "CPU seconds per GB, median (min..max) of {rounds} rounds of {megabytes} MB, and as a \
         multiple of the raw copy's median\n\n| | download | | upload | |\n|---|---|---|---|---|\n"
    );
    for (row, contender) in CONTENDERS.iter().enumerate() {
        write!(out, "| {} |", contender.name()).expect("a string");
        for column in 0..DIRECTIONS.len() {
            let (median, min, max) = spread(&samples[row * DIRECTIONS.len() + column]);
            let (floor, _, _) = spread(&samples[column]);
            let ratio = median / floor;
            write!(out, " {median:.3} ({min:.3}..{max:.3}) | {ratio:.2} |").expect("a string");
        }
        out.push('\n');
    }
    out
}

fn spread(samples: &[f64]) -> (f64, f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    (median, sorted[0], sorted[sorted.len() - 1])
}
