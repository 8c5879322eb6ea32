//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::job::Dialect;
use crate::process::Core;

/// Portcullis beside other TLS gates for PostgreSQL, and the floors under them all.
#[derive(Debug, Parser)]
#[command(name = "versus")]
pub(crate) struct Options {
    /// Rounds that count; one more goes before them and is dropped
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,

    /// A look in under three minutes: one round, fewer cases, less of everything
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only these measures
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Measure>,

    /// Only these contestants
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,

    /// A real PostgreSQL as the backend, and straight at it as a contestant
    #[arg(long)]
    pub(crate) real: bool,

    /// Another revision of this repository as a contestant; may be given more than once
    #[arg(long, value_name = "GIT_REV")]
    pub(crate) against: Vec<String>,

    /// Where the table and the charts go
    #[arg(long, value_name = "DIR", default_value = "target/versus/results")]
    pub(crate) out: PathBuf,

    /// Most sessions that the memory measure opens; descriptors may allow fewer
    #[arg(long, default_value_t = 9_500)]
    pub(crate) sessions: usize,

    /// The core of the proxy under test
    #[arg(long, default_value_t = 1)]
    pub(crate) proxy_cpu: usize,

    /// The core of the load and the backend
    #[arg(long, default_value_t = 0)]
    pub(crate) load_cpu: usize,

    /// Before every other process of the machine: for one that isn't quiet. Needs root
    #[arg(long)]
    pub(crate) realtime: bool,

    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// A family of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    Login,
    Bulk,
    Query,
    Memory,
    Storm,
}

impl Options {
    pub(crate) fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        if self.real {
            Dialect::Postgres
        } else {
            Dialect::Fake
        }
    }

    /// Where the proxy under test runs.
    pub(crate) fn proxy_core(&self) -> Core {
        Core {
            number: self.proxy_cpu,
            realtime: self.realtime,
        }
    }

    /// Where the load and the backend run.
    pub(crate) fn load_core(&self) -> Core {
        Core {
            number: self.load_cpu,
            realtime: self.realtime,
        }
    }

    /// Rounds in all, and how many of the first are dropped.
    pub(crate) fn rounds(&self) -> (u32, u32) {
        if self.quick {
            (1, 0)
        } else {
            (self.rounds.saturating_add(1), 1)
        }
    }
}
