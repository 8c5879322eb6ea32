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
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SESSIONS: usize = 9_000;
const PINGING: usize = 4;
/// For how long the others are measured before.
const CALM: Duration = Duration::from_secs(3);
/// After which an end that hasn't come is taken to never come.
const PATIENCE: Duration = Duration::from_secs(20);
/// After which the clients give up, and the measurement with them.
const LIFE: Duration = Duration::from_secs(60);
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

/// The measurement: how long it takes and what it does to others when the gate ends 9,000 sessions,
/// beside what it is when their clients do.
async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let mut backends = [this("backend", &[]), this("backend", &[])];
    let addrs = backends.each_mut().map(|backend| backend.line());
    write_config(directory.path(), &addrs, "127.0.0.1");
    let gate = Gate::start(directory.path());
    for how in [How::Leave, How::Cut] {
        let mut clients = gate.clients();
        assert_eq!(clients.line(), "ready");
        let pings = pinging(gate.addr, &gate.certs.join("globex/ca.crt")).await;
        tokio::time::sleep(CALM).await;
        let (ended_before, cpu_before) = (gate.ended(), gate.cpu_ms());
        let changed = Instant::now();
        match how {
            How::Leave => clients.tell("leave"),
            How::Cut => write_config(directory.path(), &addrs, "192.0.2.1"),
        }
        let began = now();
        let closed = tokio::task::spawn_blocking(move || clients.line());
        let closed = closed.await.unwrap();
        while gate.ended() < ended_before + SESSIONS && changed.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ended = Instant::now();
        println!("{how:?}: {}", outcome(&closed, began));
        println!(
            "  the gate had noted the last end after {} ms, with {} ms of its CPU time",
            (ended - changed).as_millis(),
            gate.cpu_ms() - cpu_before
        );
        let all = pings.stop().await;
        let (before, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at < changed);
        report("before", before.into_iter().map(|(_, took)| took).collect());
        let during = rest.into_iter().filter(|(at, _)| *at < ended);
        report("during", during.map(|(_, took)| took).collect());
    }
}

/// How the sessions end.
#[derive(Debug, Clone, Copy)]
enum How {
    /// Their clients leave, all at once: what the machine needs for so many ends.
    Leave,
    /// The gate cuts them.
    Cut,
}

/// What the clients say of their ends.
fn outcome(closed: &str, began: u64) -> String {
    let words: Vec<u64> = closed
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    let [count, told, last] = words[..] else {
        panic!("{closed}")
    };
    let took = Duration::from_nanos(last.saturating_sub(began)).as_millis();
    format!("{count} sessions ended, {told} read FATAL 57P01, the last after {took} ms")
}

fn report(when: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_micros();
    println!(
        "  round trips of other sessions {when}: {} measured, p50 {} us, p99 {} us, longest {} us",
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

fn write_config(directory: &Path, [acme, globex]: &[String; 2], acme_allows: &str) {
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"off\"\n[log]\nformat = \"json\"\nlevel = \"info\"\n\
         [limits]\nsessions = 20000\nsessions_per_project = 20000\nsessions_per_source = 20000\n\
         logins = 20000\nlogins_per_source = 20000\nconnections_per_second_per_source = 1000000\n\
         connection_burst_per_source = 1000000\n\
         [project.acme]\nhosts = [\"acme.localhost\"]\nallow = [\"{acme_allows}\"]\nbackend = \"postgres://{acme}\"\n\
         [project.globex]\nhosts = [\"globex.localhost\"]\nallow = [\"127.0.0.1\"]\nbackend = \"postgres://{globex}\"\n"
    );
    fs::write(directory.join("new"), text).unwrap();
    fs::rename(directory.join("new"), directory.join("proxy.toml")).unwrap();
}

/// A process of the measurement: it ends with this value, and with this process.
struct Helper {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Helper {
    /// Starts `program` with as many descriptors as the measurement needs.
    fn start(program: impl AsRef<OsStr>, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "prlimit", "--nofile=20000:20000"])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Self { child, lines }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let lines = self.lines.as_mut().unwrap();
        lines.next().expect("the process goes on").unwrap()
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// This program in another role.
fn this(role: &str, variables: &[(&str, &str)]) -> Helper {
    Helper::start(env::current_exe().unwrap(), |command| {
        command.env(ROLE, role).envs(variables.iter().copied());
    })
}

/// The gate, and how many sessions its log says have ended.
struct Gate {
    process: Helper,
    addr: SocketAddr,
    certs: PathBuf,
    ended: Arc<AtomicUsize>,
}

impl Gate {
    fn start(directory: &Path) -> Self {
        let mut process = Helper::start(env!("CARGO_BIN_EXE_portcullis"), |command| {
            command
                .arg("run")
                .current_dir(directory)
                .stderr(Stdio::piped());
        });
        let mut log = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let addr = log.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["address"].as_str()?.parse().ok()
        });
        let ended = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ended);
        std::thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                if line.contains("\"session ended\"") {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            process,
            addr: addr.expect("the gate listens"),
            certs: directory.join("certs"),
            ended,
        }
    }

    fn clients(&self) -> Helper {
        let addr = self.addr.to_string();
        let ca = self.certs.join("acme/ca.crt").display().to_string();
        this("clients", &[("GATE", &addr), ("CA", &ca)])
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// User and system time, from proc(5): in hundredths of a second.
    fn cpu_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
    }
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
    std::thread::spawn(|| {
        std::thread::sleep(LIFE);
        eprintln!("sessions did not end within {LIFE:?}");
        std::process::exit(1);
    });
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
    let (leave, told) = watch::channel(false);
    let mut ends = JoinSet::new();
    for session in sessions {
        ends.spawn(end(session, told.clone()));
    }
    println!("ready");
    tokio::task::spawn_blocking(move || {
        if std::io::stdin().lines().next().is_some() {
            leave.send_replace(true);
        }
    });
    let ends = ends.join_all().await;
    let told = ends.iter().filter(|(_, told)| *told).count();
    let last = ends.iter().map(|(at, _)| *at).max().unwrap();
    println!("{} {told} {last}", ends.len());
    std::process::exit(0);
}

/// Waits for the session's end, or ends it when told to: when that was, and whether the client read why.
async fn end(mut session: TlsStream<TcpStream>, mut leave: watch::Receiver<bool>) -> (u64, bool) {
    let mut rest = Vec::new();
    let is_cut = tokio::select! {
        closed = session.read_to_end(&mut rest) => closed.is_ok(),
        Ok(_) = leave.wait_for(|leave| *leave) => false,
    };
    if !is_cut {
        // Terminate.
        session.write_all(b"X\0\0\0\x04").await.unwrap();
        session.shutdown().await.unwrap();
        drop(session.read_to_end(&mut rest).await);
    }
    let told = is_cut && rest.windows(5).any(|word| word == b"57P01");
    (now(), told)
}

/// Sessions that go to and fro until they are told to stop.
struct Pings {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Vec<(Instant, Duration)>>,
}

async fn pinging(gate: SocketAddr, ca: &Path) -> Pings {
    let tls = connector(ca);
    let (stop, stopped) = watch::channel(false);
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
