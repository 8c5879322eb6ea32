//! The gate that is demonstrated: this very program, run as a user would run it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::account::Account;
use super::cluster::Cluster;
use super::leash::{Leash, Program, words};

/// A running gate; it ends, and its files go, when this is dropped or this process dies.
pub(super) struct Gate {
    process: Leash,
    directory: TempDir,
    addr: SocketAddr,
}

impl Gate {
    /// Enough for a slow machine to make the certificates.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Starts a gate for `projects` (name, and whom it lets in) on a free port, and waits until it
    /// listens.
    pub(super) fn start(projects: &[(&str, &str)], cluster: &Cluster) -> Result<Self, GateError> {
        let directory = tempfile::Builder::new().prefix("portcullis-").tempdir()?;
        let config = directory.path().join("proxy.toml");
        fs::write(&config, proxy_toml(projects, cluster.port()))?;
        let log = File::create(directory.path().join(LOG))?;
        let mut process = Leash::start(Program {
            command: words(&[&std::env::current_exe()?, &"run", &"--config", &config]),
            signal: "TERM",
            directory: directory.path(),
            log,
            account: &Account::own(),
        })?;
        let addr = await_addr(&mut process, &directory.path().join(LOG))?;
        Ok(Self {
            process,
            directory,
            addr,
        })
    }

    /// Where it listens.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its proxy.toml.
    pub(super) fn config(&self) -> PathBuf {
        self.directory.path().join("proxy.toml")
    }

    /// Where it logs.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.path().join(LOG)
    }

    /// A connection string in lines that fit a terminal. `hostaddr` is there because not every
    /// system resolves names under `localhost` (RFC 6761 section 6.3).
    pub(super) fn conninfo(&self, project: &str, password: &str) -> [String; 4] {
        [
            format!(
                "host={project}.localhost hostaddr={} port={}",
                self.addr.ip(),
                self.addr.port()
            ),
            format!("user={project} password={password} dbname={project}"),
            "sslmode=verify-full".to_owned(),
            format!("sslrootcert={}", self.ca(project).display()),
        ]
    }

    /// The CA certificate of a project.
    pub(super) fn ca(&self, project: &str) -> PathBuf {
        self.directory
            .path()
            .join("certs")
            .join(project)
            .join("ca.crt")
    }

    /// That it still runs.
    pub(super) fn check(&mut self) -> Result<(), GateError> {
        match self.process.ended()? {
            None => Ok(()),
            Some(_) => Err(last_words(&self.log())),
        }
    }
}

const LOG: &str = "gate.log";

fn proxy_toml(projects: &[(&str, &str)], backend_port: u16) -> String {
    let mut text = "# Made by `portcullis demo`. A change is in force as soon as it is saved.\n\
                    listen = [\"127.0.0.1:0\"]\n\
                    certs = \"certs\"\n\
                    drain_timeout = \"0s\"\n\n\
                    [log]\nformat = \"json\"\n\n\
                    [admin]\nlisten = \"off\"\n"
        .to_owned();
    for (project, allowed) in projects {
        write!(
            text,
            "\n[project.{project}]\n\
             hosts = [\"{project}.localhost\"]\n\
             allow = [\"{allowed}\"]\n\
             backend = \"postgres://127.0.0.1:{backend_port}\"\n"
        )
        .expect("a String takes everything");
    }
    text
}

/// Waits for the log line that says where the gate listens.
fn await_addr(process: &mut Leash, log: &Path) -> Result<SocketAddr, GateError> {
    let deadline = Instant::now() + Gate::PATIENCE;
    loop {
        if let Some(addr) = fs::read_to_string(log)?.lines().find_map(listening_addr) {
            return Ok(addr);
        }
        if process.ended()?.is_some() || Instant::now() > deadline {
            return Err(last_words(log));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn listening_addr(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let is_it = fields.get("message")? == "listening";
    is_it.then(|| fields.get("address")?.as_str()?.parse().ok())?
}

fn last_words(log: &Path) -> GateError {
    let log = fs::read_to_string(log).unwrap_or_default();
    GateError::Ended {
        words: log.trim_end().to_owned(),
    }
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    #[error("the gate ended:\n{words}")]
    Ended { words: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_says_so_and_from_no_other() {
        let line =
            r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:4711"}}"#;
        assert_eq!(listening_addr(line).unwrap().port(), 4711);
        let flat = r#"{"message":"listening","address":"[::1]:4712"}"#;
        assert_eq!(listening_addr(flat).unwrap().port(), 4712);
        for other in [
            "",
            "listening",
            r#"{"message":"session opened","address":"127.0.0.1:1"}"#,
        ] {
            assert_eq!(listening_addr(other), None, "{other}");
        }
    }
}
