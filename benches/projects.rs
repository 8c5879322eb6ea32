//! What a hundred thousand projects cost, each in a file of its own: start-up, memory, a change of
//! one of them, and a first login. As a Markdown table.
//!
//! `cargo bench --bench projects -- --projects 100000` (Linux)
//!
//! Memory per project is the difference between a gate with that many and one with a tenth of them.
//! All but a few of the projects have a backend that is verified by a shared CA; those few have a fake
//! one on this machine, so that there is something to log in to.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that can't go on has failed"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;

#[path = "../tests/it/support/unverified.rs"]
mod unverified;

/// Projects with a backend that answers.
const PROBES: usize = 50;
/// Changes whose times are measured.
const CHANGES: usize = 20;
/// After this the gate has nothing more to do of its own accord.
const REST: Duration = Duration::from_secs(3);
/// For how long it is watched doing nothing.
const IDLE: Duration = Duration::from_secs(20);
/// AuthenticationOk, BackendKeyData, ReadyForQuery.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";

fn main() {
    let projects = argument("--projects", 100_000);
    let few = Installation::new(projects / 10);
    let small = Measured::of(&few);
    drop(few);
    let large = Measured::of(&Installation::new(projects));
    println!(
        "| | {} projects | {projects} projects |\n|---|---|---|",
        projects / 10
    );
    let row = |what: &str, of: fn(&Measured) -> String| {
        println!("| {what} | {} | {} |", of(&small), of(&large));
    };
    row("start-up, s", |one| {
        format!("{:.2}", one.start.as_secs_f64())
    });
    row("CPU of it, s", |one| {
        format!("{:.2}", one.start_cpu.as_secs_f64())
    });
    row("memory (RSS), MiB", |one| {
        format!("{:.1}", one.memory as f64 / 1024.0)
    });
    row("a change told as in force, ms, median (worst)", |one| {
        times(&one.told)
    });
    row("CPU of a change, ms", |one| {
        let each = one.told_cpu / u32::try_from(CHANGES).unwrap();
        format!("{:.2}", each.as_secs_f64() * 1000.0)
    });
    row("a login by a changed rule, ms after the change", |one| {
        times(&one.login_after)
    });
    row("a first login to a project, ms", |one| {
        times(&one.first_login)
    });
    row("another login to it, ms", |one| times(&one.next_login));
    row("CPU while nothing happens, ms a second", |one| {
        format!(
            "{:.1}",
            one.idle_cpu.as_secs_f64() * 1000.0 / IDLE.as_secs_f64()
        )
    });
    let more = (large.memory - small.memory) * 1024;
    println!(
        "\nMemory of one project more: {} bytes",
        more / (projects - projects / 10)
    );
}

/// What was measured of one gate.
struct Measured {
    start: Duration,
    start_cpu: Duration,
    /// KiB.
    memory: usize,
    told: Vec<Duration>,
    told_cpu: Duration,
    login_after: Vec<Duration>,
    first_login: Vec<Duration>,
    next_login: Vec<Duration>,
    idle_cpu: Duration,
}

impl Measured {
    fn of(installation: &Installation) -> Self {
        let begun = Instant::now();
        let gate = Gate::start(installation.directory.path());
        let (start, start_cpu) = (begun.elapsed(), gate.cpu());
        thread::sleep(REST);
        let memory = gate.memory();
        let before = gate.cpu();
        thread::sleep(IDLE);
        let idle_cpu = gate.cpu() - before;
        let before = gate.cpu();
        let told = (0..CHANGES).map(|at| {
            while gate.reloads.try_recv().is_ok() {}
            installation.set_rule(0, &format!("192.0.2.{at}"));
            gate.in_force()
        });
        let told = told.collect();
        let told_cpu = gate.cpu() - before;
        let login_after = (0..CHANGES).map(|at| {
            installation.set_rule(
                1,
                if at % 2 == 0 {
                    "127.0.0.1"
                } else {
                    "192.0.2.1"
                },
            );
            let changed = Instant::now();
            while gate.login(1).is_some() != (at % 2 == 0) {}
            changed.elapsed()
        });
        let login_after = login_after.collect();
        let logins = || {
            (2..PROBES)
                .map(|at| gate.login(at).expect("a login"))
                .collect()
        };
        Self {
            start,
            start_cpu,
            memory,
            told,
            told_cpu,
            login_after,
            first_login: logins(),
            next_login: logins(),
            idle_cpu,
        }
    }
}

fn times(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    let (median, worst) = (&sorted[sorted.len() / 2], &sorted[sorted.len() - 1]);
    format!("{:.1} ({:.1})", millis(median), millis(worst))
}

/// A directory with so many projects, and a backend that lets everybody in.
struct Installation {
    directory: TempDir,
    backend: SocketAddr,
}

impl Installation {
    fn new(projects: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let within = directory.path().join("projects.d");
        fs::create_dir(&within).unwrap();
        fs::write(directory.path().join("proxy.toml"), MAIN).unwrap();
        fs::write(directory.path().join("root.crt"), root()).unwrap();
        for at in PROBES..projects {
            let text = format!(
                "[project.tenant-{at}]\nhosts = [\"tenant-{at}.db.example.com\"]\n\
                 allow = [\"203.0.113.0/24\", \"tag:office\"]\n\
                 backend = \"postgres://10.{}.{}.{}:5432\"\n\
                 sslmode = \"verify-full\"\nsslrootcert = \"../root.crt\"\n",
                at >> 16 & 255,
                at >> 8 & 255,
                at & 255,
            );
            fs::write(within.join(format!("tenant-{at}.toml")), text).unwrap();
        }
        let installation = Self {
            directory,
            backend: backend(),
        };
        for at in 0..PROBES {
            installation.set_rule(at, "127.0.0.1");
        }
        installation
    }

    /// Replaces the file of a project that can be logged in to.
    fn set_rule(&self, at: usize, allow: &str) {
        let text = format!(
            "[project.tenant-{at}]\nhosts = [\"tenant-{at}.db.example.com\"]\n\
             allow = [\"{allow}\"]\nbackend = \"postgres://{}\"\n",
            self.backend
        );
        let path = self
            .directory
            .path()
            .join(format!("projects.d/tenant-{at}.toml"));
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }
}

const MAIN: &str = "listen = [\"127.0.0.1:0\"]\ninclude = [\"projects.d/*.toml\"]\n\
    [admin]\nlisten = \"off\"\n[log]\nformat = \"json\"\n\
    [limits]\nconnections_per_second_per_source = 1000000\n\
    connection_burst_per_source = 1000000\nrefusals_explained_per_minute_per_source = 1000000\n\
    [tags]\noffice = [\"198.51.100.0/24\"]\n";

/// A CA, PEM.
fn root() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            thread::spawn(move || -> std::io::Result<()> {
                let mut socket = socket?;
                let mut startup = [0; 1024];
                let _read = socket.read(&mut startup)?;
                socket.write_all(WELCOME)?;
                // Until the client is gone.
                let _read = socket.read(&mut startup)?;
                Ok(())
            });
        }
    });
    address
}

struct Gate {
    process: Child,
    address: SocketAddr,
    /// When a change was told as in force.
    reloads: Receiver<Instant>,
    client: Arc<ClientConfig>,
    directory: PathBuf,
}

impl Gate {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg("run")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log.by_ref().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["address"].as_str()?.parse().ok()
        });
        let (told, reloads) = channel();
        thread::spawn(move || {
            for line in log.map_while(Result::ok) {
                let is_told = line.contains("\"configuration reloaded\"");
                if is_told && told.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = unverified::Unverified(Arc::clone(&provider));
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Self {
            process,
            address: address.expect("the gate listens"),
            reloads,
            client: Arc::new(client),
            directory: directory.to_path_buf(),
        }
    }

    /// How long from now until the next change is told as in force.
    fn in_force(&self) -> Duration {
        let begun = Instant::now();
        self.reloads
            .recv()
            .unwrap()
            .saturating_duration_since(begun)
    }

    /// Logs in; how long it took, if the project let us in.
    fn login(&self, at: usize) -> Option<Duration> {
        let begun = Instant::now();
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f").unwrap();
        let mut answer = [0];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"S");
        let name = ServerName::try_from(format!("tenant-{at}.db.example.com")).unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        stream
            .write_all(b"\0\0\0\x12\0\x03\0\0user\0ada\0\0")
            .unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        if first == [b'E'] {
            return None;
        }
        let mut rest = vec![0; WELCOME.len() - 1];
        stream.read_exact(&mut rest).unwrap();
        Some(begun.elapsed())
    }

    /// User and system time so far, from proc(5): in hundredths of a second.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// What of it is in memory, in KiB.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended by itself; then its log would have told.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(self.directory.join("certs")));
    }
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments
        .nth(1)
        .map_or(default, |value| value.parse().unwrap())
}
