//! How soon a change of the rules has ended every session that it no longer allows, and what the
//! other sessions feel of it: `cargo bench --bench revocation`.
//!
//! 9,000 sessions of one project sit behind a real gate; a few of another go to and fro. Then the
//! first project's rule is changed in proxy.toml. Gate, backend and clients are processes of their own,
//! so that each stays below the descriptor limit (20,000; the gate needs two a session).

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that can't go on has failed"
)]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SESSIONS: usize = 9_000;
const PINGING: usize = 4;
const ROLE: &str = "PORTCULLIS_BENCH_ROLE";
const READY: &[u8] = b"Z\0\0\0\x05I";

fn main() {
    let role = env::var(ROLE).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "backend" => backend().await,
            "clients" => clients().await,
            _ => measure().await,
        }
    });
}

async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let mut backend = this("backend", &[]);
    let backend_addr = first_line(&mut backend);
    write_config(directory.path(), &backend_addr, "127.0.0.1");
    let mut gate = limited(env!("CARGO_BIN_EXE_portcullis"));
    let gate = gate
        .arg("run")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut gate = gate.spawn().unwrap();
    let addr = listening(&mut gate);
    let addr_text = addr.to_string();
    let certs = directory.path().join("certs");
    let ca = certs.join("acme/ca.crt").display().to_string();
    let mut clients = this("clients", &[("GATE", &addr_text), ("CA", &ca)]);
    let mut lines = BufReader::new(clients.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");

    let pings = pinging(addr, &certs.join("globex/ca.crt")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (changed, since_epoch) = (Instant::now(), now());
    write_config(directory.path(), &backend_addr, "192.0.2.1");
    let closed = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    let closed = closed.await.unwrap();
    let ended = Instant::now();
    let words: Vec<u64> = closed
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    let [count, told, last] = words[..] else {
        panic!("{closed}")
    };
    let took = Duration::from_nanos(last.saturating_sub(since_epoch));
    println!("sessions closed: {count}, of which read FATAL 57P01: {told}");
    println!(
        "from the rename of proxy.toml to the last close: {} ms",
        took.as_millis()
    );
    let all = pings.stop().await;
    let (before, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at < changed);
    report("before", before.into_iter().map(|(_, took)| took).collect());
    let during = rest.into_iter().filter(|(at, _)| *at < ended);
    report("during", during.map(|(_, took)| took).collect());
    for mut process in [gate, backend, clients] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

fn report(when: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_micros();
    println!(
        "round trips of other sessions {when}: {} measured, p50 {} us, p99 {} us, longest {} us",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn write_config(directory: &Path, backend: &str, acme_allows: &str) {
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"off\"\n[log]\nformat = \"json\"\nlevel = \"info\"\n\
         [limits]\nsessions = 20000\nsessions_per_project = 20000\nsessions_per_source = 20000\n\
         logins = 20000\nlogins_per_source = 20000\nconnections_per_second_per_source = 1000000\n\
         connection_burst_per_source = 1000000\n\
         [project.acme]\nhosts = [\"acme.localhost\"]\nallow = [\"{acme_allows}\"]\nbackend = \"postgres://{backend}\"\n\
         [project.globex]\nhosts = [\"globex.localhost\"]\nallow = [\"127.0.0.1\"]\nbackend = \"postgres://{backend}\"\n"
    );
    fs::write(directory.join("new"), text).unwrap();
    fs::rename(directory.join("new"), directory.join("proxy.toml")).unwrap();
}

/// A program that may have as many descriptors as the measurement needs.
fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("prlimit");
    command.arg("--nofile=20000:20000").arg(program);
    command
}

fn this(role: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = limited(env::current_exe().unwrap());
    command.env(ROLE, role).envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn first_line(process: &mut Child) -> String {
    let stdout = process.stdout.take().unwrap();
    BufReader::new(stdout).lines().next().unwrap().unwrap()
}

/// Where the gate listens. Its log goes on being read, and thrown away.
fn listening(gate: &mut Child) -> SocketAddr {
    let mut lines = BufReader::new(gate.stderr.take().unwrap()).lines();
    let addr = lines.by_ref().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        line["address"].as_str()?.parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    addr.expect("the gate listens")
}

/// Lets everybody in, and answers whatever comes with ReadyForQuery.
async fn backend() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (mut peer, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            peer.set_nodelay(true)?;
            let mut buffer = [0; 1024];
            let _startup = peer.read(&mut buffer).await?;
            peer.write_all(b"R\0\0\0\x08\0\0\0\0").await?;
            loop {
                peer.write_all(READY).await?;
                if peer.read(&mut buffer).await? == 0 {
                    return Ok::<_, std::io::Error>(());
                }
            }
        });
    }
}

fn connector(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(
        config
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
    .into()
}

async fn session(gate: SocketAddr, tls: &TlsConnector, host: &'static str) -> TlsStream<TcpStream> {
    let mut socket = TcpStream::connect(gate).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
        .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")
        .await
        .unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'S');
    let name = ServerName::try_from(host).unwrap();
    let mut stream = tls.connect(name, socket).await.unwrap();
    stream
        .write_all(b"\0\0\0\x14\0\x03\0\0user\0alice\0\0")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(READY) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
    }
    stream
}

async fn clients() {
    let gate: SocketAddr = env::var("GATE").unwrap().parse().unwrap();
    let tls = connector(Path::new(&env::var("CA").unwrap()));
    let at_once = Arc::new(Semaphore::new(64));
    let mut logins = JoinSet::new();
    for _ in 0..SESSIONS {
        let (tls, at_once) = (tls.clone(), Arc::clone(&at_once));
        logins.spawn(async move {
            let _turn = at_once.acquire_owned().await;
            session(gate, &tls, "acme.localhost").await
        });
    }
    let sessions = logins.join_all().await;
    let mut ends = JoinSet::new();
    for mut session in sessions {
        ends.spawn(async move {
            let mut rest = Vec::new();
            let closed = session.read_to_end(&mut rest).await;
            let told = closed.is_ok() && rest.windows(5).any(|word| word == b"57P01");
            (now(), told)
        });
    }
    println!("ready");
    let ends = ends.join_all().await;
    let told = ends.iter().filter(|(_, told)| *told).count();
    let last = ends.iter().map(|(at, _)| *at).max().unwrap();
    println!("{} {told} {last}", ends.len());
}

/// Sessions that go to and fro until they are told to stop.
struct Pings {
    stop: tokio::sync::watch::Sender<bool>,
    tasks: JoinSet<Vec<(Instant, Duration)>>,
}

async fn pinging(gate: SocketAddr, ca: &Path) -> Pings {
    let tls = connector(ca);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = JoinSet::new();
    for _ in 0..PINGING {
        let mut stream = session(gate, &tls, "globex.localhost").await;
        let stopped = stopped.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            let mut answer = [0; READY.len()];
            while !*stopped.borrow() {
                let begun = Instant::now();
                stream.write_all(b"Q\0\0\0\x0dselect 1\0").await.unwrap();
                stream.flush().await.unwrap();
                stream.read_exact(&mut answer).await.unwrap();
                took.push((begun, begun.elapsed()));
                // A pace that leaves the machine to the sessions that end.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            took
        });
    }
    Pings { stop, tasks }
}

impl Pings {
    async fn stop(self) -> Vec<(Instant, Duration)> {
        self.stop.send_replace(true);
        self.tasks.join_all().await.concat()
    }
}
