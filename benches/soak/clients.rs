//! The clients: sessions that send, compare what comes back, and now and then begin anew.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Tally;
use super::backend::WELCOME;

/// Logins at once.
const AT_ONCE: usize = 64;
/// A session sends once in so long, on average.
const PACE: Duration = Duration::from_secs(3);
/// One in so many messages is the session's last one.
const LAST: u64 = 64;
/// What takes longer than this is lost.
const PATIENCE: Duration = Duration::from_secs(60);

type Session = TlsStream<TcpStream>;

/// Counts what the sessions see.
#[derive(Default)]
struct Counts {
    sessions: AtomicU64,
    logins: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    fn tally(&self) -> Tally {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            sessions: read(&self.sessions),
            logins: read(&self.logins),
            messages: read(&self.messages),
            bytes: read(&self.bytes),
            lost: read(&self.lost),
        }
    }
}

/// How to get to the gate.
struct Way {
    gate: SocketAddr,
    tls: TlsConnector,
    turns: Semaphore,
}

/// Does what standard input says: `go` opens the sessions, `tally` tells the counts, `end` ends all.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run() {
    let way = Arc::new(Way {
        gate: env::var("GATE").unwrap().parse().unwrap(),
        tls: trusting(&env::var("CA").unwrap()),
        turns: Semaphore::new(AT_ONCE),
    });
    let count: u64 = env::var("SESSIONS").unwrap().parse().unwrap();
    let warm = way.login().await.unwrap();
    drop(warm);
    println!("warm");
    let mut words = words();
    words.recv().await;

    let counts = Arc::new(Counts::default());
    let (end, ended) = watch::channel(false);
    let mut sessions = JoinSet::new();
    for seed in 0..count {
        let (way, counts, ended) = (Arc::clone(&way), Arc::clone(&counts), ended.clone());
        sessions.spawn(chain(way, counts, (Random(seed), ended)));
    }
    while counts.sessions.load(Ordering::Relaxed) < count
        && counts.lost.load(Ordering::Relaxed) == 0
    {
        sleep(Duration::from_millis(20)).await;
    }
    println!("full");
    while let Some(word) = words.recv().await {
        if word == "end" {
            end.send_replace(true);
            sessions.join_all().await;
            println!("{}", counts.tally());
            return;
        }
        println!("{}", counts.tally());
    }
}

/// What comes on standard input, a line each.
fn words() -> mpsc::UnboundedReceiver<String> {
    let (send, receive) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let lines = io::stdin().lines().map_while(Result::ok);
        lines
            .map(|line| send.send(line))
            .take_while(Result::is_ok)
            .for_each(drop);
    });
    receive
}

/// One session after another.
async fn chain(
    way: Arc<Way>,
    counts: Arc<Counts>,
    (mut random, mut ended): (Random, watch::Receiver<bool>),
) {
    while !*ended.borrow() {
        let Ok(Ok(session)) = timeout(PATIENCE, way.login()).await else {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        counts.logins.fetch_add(1, Ordering::Relaxed);
        counts.sessions.fetch_add(1, Ordering::Relaxed);
        let lived = live(session, &counts, (&mut random, &mut ended)).await;
        counts.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = lived {
            eprintln!("lost: {error}");
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Goes to and fro until it is the last time, or everybody is told to end.
async fn live(
    mut session: Session,
    counts: &Counts,
    (random, ended): (&mut Random, &mut watch::Receiver<bool>),
) -> io::Result<()> {
    loop {
        tokio::select! {
            () = sleep(random.pause()) => {}
            _ = ended.changed() => break,
        }
        let message = random.message();
        timeout(PATIENCE, exchange(&mut session, &message)).await??;
        counts.messages.fetch_add(1, Ordering::Relaxed);
        counts
            .bytes
            .fetch_add(message.len() as u64, Ordering::Relaxed);
        if random.next().is_multiple_of(LAST) {
            break;
        }
    }
    // What is outstanding comes although this side has ended; and then the other end.
    session.shutdown().await?;
    match session.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was sent")),
    }
}

async fn exchange(session: &mut Session, message: &[u8]) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(session);
    let mut answer = vec![0; message.len()];
    let send = async {
        to.write_all(message).await?;
        to.flush().await
    };
    tokio::try_join!(send, from.read_exact(&mut answer))?;
    if answer == message {
        Ok(())
    } else {
        Err(io::Error::other("other bytes came back than were sent"))
    }
}

impl Way {
    async fn login(&self) -> io::Result<Session> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut socket = TcpStream::connect(self.gate).await?;
        socket.set_nodelay(true)?;
        socket.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").await?;
        if socket.read_u8().await? != b'S' {
            return Err(io::Error::other("no TLS"));
        }
        let name = ServerName::try_from("acme.localhost").map_err(io::Error::other)?;
        let mut session = self.tls.connect(name, socket).await?;
        session
            .write_all(b"\0\0\0\x12\0\x03\0\0user\0ada\0\0")
            .await?;
        session.flush().await?;
        let mut welcome = vec![0; WELCOME.len()];
        session.read_exact(&mut welcome).await?;
        if welcome == WELCOME {
            Ok(session)
        } else {
            Err(io::Error::other("refused"))
        }
    }
}

fn trusting(ca: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same sessions do the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Up to twice the pace.
    fn pause(&mut self) -> Duration {
        PACE.mul_f64(2.0 * (self.next() >> 11) as f64 / (1_u64 << 53) as f64)
    }

    /// Bytes that differ from message to message. Each doubling of the length is as rare again, up
    /// to 1 MiB.
    fn message(&mut self) -> Vec<u8> {
        let most = 64_u64 << self.next().trailing_zeros().min(14);
        let length = 1 + self.next() % most;
        let words = length.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(usize::try_from(length).unwrap());
        bytes
    }
}
