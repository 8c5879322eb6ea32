//! `portcullis demo`: the gate in front of a throwaway PostgreSQL, proving itself.

mod account;
pub mod cluster;
mod gate;
pub mod installation;
mod leash;
mod proof;

use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::cluster::{Cluster, ClusterError, Plan};
use self::gate::{Gate, GateError};
use self::installation::Installation;
use self::proof::{Proof, ProofError};

/// The arguments of `portcullis demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End once the gate has proved itself, instead of staying up until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Directory of PostgreSQL's programs [default: found by pg_config, in PATH, or where packages
    /// put them]
    #[arg(long, value_name = "DIR")]
    postgres: Option<PathBuf>,
}

/// Runs the demonstration; a failure says why on standard error.
#[must_use]
pub fn main(args: &DemoArgs) -> ExitCode {
    match demonstrate(args, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The two projects: their name, and whom each lets in. The second's is a network kept for
/// documentation (RFC 5737), from which nobody comes.
const PROJECTS: [(&str, &str); 2] = [("acme", "127.0.0.1"), ("globex", "192.0.2.0/24")];

fn demonstrate(args: &DemoArgs, out: &mut impl Write) -> Result<(), DemoError> {
    writeln!(out, "{WELCOME}")?;
    let password = random_password()?;
    let installation = match &args.postgres {
        Some(directory) => Installation::at(directory),
        None => Installation::find(),
    };
    let installation = installation.map_err(ClusterError::from)?;
    let cluster = start_cluster(&installation, &password)?;
    writeln!(out, "  PostgreSQL   127.0.0.1:{}", cluster.port())?;
    let mut gate = Gate::start(&PROJECTS, &cluster)?;
    writeln!(out, "  the gate     {}\n\n{PROJECTS_TABLE}", gate.addr())?;
    Proof {
        gate: &gate,
        psql: cluster.psql(),
        password: &password,
    }
    .show(out)?;
    if args.once {
        return Ok(());
    }
    invite(&gate, &password, out)?;
    wait(&mut gate)?;
    drop(gate);
    drop(cluster);
    writeln!(out, "\nStopped, and nothing is left behind.")?;
    Ok(())
}

const WELCOME: &str = "\
Portcullis in front of a throwaway PostgreSQL
=============================================
";

const PROJECTS_TABLE: &str = "\
Two projects share the gate's one port. The host name in a connection string
says which is meant; each has a certificate authority and rules of its own.

  project   host name          lets in
  acme      acme.localhost     127.0.0.1
  globex    globex.localhost   192.0.2.0/24, where nobody is
";

fn start_cluster(installation: &Installation, password: &str) -> Result<Cluster, DemoError> {
    let plan = Plan {
        password: password.to_owned(),
        ..Plan::default()
    };
    let cluster = Cluster::start(installation, &plan)?;
    for (project, _) in PROJECTS {
        cluster.sql(&format!(
            "create role {project} login password '{password}'"
        ))?;
        cluster.sql(&format!("create database {project} owner {project}"))?;
    }
    Ok(cluster)
}

fn invite(gate: &Gate, password: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "It works. Your turn, in another terminal:\n")?;
    for (project, _) in PROJECTS {
        writeln!(
            out,
            "  psql \"{}\"\n",
            gate.conninfo(project, password).join("\n        ")
        )?;
    }
    writeln!(
        out,
        "Let yourself in to globex: add \"127.0.0.1\" to its list, and save. No restart.\n\n  \
         {}\n\nWhat the gate has to say:\n\n  {}\n\n\
         Ctrl-C ends it all, and removes every file of it.",
        gate.config().display(),
        gate.log().display(),
    )
}

/// Waits for Ctrl-C or SIGTERM, and for nothing else unless the gate fails.
fn wait(gate: &mut Gate) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = interrupted.recv() => return Ok(()),
                _ = terminated.recv() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => gate.check()?,
            }
        }
    })
}

/// Loopback is everybody's on this machine, so the password is nobody's guess.
fn random_password() -> io::Result<String> {
    let mut bytes = [0; 9];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Io(#[from] io::Error),
}
