//! The gate as its users run it: the binary, a proxy.toml, and what it logs.

mod command;
mod log;
mod settings;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use tempfile::TempDir;

use super::raw::{Secured, TlsClient};

pub(crate) use command::{Ran, ca, check, edited, rules, run};
pub(crate) use log::{Log, text};
pub(crate) use settings::{Project, Settings};

/// A running gate; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    process: Child,
    directory: TempDir,
    log: Log,
    addr: SocketAddr,
}

impl Gate {
    /// Starts a gate for `projects`, and waits until it listens.
    pub(crate) fn start(projects: &[Project]) -> Self {
        Self::with(&Settings::new(projects))
    }

    /// Starts a gate with `settings`, and waits until it listens.
    pub(crate) fn with(settings: &Settings) -> Self {
        Self::within(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts a gate in a directory where something may lie already, such as certificates.
    pub(crate) fn within(directory: TempDir, settings: &Settings) -> Self {
        let config = directory.path().join("proxy.toml");
        fs::write(&config, settings.to_toml()).unwrap();
        let mut process = program(settings.descriptors)
            .args(["run", "--config"])
            .arg(&config)
            .current_dir(directory.path())
            .env_remove("RUST_LOG")
            .envs(settings.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(process.stderr.take().unwrap());
        let line = log.wait("listening", |line| text(line, "message") == "listening");
        let addr = text(&line, "address")
            .parse()
            .expect("the address that is listened on");
        Self {
            process,
            directory,
            log,
            addr,
        }
    }

    /// The first address that is listened on.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn port(&self) -> String {
        self.addr.port().to_string()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    /// What the admin listener answers to `GET path`.
    pub(crate) fn admin(&self, path: &str) -> String {
        let line = self.log.wait("the admin listener", |line| {
            text(line, "message") == "metrics and health"
        });
        let mut stream = TcpStream::connect(text(&line, "address")).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A file of a project's, such as `ca.crt`.
    pub(crate) fn file(&self, project: &str, name: &str) -> PathBuf {
        self.directory.path().join("certs").join(project).join(name)
    }

    /// A client that trusts `project`, and names it.
    pub(crate) fn tls(&self, project: &str) -> TlsClient {
        TlsClient::new(
            &self.file(project, "ca.crt"),
            &format!("{project}.localhost"),
        )
    }

    /// A connection inside TLS, to `project`.
    pub(crate) fn connect(&self, project: &str) -> Secured {
        Secured::connect(self.addr, &self.tls(project))
    }

    /// Replaces proxy.toml, by rename as editors do.
    pub(crate) fn rewrite(&self, settings: &Settings) {
        self.rewrite_text(&settings.to_toml());
    }

    pub(crate) fn rewrite_text(&self, toml: &str) {
        let new = self.directory.path().join("proxy.toml.new");
        fs::write(&new, toml).unwrap();
        fs::rename(new, self.directory.path().join("proxy.toml")).unwrap();
    }

    /// Runs `portcullis ca` on this gate's proxy.toml.
    pub(crate) fn ca(&self, arguments: &[&str]) -> Ran {
        ca(self.directory.path(), arguments)
    }

    /// Runs `portcullis rules` on this gate's proxy.toml, by nobody who came over SSH.
    pub(crate) fn rules(&self, arguments: &[&str]) -> Ran {
        rules(self.directory.path(), arguments, None)
    }

    /// Runs `portcullis deny` on this gate's proxy.toml, by nobody who came over SSH.
    pub(crate) fn deny(&self, arguments: &[&str]) -> Ran {
        edited("deny", self.directory.path(), arguments, None)
    }

    /// The same as [`Self::rules`] by somebody who came over SSH from `address`.
    pub(crate) fn rules_from(&self, address: &str, arguments: &[&str]) -> Ran {
        rules(self.directory.path(), arguments, Some(address))
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        super::signal(&self.process, name);
    }

    /// Ends the gate; what it leaves behind, to start another one in.
    pub(crate) fn stopped(self) -> TempDir {
        let kept = tempfile::tempdir().unwrap();
        let all = self.directory.path().join(".");
        let status = Command::new("cp")
            .arg("-pR")
            .arg(all)
            .arg(kept.path())
            .status();
        assert!(status.unwrap().success());
        kept
    }

    /// Waits until the gate has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

/// The program, under `prlimit` if it is to have few descriptors.
fn program(descriptors: Option<u32>) -> Command {
    let portcullis = env!("CARGO_BIN_EXE_portcullis");
    let Some(most) = descriptors else {
        return Command::new(portcullis);
    };
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nofile={most}:{most}"))
        .arg(portcullis);
    command
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.process.kill().expect("the gate is ours to end");
        self.process.wait().expect("the gate ends");
        if thread::panicking() {
            eprintln!("--- the gate's log ---\n{}", self.log.raw());
        }
    }
}

/// A directory to start a gate in, with files that only their owner can read.
pub(crate) fn directory_of(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        let path = directory.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    directory
}
