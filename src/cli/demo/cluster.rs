//! A throwaway PostgreSQL cluster in a temporary directory.

mod place;

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::place::Place;
pub use self::place::initialise;
use super::account::Account;
use super::installation::{Installation, Missing};
use super::leash::{Leash, Program, words};

/// What a cluster is to be like.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The password of the superuser, `postgres`, when it comes over TCP.
    pub password: String,
    /// Lines appended to `postgresql.conf`.
    pub settings: Vec<String>,
    /// Lines put before `pg_hba.conf`'s own, which trust the Unix socket and ask for SCRAM on
    /// loopback.
    pub hba: Vec<String>,
    /// Files put into the data directory, readable by the server alone: certificates and keys.
    pub files: Vec<(&'static str, String)>,
    /// A data directory to copy instead of running `initdb`; its password is the one it was made
    /// with.
    pub template: Option<PathBuf>,
}

/// A running cluster, on loopback and on a Unix socket that only its own account can reach. It
/// ends, and its files go, when this is dropped or this process dies.
#[derive(Debug)]
pub struct Cluster {
    // Before `directory`: the server ends before its files go.
    _server: Leash,
    directory: TempDir,
    port: u16,
    psql: PathBuf,
}

impl Cluster {
    /// Enough for a slow machine to recover from a crash.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// A free port can be taken by somebody else before the server has bound it.
    const PORT_ATTEMPTS: usize = 5;
    /// What PostgreSQL accepts for a Unix socket's path (`sun_path` less its final zero byte).
    const SOCKET_PATH_LENGTH: usize = 103;

    /// Makes and starts a cluster, and waits until it accepts connections.
    ///
    /// # Errors
    /// If a program is missing, or the server doesn't start; with its own last words.
    pub fn start(installation: &Installation, plan: &Plan) -> Result<Self, ClusterError> {
        let account = Account::unprivileged().ok_or(ClusterError::NoAccount)?;
        let psql = installation.program("psql")?;
        let directory = short_directory()?;
        account.own_path(directory.path())?;
        let place = Place {
            root: directory.path(),
            account: &account,
        };
        place.prepare(installation, plan)?;
        let mut attempt = 1;
        loop {
            match launch(installation, &place) {
                Ok((server, port)) => {
                    return Ok(Self {
                        _server: server,
                        directory,
                        port,
                        psql,
                    });
                }
                Err(Launch::PortTaken) if attempt < Self::PORT_ATTEMPTS => attempt += 1,
                Err(Launch::PortTaken) => return Err(ClusterError::NoPort),
                Err(Launch::Other(error)) => return Err(error),
            }
        }
    }

    /// The TCP port on 127.0.0.1, also part of the Unix socket's name.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of `psql`.
    #[must_use]
    pub fn psql(&self) -> &Path {
        &self.psql
    }

    /// Runs `sql` as the superuser through the Unix socket, and returns what it prints: rows on
    /// lines, columns parted by `|`.
    ///
    /// # Errors
    /// If psql says so, in its words.
    pub fn sql(&self, sql: &str) -> Result<String, ClusterError> {
        let output = Command::new(&self.psql)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-c",
                sql,
            ])
            .arg("-h")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "postgres"])
            .output()?;
        printed("psql", output)
    }

    /// What the server has logged.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.directory.path().join(LOG))
    }
}

const LOG: &str = "log";

/// A temporary directory whose path leaves room for the socket's name.
fn short_directory() -> io::Result<TempDir> {
    let fits = |directory: &TempDir| {
        directory.path().join(".s.PGSQL.65535").as_os_str().len() <= Cluster::SOCKET_PATH_LENGTH
    };
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("portcullis-");
    let usual = builder.tempdir()?;
    if fits(&usual) {
        Ok(usual)
    } else {
        builder.tempdir_in("/tmp")
    }
}

/// Why a launch came to nothing.
enum Launch {
    PortTaken,
    Other(ClusterError),
}

impl<E: Into<ClusterError>> From<E> for Launch {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Starts the server on a port that was free a moment ago.
fn launch(installation: &Installation, place: &Place<'_>) -> Result<(Leash, u16), Launch> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let log = place.root.join(LOG);
    let postgres = installation.program("postgres")?;
    let mut server = Leash::start(Program {
        command: words(&[&postgres, &"-D", &place.data(), &"-p", &port.to_string()]),
        // Immediate shutdown: nothing here is worth a checkpoint, and it is bounded in time.
        signal: "QUIT",
        directory: place.root,
        log: File::create(&log)?,
        account: place.account,
    })?;
    let deadline = Instant::now() + Cluster::PATIENCE;
    loop {
        if is_ready(&place.data()) {
            return Ok((server, port));
        }
        let ended = server.ended()?.is_some();
        if ended || Instant::now() > deadline {
            return Err(last_words(&fs::read_to_string(&log)?));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The eighth line of `postmaster.pid` is the server's status (PostgreSQL, `pidfile.h`).
fn is_ready(data: &Path) -> bool {
    let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    status
        .lines()
        .nth(7)
        .is_some_and(|line| line.trim_end() == "ready")
}

fn last_words(log: &str) -> Launch {
    if log.contains("Address already in use") {
        return Launch::PortTaken;
    }
    let lines: Vec<_> = log.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(20)..)
        .unwrap_or_default();
    Launch::Other(ClusterError::Program {
        name: "postgres",
        words: tail.join("\n"),
    })
}

fn printed(name: &'static str, output: Output) -> Result<String, ClusterError> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        let words = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        Err(ClusterError::Program { name, words })
    }
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// PostgreSQL is not installed, or not all of it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Started by root, and no other account exists.
    #[error("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run as")]
    NoAccount,
    /// Every port that was free was taken a moment later.
    #[error("no TCP port stayed free long enough for PostgreSQL to bind it")]
    NoPort,
    /// One of PostgreSQL's programs failed.
    #[error("{name} failed:\n{words}")]
    Program {
        /// The program.
        name: &'static str,
        /// What it said.
        words: String,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_answers_and_is_gone_when_dropped() {
        let installation = Installation::find().unwrap();
        let plan = Plan {
            password: "opensesame".into(),
            settings: vec!["max_connections = 17".into()],
            hba: vec!["host all nobody 127.0.0.1/32 reject".into()],
            files: vec![("note.txt", "for the server alone".into())],
            template: None,
        };
        let cluster = Cluster::start(&installation, &plan).unwrap();
        assert_eq!(cluster.sql("show max_connections").unwrap(), "17");
        assert_eq!(
            cluster.sql("select pg_read_file('note.txt')").unwrap(),
            "for the server alone"
        );
        assert_eq!(
            cluster.sql("show port").unwrap(),
            cluster.port().to_string()
        );
        let rule = "select auth_method from pg_hba_file_rules where user_name = '{nobody}'";
        assert_eq!(cluster.sql(rule).unwrap(), "reject");
        let (root, port) = (cluster.socket_directory().to_owned(), cluster.port());
        drop(cluster);
        assert!(!root.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        let plan = Plan {
            settings: vec!["no_such_setting = 1".into()],
            ..Plan::default()
        };
        let plan = Plan {
            password: "x".into(),
            ..plan
        };
        let error = Cluster::start(&Installation::find().unwrap(), &plan).unwrap_err();
        assert!(error.to_string().contains("no_such_setting"), "{error}");
    }

    #[test]
    fn a_port_taken_by_somebody_else_is_tried_again() {
        let log = "LOG: could not bind IPv4 address \"127.0.0.1\": Address already in use";
        assert!(matches!(last_words(log), Launch::PortTaken));
        assert!(matches!(last_words("FATAL: out of luck"), Launch::Other(_)));
    }
}
