//! Real clients, as programs.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::cli::demo::installation::Installation;

use super::gate::Gate;
use super::postgres::{PASSWORD, tool};

/// A client program that will not take what it isn't given: no environment of the tester's, no home.
#[derive(Debug)]
pub(crate) struct Client {
    command: Command,
}

impl Client {
    /// Enough for the slowest of them on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(120);

    fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("PGPASSWORD", PASSWORD)
            .env("PGCONNECT_TIMEOUT", "30")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command }
    }

    /// One of PostgreSQL's own programs.
    pub(crate) fn postgresql(name: &'static str) -> Self {
        Self::new(Installation::find().unwrap().program(name).unwrap())
    }

    /// `psql`, printing rows on lines, to the database that `conninfo` describes.
    pub(crate) fn psql(conninfo: &str) -> Self {
        Self::postgresql("psql").args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", conninfo])
    }

    /// A Python script of `tests/it/clients/`, with psycopg (libpq 18) and asyncpg at hand.
    pub(crate) fn python(script: &str) -> Self {
        Self::new(tool("python/bin/python").path()).arg(client_script(script))
    }

    /// A Node script of `tests/it/clients/`, with node-postgres at hand.
    pub(crate) fn node(script: &str) -> Self {
        let modules = tool("node/node_modules");
        let client = Self::new("node").arg(client_script(script));
        client.env("NODE_PATH", modules.path())
    }

    /// A Java program of `tests/it/clients/`, with pgjdbc at hand.
    pub(crate) fn java(program: &str) -> Self {
        let jar = "/usr/share/java/postgresql.jar";
        // It is compiled and run once: to compile it well would take longer than it runs.
        Self::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", jar])
            .arg(client_script(program))
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, which comes in time or fails the test.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        self.start().finish()
    }

    /// Runs it to its end, which is a success; what it printed, with no line end behind it.
    #[track_caller]
    pub(crate) fn prints(self) -> String {
        let ran = self.run();
        assert!(ran.succeeded, "{ran}");
        ran.stdout.trim_end().to_owned()
    }

    /// Runs it to its end, which is a failure; what it complained of.
    #[track_caller]
    pub(crate) fn fails(self) -> String {
        let ran = self.run();
        assert!(!ran.succeeded, "{ran}");
        ran.stderr
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        Running {
            child: self.command.spawn().unwrap(),
        }
    }
}

fn client_script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/clients")
        .join(name)
}

/// A client program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Sends it a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        super::signal(&self.child, name);
    }

    /// Waits for its end: of what it says, which a program that has ended says no more of.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ran {
        let deadline = Instant::now() + Client::PATIENCE;
        let stdout = drain(self.child.stdout.take());
        let stderr = drain(self.child.stderr.take());
        let until = |said: &Receiver<String>| {
            said.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        };
        let (Ok(out), Ok(err)) = (until(&stdout), until(&stderr)) else {
            self.child.kill().unwrap();
            let said: Vec<_> = stdout.iter().chain(&stderr).collect();
            panic!("the client hangs; it said:\n{}", said.join("\n"));
        };
        Ran {
            succeeded: self.child.wait().unwrap().success(),
            stdout: out,
            stderr: err,
        }
    }
}

/// All that a program says, once it has said it.
fn drain(from: Option<impl io::Read + Send + 'static>) -> Receiver<String> {
    let (tell, said) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.unwrap().read_to_end(&mut bytes).unwrap();
        // Nobody waits for it if the other one hung.
        tell.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
    });
    said
}

/// How a client program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)
    }
}

/// What a user of `project` would paste: `sslmode=verify-full`, as `alice`, to her database.
pub(crate) fn conninfo(gate: &Gate, project: &str) -> String {
    format!(
        "host={project}.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app \
         sslmode=verify-full sslrootcert={}",
        gate.port(),
        gate.file(project, "ca.crt").display()
    )
}
