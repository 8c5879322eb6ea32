//! What an idle session costs in memory: the real gate's proportional set size (PSS) with so many
//! sessions over TLS, each of which has logged in and moved 64 KiB each way; and what is still
//! there when they have gone. As a Markdown table.
//!
//! `cargo bench --bench idle -- --sessions 5000` (Linux; needs four file descriptors a session,
//! half of them in this process)
//!
//! `kernel` is what sockets and TCP take beside it, on the whole machine.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// How long a gate has to give memory back.
const REST: Duration = Duration::from_secs(10);

/// What each session moves each way before it idles, in bytes.
const MOVED: usize = 64 * 1024;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// AuthenticationOk, BackendKeyData, ReadyForQuery.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";

fn main() {
    let sessions = argument("--sessions", 1_000);
    println!(
        "| backend leg | sessions | gate before, KiB | bytes a session | kernel, bytes a session | \
         still there after {REST:?} |\n|---|---|---|---|---|---|"
    );
    for with_tls in [false, true] {
        measure(sessions, with_tls);
    }
}

fn measure(sessions: usize, with_tls: bool) {
    let gate = Gate::start(backend(with_tls), with_tls);
    // One session first, so that what is made once isn't counted.
    drop(gate.session());
    thread::sleep(Duration::from_millis(200));
    let (before, kernel_before) = (gate.pss(), kernel());
    let clients: Vec<Client> = (0..sessions).map(|_| gate.session()).collect();
    thread::sleep(Duration::from_secs(1));
    let (during, kernel_during) = (gate.pss(), kernel());
    drop(clients);
    thread::sleep(REST);
    let after = gate.pss();
    let leg = if with_tls { "TLS" } else { "plain TCP" };
    println!(
        "| {leg} | {sessions} | {} | {} | {} | {:.0} % |",
        before / 1024,
        during.saturating_sub(before) / sessions,
        kernel_during.saturating_sub(kernel_before) / sessions,
        100.0 * after.saturating_sub(before) as f64 / during.saturating_sub(before) as f64,
    );
}

/// The gate's binary, with a proxy.toml of its own.
struct Gate {
    process: Child,
    address: SocketAddr,
    client: Arc<ClientConfig>,
    _directory: TempDir,
}

impl Gate {
    fn start(backend: SocketAddr, with_tls: bool) -> Self {
        let directory = TempDir::new().expect("a directory");
        let sslmode = if with_tls { "require" } else { "disable" };
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\ncerts = \"certs\"\n[admin]\nlisten = \"off\"\n\
             [log]\nformat = \"json\"\n\
             [limits]\nsessions = 100000\nsessions_per_project = 100000\n\
             sessions_per_source = 100000\nconnections_per_second_per_source = 100000\n\
             connection_burst_per_source = 100000\n\
             [project.acme]\nhosts = [\"acme.localhost\"]\nallow = [\"127.0.0.1\"]\n\
             backend = \"postgres://{backend}\"\nsslmode = \"{sslmode}\"\n"
        );
        let file = directory.path().join("proxy.toml");
        fs::write(&file, config).expect("a file");
        let mut process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "--config"])
            .arg(&file)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gate");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe"));
        let address = listening(&mut log);
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let client = trusting(&directory.path().join("certs/acme/ca.crt"));
        Self {
            process,
            address,
            client,
            _directory: directory,
        }
    }

    /// A session that has logged in, moved some bytes, and idles.
    fn session(&self) -> Client {
        let mut socket = TcpStream::connect(self.address).expect("the gate");
        socket.set_nodelay(true).expect("a socket");
        socket
            .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")
            .expect("a peer");
        let mut answer = [0];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"S");
        let name = ServerName::try_from("acme.localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut stream = StreamOwned::new(connection, socket);
        stream
            .write_all(b"\0\0\0\x12\0\x03\0\0user\0ada\0\0")
            .expect("a session");
        let mut welcome = vec![0; WELCOME.len()];
        stream.read_exact(&mut welcome).expect("a welcome");
        assert_eq!(welcome, WELCOME);
        let mut chunk = vec![7; MOVED];
        stream.write_all(&chunk).expect("a session");
        stream.read_exact(&mut chunk).expect("an echo");
        stream
    }

    /// In bytes.
    fn pss(&self) -> usize {
        let file = format!("/proc/{}/smaps_rollup", self.process.id());
        1024 * field(&file, "Pss:", 1)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn listening(log: &mut impl BufRead) -> SocketAddr {
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(&line.expect("a line")).expect("a line of JSON");
        if line["message"] == "listening" {
            let address = line["address"].as_str().expect("an address");
            return address.parse().expect("an address");
        }
    }
    panic!("the gate has ended");
}

fn trusting(ca: &Path) -> Arc<ClientConfig> {
    let ca = CertificateDer::from_pem_file(ca).expect("the project's CA");
    let mut roots = RootCertStore::empty();
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A backend that welcomes everybody and sends back whatever comes, in a thread of its own.
fn backend(with_tls: bool) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || accept(listener, with_tls));
    address
}

#[tokio::main(flavor = "current_thread")]
async fn accept(listener: std::net::TcpListener, with_tls: bool) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    let tls = TlsAcceptor::from(server_config());
    loop {
        let (mut socket, _) = listener.accept().await.expect("a gate");
        let tls = tls.clone();
        tokio::spawn(async move {
            if with_tls {
                socket.read_exact(&mut [0; 8]).await?;
                socket.write_all(b"S").await?;
                echo(tls.accept(socket).await?).await
            } else {
                echo(socket).await
            }
        });
    }
}

async fn echo(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let length = from.read_u32().await? as usize;
    from.read_exact(&mut vec![0; length - 4]).await?;
    to.write_all(WELCOME).await?;
    to.flush().await?;
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

fn server_config() -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let leaf: CertificateDer<'static> = params.self_signed(&key).expect("a leaf").into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .expect("a leaf");
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// What the kernel's slabs take, in bytes.
fn kernel() -> usize {
    1024 * field("/proc/meminfo", "Slab:", 1)
}

/// The number in the line that begins with `name`.
fn field(file: &str, name: &str, position: usize) -> usize {
    let text = fs::read_to_string(file).expect("Linux");
    let line = text.lines().find(|line| line.starts_with(name));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    words[position].parse().expect("a number")
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != name)
        .skip(1);
    arguments
        .next()
        .map_or(default, |value| value.parse().expect("a number"))
}
