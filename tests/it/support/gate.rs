//! The gate as its users run it: the binary, a proxy.toml, and what it logs.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;
use super::raw::{Secured, TlsClient};

/// A `[project.NAME]` table. Its host is `NAME.localhost`, its allow list 127.0.0.1, until told
/// otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    name: &'static str,
    keys: Vec<(String, String)>,
}

impl Project {
    pub(crate) fn new(name: &'static str, backend: &str) -> Self {
        let project = Self {
            name,
            keys: Vec::new(),
        };
        let host = format!("{name}.localhost");
        project
            .text_list("hosts", &[&host])
            .text_list("allow", &["127.0.0.1"])
            .text("backend", backend)
    }

    /// Sets a key to a TOML value.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.set(key, &format!("{value:?}"))
    }

    pub(crate) fn text_list(self, key: &str, values: &[&str]) -> Self {
        self.set(key, &format!("{values:?}"))
    }

    pub(crate) fn allow(self, sources: &[&str]) -> Self {
        self.text_list("allow", sources)
    }

    pub(crate) fn hosts(self, hosts: &[&str]) -> Self {
        self.text_list("hosts", hosts)
    }

    fn to_toml(&self) -> String {
        let mut text = format!("\n[project.{}]\n", self.name);
        for (key, value) in &self.keys {
            writeln!(text, "{key} = {value}").unwrap();
        }
        text
    }
}

/// A proxy.toml.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    listen: Vec<String>,
    top: Vec<String>,
    limits: Vec<String>,
    tables: String,
    admin: &'static str,
    log_level: &'static str,
    projects: Vec<Project>,
    descriptors: Option<u32>,
    env: Vec<(&'static str, PathBuf)>,
}

impl Settings {
    /// Listens on 127.0.0.1 for `projects`, with no limit that a test would meet by accident.
    pub(crate) fn new(projects: &[Project]) -> Self {
        let generous = [
            "connections_per_second_per_source",
            "connection_burst_per_source",
            "cancels_per_second_per_source",
            "refusals_explained_per_minute_per_source",
        ];
        Self {
            listen: vec!["127.0.0.1:0".to_owned()],
            top: Vec::new(),
            limits: generous
                .iter()
                .map(|limit| format!("{limit} = 100000"))
                .collect(),
            tables: String::new(),
            admin: "off",
            log_level: "info",
            projects: projects.to_vec(),
            descriptors: None,
            env: Vec::new(),
        }
    }

    /// Lets the process have so many descriptors and no more.
    pub(crate) fn descriptors(self, most: u32) -> Self {
        Self {
            descriptors: Some(most),
            ..self
        }
    }

    /// Sets a variable of the gate's environment to a path.
    pub(crate) fn env(mut self, name: &'static str, value: &Path) -> Self {
        self.env.push((name, value.to_path_buf()));
        self
    }

    pub(crate) fn listen(self, addresses: &[&str]) -> Self {
        Self {
            listen: addresses.iter().map(ToString::to_string).collect(),
            ..self
        }
    }

    /// Adds a line at the top: a key of no table.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Serves metrics, health and revocation lists, on a port of 127.0.0.1.
    pub(crate) fn with_admin(self) -> Self {
        Self {
            admin: "127.0.0.1:0",
            ..self
        }
    }

    pub(crate) fn log_level(self, log_level: &'static str) -> Self {
        Self { log_level, ..self }
    }

    /// Adds a table.
    pub(crate) fn table(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// Adds a line to `[limits]`, in place of one with the same key.
    pub(crate) fn limit(mut self, line: &str) -> Self {
        let key = |line: &str| line.split_once(" =").map(|(key, _)| key.to_owned());
        self.limits.retain(|other| key(other) != key(line));
        self.limits.push(line.to_owned());
        self
    }

    /// The file.
    pub(crate) fn to_toml(&self) -> String {
        let projects: String = self.projects.iter().map(Project::to_toml).collect();
        format!(
            "listen = {:?}\ncerts = \"certs\"\n{}\n\n[admin]\nlisten = {:?}\n\n\
             [log]\nformat = \"json\"\nlevel = {:?}\n\n[limits]\n{}\n\n{}\n{projects}",
            self.listen,
            self.top.join("\n"),
            self.admin,
            self.log_level,
            self.limits.join("\n"),
            self.tables,
        )
    }
}

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

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `portcullis rules` on the proxy.toml of a directory, by somebody who came over SSH from an
/// address or by nobody who did.
pub(crate) fn rules(directory: &Path, arguments: &[&str], ssh_from: Option<&str>) -> Ran {
    edited("rules", directory, arguments, ssh_from)
}

/// Runs a family of commands that edit it.
pub(crate) fn edited(
    family: &str,
    directory: &Path,
    arguments: &[&str],
    ssh_from: Option<&str>,
) -> Ran {
    let mut command = portcullis(family, directory, arguments);
    command
        .env_remove("SSH_CONNECTION")
        .env_remove("SSH_CLIENT");
    if let Some(address) = ssh_from {
        command.env("SSH_CONNECTION", format!("{address} 50000 192.0.2.1 22"));
    }
    ran(command)
}

/// Runs `portcullis ca` on the proxy.toml of a directory.
pub(crate) fn ca(directory: &Path, arguments: &[&str]) -> Ran {
    ran(portcullis("ca", directory, arguments))
}

/// Runs `portcullis check` on `settings` in a directory.
pub(crate) fn check(directory: &Path, settings: &Settings) -> Ran {
    fs::write(directory.join("proxy.toml"), settings.to_toml()).unwrap();
    ran(portcullis("check", directory, &["--quiet"]))
}

/// Runs a gate that is not to start, to its end.
pub(crate) fn run(directory: &Path, settings: &Settings) -> Ran {
    fs::write(directory.join("proxy.toml"), settings.to_toml()).unwrap();
    let mut command = portcullis("run", directory, &[]);
    command.env_remove("RUST_LOG");
    command.envs(settings.env.iter().map(|(name, value)| (name, value)));
    ran(command)
}

fn portcullis(family: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg(family).args(arguments).current_dir(directory);
    command
}

fn ran(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
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

/// A field of a log line, as text; empty if it is not there.
pub(crate) fn text(line: &Value, field: &str) -> String {
    let value = line.get(field).or_else(|| line.get("fields")?.get(field));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// What the gate has logged up to now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    fn follow(stderr: ChildStderr) -> Self {
        let log = Self::default();
        let lines = log.lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().unwrap().lines.push(line);
                lines.1.notify_all();
            }
            lines.0.lock().unwrap().ended = true;
            lines.1.notify_all();
        });
        log
    }

    /// Every line, as it came.
    pub(crate) fn raw(&self) -> String {
        self.lines.0.lock().unwrap().lines.join("\n")
    }

    /// Every line, parsed.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines
            .0
            .lock()
            .unwrap()
            .lines
            .iter()
            .map(|line| parse(line))
            .collect()
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.0.lock().unwrap().lines.len()
    }

    /// Waits for the first line of which `is_it` holds.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_after(0, what, is_it)
    }

    /// Waits for the first line after the first `count` of which `is_it` holds.
    #[track_caller]
    pub(crate) fn wait_after(
        &self,
        count: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        let mut seen = count;
        loop {
            while let Some(line) = lines.lines.get(seen) {
                let line = parse(line);
                if is_it(&line) {
                    return line;
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let log = lines.lines.join("\n");
                drop(lines);
                panic!("the gate never logged {what:?}; it logged:\n{log}");
            }
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A line that is not JSON (a panic, a usage error) stands for itself.
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
}
