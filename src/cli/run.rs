//! `portcullis run`: the gate itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{DEFAULT_CONFIG, EXIT_USAGE, config_path, descriptors, log, show_errors, shown};
use crate::config::{Config, QuickSpec};
use crate::proxy::{Order, Origin, Proxy, StartError};
use crate::store::catalogue::LoadError;

/// How long tasks that can't be called off have to end, once the gate has stopped.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// What `run` takes.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file [default: proxy.toml]
    #[arg(short, long, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    quick: Option<QuickArgs>,
}

/// One project without a configuration file. The texts are what the keys of the same names take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Without a configuration file: one project, for localhost")]
#[group(multiple = true, conflicts_with = "config")]
struct QuickArgs {
    /// The PostgreSQL server: postgres://HOST:PORT, or the directory of its Unix socket
    #[arg(long, value_name = "URL", required = false, requires = "allow")]
    backend: String,
    /// Who may come in: an address, a CIDR prefix, a range a-b, or `anywhere`; once for each
    #[arg(long, value_name = "SOURCE", requires = "backend")]
    allow: Vec<String>,
    /// Where clients connect; once for each [default: 127.0.0.1:6432]
    #[arg(long, value_name = "ADDRESS", requires = "backend")]
    listen: Vec<String>,
    /// Where the project's CA is kept; clients need its default/ca.crt [default: certs]
    #[arg(long, value_name = "DIRECTORY", requires = "backend")]
    certs: Option<PathBuf>,
    /// What the server must prove: disable, require, verify-ca, verify-full
    #[arg(long, value_name = "MODE", requires = "backend")]
    sslmode: Option<String>,
    /// The CA of the server's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "backend")]
    sslrootcert: Option<PathBuf>,
}

pub(super) fn main(args: RunArgs) -> ExitCode {
    let (config, origin) = match configuration(args) {
        Ok(configured) => configured,
        Err(code) => return code,
    };
    let log = log::start(config.log);
    descriptors::provide(&config.limits);
    match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.runtime.workers())
        .enable_all()
        .build()
    {
        Ok(runtime) => to_the_end(runtime, async {
            tokio::select! {
                code = run(config, origin) => code,
                never = log.tell_dropped() => match never {},
            }
        }),
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    }
}

/// Runs to the end, whatever else still runs: a name that is being looked up can't be called off.
fn to_the_end<T>(runtime: Runtime, main: impl Future<Output = T>) -> T {
    let result = runtime.block_on(main);
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

fn configuration(args: RunArgs) -> Result<(Config, Origin), ExitCode> {
    let usage = ExitCode::from(EXIT_USAGE);
    if let Some(quick) = args.quick {
        let config = shown(Config::quick(&quick.into())).ok_or(usage)?;
        return Ok((config, Origin::CommandLine));
    }
    if args.config.is_none() && !Path::new(DEFAULT_CONFIG).exists() {
        eprint!("{NO_CONFIG}");
        return Err(usage);
    }
    let path = config_path(args.config.as_ref());
    // What it includes is read when the projects are made, file by file.
    let config = shown(Config::load_main(&path)).ok_or(usage)?;
    Ok((config, Origin::File(path)))
}

impl From<QuickArgs> for QuickSpec {
    fn from(args: QuickArgs) -> Self {
        let QuickArgs {
            backend,
            allow,
            listen,
            certs,
            sslmode,
            sslrootcert,
        } = args;
        Self {
            listen,
            backend,
            allow,
            certs,
            sslmode,
            sslrootcert,
        }
    }
}

const NO_CONFIG: &str = "\
error: there is no proxy.toml here, and no other configuration was named

  portcullis run --config FILE        runs from a file
  portcullis run --listen 127.0.0.1:6432 --backend postgres://127.0.0.1:5432 --allow 127.0.0.1
                                      runs without one: one project, for localhost
  portcullis demo                     shows how it works
";

async fn run(config: Config, origin: Origin) -> ExitCode {
    let (orders, inbox) = mpsc::channel(4);
    if let Err(error) = forward_signals(orders) {
        tracing::error!("cannot start: {error}");
        return ExitCode::FAILURE;
    }
    match Proxy::bind(config, origin) {
        Ok(proxy) => {
            proxy.run(inbox).await;
            ExitCode::SUCCESS
        }
        Err(StartError::Load(LoadError::Config(errors))) => {
            show_errors(&errors);
            ExitCode::from(EXIT_USAGE)
        }
        Err(error) => {
            tracing::error!("cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SIGHUP reloads; SIGTERM and SIGINT drain, and stop at once when they come again.
fn forward_signals(orders: mpsc::Sender<Order>) -> io::Result<()> {
    for (kind, order) in [
        (SignalKind::hangup(), Order::Reload),
        (SignalKind::terminate(), Order::Stop),
        (SignalKind::interrupt(), Order::Stop),
    ] {
        let mut signals = signal(kind)?;
        let orders = orders.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && orders.send(order).await.is_ok() {}
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t32_a_blocking_task_that_hangs_does_not_keep_the_process_from_its_end() {
        let runtime = Runtime::new().unwrap();
        let (_until_the_test_ends, hangs) = std::sync::mpsc::channel::<()>();
        let (began, begun) = std::sync::mpsc::channel();
        let code = to_the_end(runtime, async {
            tokio::task::spawn_blocking(move || {
                began.send(()).unwrap();
                hangs.recv()
            });
            begun.recv().unwrap();
            7
        });
        assert_eq!(code, 7);
    }
}
