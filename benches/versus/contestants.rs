//! Who takes part. A new peer is a file here and a line in [`field`].

mod floors;
mod haproxy;
mod pgbouncer;
mod portcullis;
mod postgres;
mod stunnel;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certs::Leaf;
use crate::job::{Dialect, Target, Tls};
use crate::process::{Core, Fault, Running, run};

use portcullis::Variant;
pub(crate) use portcullis::build;
pub(crate) use postgres::Cluster;

/// What a contestant is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This revision of the gate.
    Ours,
    /// The same with TLS towards the backend as well: measured by the memory of its sessions.
    BothLegs,
    /// The same with no cap on handshakes: measured by what live sessions feel of a storm of logins.
    Uncapped,
    /// Another revision of it.
    Earlier,
    /// Another program that terminates TLS; the best of these is what ratios are taken to.
    Peer,
    /// Another program, without TLS.
    PlainPeer,
    /// A floor: what no proxy can be expected to go below.
    Floor,
    /// The server itself, its whole cost counted, where it isn't what stands behind the others.
    Server,
}

/// Where contestants run.
#[derive(Debug)]
pub(crate) struct Stage {
    /// For what they need on disk.
    pub(crate) dir: PathBuf,
    pub(crate) leaf: Leaf,
    pub(crate) backend: SocketAddr,
    pub(crate) backend_pid: u32,
    pub(crate) dialect: Dialect,
    pub(crate) proxy_core: Core,
    pub(crate) load_core: Core,
    /// As it lies in the backend's `pg_authid`.
    pub(crate) verifier: String,
}

/// One that may take part.
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    start: Starter,
}

type Starter = Box<dyn Fn(&Stage) -> Result<Contestant, Fault>>;

/// One that runs.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) running: Running,
    pub(crate) target: Target,
    pub(crate) version: String,
    /// What of its settings matters, for the report.
    pub(crate) settings: String,
}

impl Entrant {
    fn new<F>(name: &str, standing: Standing, start: F) -> Self
    where
        F: Fn(&Stage) -> Result<Contestant, Fault> + 'static,
    {
        Self {
            name: name.to_owned(),
            standing,
            start: Box::new(start),
        }
    }

    pub(crate) fn start(&self, stage: &Stage) -> Result<Contestant, Fault> {
        (self.start)(stage)
    }

    /// An earlier revision of the gate.
    pub(crate) fn earlier(name: &str, binary: PathBuf) -> Self {
        Self::new(name, Standing::Earlier, move |stage| {
            portcullis::start(stage, &binary, Variant::Shipped)
        })
    }
}

/// Everybody that can take part before this dialect's backend.
pub(crate) fn field(dialect: Dialect) -> Vec<Entrant> {
    use Standing::{BothLegs, Floor, Ours, Peer, PlainPeer, Server, Uncapped};
    let binary = Path::new(env!("CARGO_BIN_EXE_portcullis"));
    let gate = |name, standing, variant| {
        Entrant::new(name, standing, move |stage| {
            portcullis::start(stage, binary, variant)
        })
    };
    let mut field = vec![
        gate("portcullis", Ours, Variant::Shipped),
        gate("portcullis-both-legs", BothLegs, Variant::BothLegs),
        gate("portcullis-uncapped", Uncapped, Variant::Uncapped),
        Entrant::new("pgbouncer", Peer, pgbouncer::start),
        Entrant::new("stunnel", Peer, stunnel::start),
        Entrant::new("haproxy-tls", Peer, haproxy::with_tls),
        Entrant::new("haproxy", PlainPeer, haproxy::plain),
        Entrant::new("raw", Floor, floors::raw),
        Entrant::new("raw-tls", Floor, floors::raw_tls),
    ];
    match dialect {
        Dialect::Fake => {
            field.push(Entrant::new("rustls", Floor, floors::rustls));
            field.push(Entrant::new("postgres", Server, postgres::direct));
        }
        Dialect::Postgres => field.push(Entrant::new("postgres", Floor, postgres::direct)),
    }
    field
}

impl Stage {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn target(&self, address: SocketAddr, tls: Tls) -> Target {
        Target {
            address,
            tls,
            dialect: self.dialect,
        }
    }
}

/// The first line of what it says about itself, on either output.
fn version(program: &Path, option: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "\"$0\" \"$1\" 2>&1 | grep -v '^Init' | head -n 1"])
        .arg(program)
        .arg(option);
    run(&mut shell).unwrap_or_default().trim().to_owned()
}
