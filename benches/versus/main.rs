//! Portcullis beside other TLS gates for PostgreSQL: what a login, a GB, a query and an idle session
//! cost each of them. `docs/benchmarks/README.md` tells how it is measured; `benches/versus/run` does
//! all of it, the peers' installation included.
//!
//! | file | what |
//! |---|---|
//! | `options` | the command line |
//! | `conductor` | rounds, and who is measured when |
//! | `case` | what is measured |
//! | `contestants` | who takes part, a file each |
//! | `load` | the clients, a process of their own |
//! | `backend`, `relay` | the fake backend and the raw TCP copy, processes of their own |
//! | `witness` | when the machine itself was away |
//! | `process`, `proc` | starting and ending processes; what they cost |
//! | `report`, `summary`, `reach`, `chart`, `stats` | what comes of it |

mod backend;
mod case;
mod certs;
mod chart;
mod conductor;
mod contestants;
mod job;
mod load;
mod machine;
mod options;
mod pipe;
mod proc;
mod process;
mod reach;
mod relay;
mod report;
mod scram;
mod stats;
mod summary;
mod witness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::Options;
use crate::process::Fault;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).take(3).collect();
    let ended = match words.as_slice() {
        [flag, name, setup] if flag == "--as" => role(name, setup),
        _ => conduct(Options::parse()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// What the processes that the conductor starts do.
fn role(name: &str, setup: &str) -> Result<(), Fault> {
    if name == "witness" {
        return witness::watch();
    }
    let runtime = runtime()?;
    match name {
        "backend" => runtime.block_on(backend::serve(serde_json::from_str(setup)?))?,
        "relay" => runtime.block_on(relay::serve(serde_json::from_str(setup)?))?,
        "load" => {
            let reading = runtime.block_on(load::run(serde_json::from_str(setup)?))?;
            println!("{}", serde_json::to_string(&reading)?);
        }
        _ => return Err(format!("no role {name}").into()),
    }
    Ok(())
}

fn runtime() -> Result<Runtime, Fault> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Runs everything in a thread, so that a signal ends it with everything cleaned up: the stage is
/// removed here, the processes die with this one.
fn conduct(options: Options) -> Result<(), Fault> {
    if !options.bench {
        eprintln!("run it by `cargo bench --bench versus`, or by benches/versus/run");
        return Ok(());
    }
    let stage = tempfile::Builder::new().prefix("versus-").tempdir()?;
    fs::set_permissions(&stage, fs::Permissions::from_mode(0o755))?;
    let dir = stage.path().to_owned();
    let (done, waiting) = tokio::sync::oneshot::channel();
    thread::spawn(move || done.send(whole(&options, &dir)));
    runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = waiting => ended?,
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("terminated".into()),
        }
    })
}

fn whole(options: &Options, dir: &std::path::Path) -> Result<(), Fault> {
    let results = conductor::run(options, dir)?;
    fs::create_dir_all(&options.out)?;
    let charts = chart::draw(&results, &options.out)?;
    println!("{}", report::write(&results, &options.out, &charts)?);
    Ok(())
}
