//! What is measured, and what of it is told.

use crate::contestants::Standing;
use crate::job::{Dialect, Direction, Turns, Work};
use crate::options::{Measure, Options};

/// One thing measured; each contestant has a row in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Login(usize),
    Bulk(Direction, usize),
    Query(usize),
    /// One client; the proxy shares the load's core, so that waking another core is no part of it.
    OneCpu,
    Memory {
        sessions: usize,
    },
    Storm {
        rate: u32,
    },
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    /// As the load names it.
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    /// Ratios are told of this one; less of it is better.
    pub(crate) main: bool,
}

const fn main(key: &'static str, label: &'static str) -> Quantity {
    Quantity {
        key,
        label,
        main: true,
    }
}

const fn also(key: &'static str, label: &'static str) -> Quantity {
    Quantity {
        key,
        label,
        main: false,
    }
}

const PROXY: Quantity = also("proxy_percent", "proxy's core busy %");
const LOAD: Quantity = also("load_percent", "load's core busy %");
const P50: Quantity = also("p50_us", "p50 µs");
const P99: Quantity = also("p99_us", "p99 µs");
const LOGIN: [Quantity; 6] = [
    main("cpu_us", "CPU µs per login"),
    also("per_second", "logins/s"),
    P50,
    P99,
    PROXY,
    LOAD,
];
const BULK: [Quantity; 4] = [
    main("cpu_s_per_gb", "CPU s per GB"),
    also("mb_per_second", "MB/s"),
    PROXY,
    LOAD,
];
const QUERY: [Quantity; 6] = [
    main("cpu_us", "CPU µs per query"),
    also("per_second", "queries/s"),
    P50,
    P99,
    PROXY,
    LOAD,
];
const ONE_CPU: [Quantity; 4] = [
    main("p50_us", "p50 µs"),
    P99,
    also("per_second", "queries/s"),
    also("cpu_us", "CPU µs per query"),
];
const STORM: [Quantity; 9] = [
    main("storm_p99_us", "p99 µs in the storm"),
    also("calm_p99_us", "p99 µs calm"),
    also("p99_growth", "storm / calm"),
    also("storm_p50_us", "p50 µs in the storm"),
    also("calm_p50_us", "p50 µs calm"),
    also("logins_per_second", "logins/s done"),
    also("logins_failed", "logins failed"),
    also("stolen_percent", "a core's time stolen %"),
    also("kept_percent", "queries that count %"),
];
const MEMORY: [Quantity; 8] = [
    main("kib_most", "KiB of PSS per session"),
    also("kib_5000", "the same over 5,000"),
    also("kib_1000", "over 1,000"),
    also("kernel_kib_most", "kernel KiB per session"),
    also("kernel_kib_1000", "the same over 1,000"),
    also("left_percent", "% of it left after closing"),
    also("left_mib", "MiB left after closing"),
    also("base_mib", "MiB with no session"),
];

impl Case {
    /// In the order of the report.
    pub(crate) fn all(options: &Options) -> Vec<Self> {
        let clients: &[usize] = if options.quick { &[16] } else { &[1, 16, 64] };
        let mut all = Vec::new();
        if options.wants(Measure::Login) {
            all.extend(clients.iter().copied().map(Self::Login));
        }
        if options.wants(Measure::Bulk) {
            for direction in [Direction::Download, Direction::Upload] {
                all.extend([1, 4].map(|connections| Self::Bulk(direction, connections)));
            }
        }
        if options.wants(Measure::Query) {
            all.extend(clients.iter().copied().map(Self::Query));
            all.push(Self::OneCpu);
        }
        if options.wants(Measure::Storm) {
            all.push(Self::Storm {
                rate: storm_rate(options),
            });
        }
        // A real server makes a process of each session: thousands of them are no backend here.
        if options.wants(Measure::Memory) && !options.real {
            all.push(Self::Memory {
                sessions: most_sessions(options),
            });
        }
        all
    }

    pub(crate) fn title(self) -> String {
        match self {
            Self::Login(clients) => format!("Login, {}", many(clients, "client")),
            Self::Bulk(direction, connections) => {
                format!("{direction:?}, {}", many(connections, "connection"))
            }
            Self::Query(clients) => format!("SELECT 1, {}", many(clients, "client")),
            Self::OneCpu => "SELECT 1, 1 client, everything on one core".to_owned(),
            Self::Memory { sessions } => format!("Memory, {sessions} idle sessions"),
            Self::Storm { rate } => format!("SELECT 1 on live sessions during {rate} logins/s"),
        }
    }

    pub(crate) fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Login(_) => &LOGIN,
            Self::Bulk(..) => &BULK,
            Self::Query(_) => &QUERY,
            Self::OneCpu => &ONE_CPU,
            Self::Memory { .. } => &MEMORY,
            Self::Storm { .. } => &STORM,
        }
    }

    pub(crate) fn work(self, options: &Options) -> Work {
        let seconds = 0.5;
        // A real server sends and takes 100 MB a second.
        let bytes = match options.dialect() {
            Dialect::Fake if options.quick => 128 << 20,
            Dialect::Fake => 256 << 20,
            Dialect::Postgres => 64 << 20,
        };
        match self {
            Self::Login(clients) => Work::Login { clients, seconds },
            Self::Bulk(direction, connections) => Work::Bulk {
                direction,
                connections,
                bytes,
            },
            Self::Query(clients) => Work::Query { clients, seconds },
            Self::OneCpu => Work::Query {
                clients: 1,
                seconds,
            },
            Self::Memory { sessions } => Work::Memory {
                steps: [1_000, 5_000]
                    .into_iter()
                    .filter(|step| *step < sessions)
                    .chain([sessions])
                    .collect(),
                closed: if options.quick { 3.0 } else { 10.0 },
            },
            Self::Storm { rate } => Work::Storm(Turns {
                rate: f64::from(rate),
                seconds: 1.0,
                pairs: if options.quick { 2 } else { 3 },
                tries: if options.quick { 2 } else { 5 },
            }),
        }
    }

    /// How often a round goes through all contestants with it, a short window each time: what the machine is
    /// like changes from second to second, and ratios are taken between neighbours.
    pub(crate) fn passes(self, options: &Options) -> u32 {
        match self {
            // It has windows of its own.
            Self::Storm { .. } | Self::Memory { .. } => 1,
            Self::Login(_) | Self::Bulk(..) | Self::Query(_) | Self::OneCpu => {
                if options.quick {
                    1
                } else {
                    3
                }
            }
        }
    }

    /// Whether a contestant of this standing takes part.
    pub(crate) fn admits(self, standing: Standing) -> bool {
        match standing {
            Standing::BothLegs => matches!(self, Self::Memory { .. }),
            Standing::Uncapped => matches!(self, Self::Storm { .. }),
            // A process per session: thousands of them, or hundreds of logins a second, aren't to be had.
            Standing::Server => !matches!(self, Self::Memory { .. } | Self::Storm { .. }),
            Standing::Ours
            | Standing::Earlier
            | Standing::Peer
            | Standing::PlainPeer
            | Standing::Floor => true,
        }
    }
}

fn many(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A real server spends milliseconds on a login, on the core that it shares with the load.
fn storm_rate(options: &Options) -> u32 {
    match options.dialect() {
        Dialect::Fake => 500,
        Dialect::Postgres => 100,
    }
}

/// A proxy holds two descriptors per session.
fn most_sessions(options: &Options) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok())
        .unwrap_or(1_024);
    let wanted = if options.quick {
        2_000
    } else {
        options.sessions
    };
    wanted.min(files.saturating_sub(500) / 2)
}
