//! A real PostgreSQL: as the backend of all, and as a contestant that terminates TLS itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contestant, Stage};
use crate::certs::Leaf;
use crate::job::{Dialect, Target, Tls};
use crate::process::{Core, Fault, Running, find, free_port, is_root, pinned_as, run};

const USER: &str = "postgres";
/// Nothing here is meant to survive; TLS as every other contestant's.
const SETTINGS: &str = "listen_addresses = '127.0.0.1'
fsync = off
max_connections = 300
ssl = on
ssl_min_protocol_version = 'TLSv1.3'
logging_collector = off
log_min_messages = fatal
";
const SCHEMA: &str = "CREATE DATABASE bench OWNER bench";

/// A throwaway cluster that ends with this value.
#[derive(Debug)]
pub(crate) struct Cluster {
    running: Running,
    address: SocketAddr,
    version: String,
}

impl Cluster {
    /// Makes and starts one below `dir`, on one core, with the role `bench` that has the verifier.
    pub(crate) fn start(
        dir: &Path,
        leaf: &Leaf,
        (core, verifier): (Core, &str),
    ) -> Result<Self, Fault> {
        let programs = programs()?;
        let data = dir.join(format!("cluster-{}", core.number));
        fs::create_dir(&data)?;
        give(&data)?;
        let as_user = |program: &str| pinned_as(USER, core, programs.join(program));
        run(as_user("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-A", "scram-sha-256"])
            .args(["--auth-local=trust", "-N", "-U", USER]))?;
        let address = free_port()?;
        configure(&data, leaf, address)?;
        let mut command = as_user("postgres");
        command.arg("-D").arg(&data);
        let log = dir.join(format!("cluster-{}.log", core.number));
        let running = Running::start(&mut command, log)?.listening(address)?;
        let sql = |database: &str, text: &str| {
            run(as_user("psql").arg("-h").arg(&data).args([
                "-p",
                &address.port().to_string(),
                "-d",
                database,
                "-qc",
                text,
            ]))
        };
        sql(
            USER,
            &format!("CREATE ROLE bench LOGIN PASSWORD '{verifier}'"),
        )?;
        sql(USER, SCHEMA)?;
        sql(
            "bench",
            "SET ROLE bench; CREATE UNLOGGED TABLE sink (line text)",
        )?;
        let version = run(as_user("postgres").arg("--version"))?.trim().to_owned();
        Ok(Self {
            running,
            address,
            version,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// Clients straight at a cluster of their own, on the proxy's core; its whole cost is counted.
pub(super) fn direct(stage: &Stage) -> Result<Contestant, Fault> {
    let cluster = Cluster::start(&stage.dir, &stage.leaf, (stage.proxy_core, &stage.verifier))?;
    Ok(Contestant {
        target: Target {
            dialect: Dialect::Postgres,
            ..stage.target(cluster.address, Tls::Negotiated)
        },
        version: cluster.version,
        settings: "no proxy: the server itself, its whole cost counted; P-256 in place of X25519, asked for \
                   by HelloRetryRequest".to_owned(),
        running: cluster.running,
    })
}

fn configure(data: &Path, leaf: &Leaf, address: SocketAddr) -> Result<(), Fault> {
    for (from, name) in [(&leaf.certificate, "server.crt"), (&leaf.key, "server.key")] {
        let own = data.join(name);
        fs::copy(from, &own)?;
        give(&own)?;
    }
    let configuration = data.join("postgresql.conf");
    let directories = format!("unix_socket_directories = '{}'\n", data.display());
    let port = format!("port = {}\n", address.port());
    fs::write(&configuration, SETTINGS.to_owned() + &directories + &port)?;
    Ok(())
}

fn give(path: &Path) -> Result<(), Fault> {
    if is_root() {
        run(Command::new("chown").arg(USER).arg(path))?;
    }
    Ok(())
}

/// The newest installed.
fn programs() -> Result<PathBuf, Fault> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = debian
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max();
    match newest {
        Some(version) => Ok(format!("/usr/lib/postgresql/{version}/bin").into()),
        None => Ok(find("initdb")?
            .parent()
            .unwrap_or_else(|| Path::new("/"))
            .into()),
    }
}
