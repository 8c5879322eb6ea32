//! What a process and its descendants have cost, as the kernel counts it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// `USER_HZ` of Linux on every architecture that Rust's std supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// `THREAD_SIZE` of x86-64 and arm64.
const KERNEL_STACK_KIB: f64 = 16.0;
/// Slab caches that sockets and the waiting for them live in.
const SOCKET_SLABS: [&str; 6] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "eventpoll_epi",
    "eventpoll_pwq",
    "filp",
];

/// CPU time of a process tree at one moment, user and system together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Nanoseconds of the threads alive.
    fine: f64,
    /// Hundredths of a second, those of threads and children that have ended included.
    coarse: f64,
}

impl Cpu {
    pub(crate) fn of(root: u32) -> Self {
        family(root).into_iter().fold(Self::default(), |sum, pid| {
            sum.plus(Self {
                fine: threads_seconds(pid),
                coarse: stat_seconds(pid),
            })
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            fine: self.fine + other.fine,
            coarse: self.coarse + other.coarse,
        }
    }

    /// To the nanosecond if no thread has ended meanwhile, else to the hundredth of a second.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let fine = self.fine - earlier.fine;
        let coarse = self.coarse - earlier.coarse;
        let spent = if (fine - coarse).abs() < 0.03 {
            fine
        } else {
            coarse
        };
        Duration::from_secs_f64(spent.max(0.0))
    }
}

/// Memory of a process tree, KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Proportional set size: private pages, and a share of those held together with others.
    pub(crate) pss: f64,
    /// Page tables and threads' kernel stacks.
    pub(crate) kernel: f64,
}

impl Memory {
    pub(crate) fn of(root: u32) -> Self {
        family(root).into_iter().fold(Self::default(), |sum, pid| {
            let status = read(pid, "status");
            let stacks = field(&status, "Threads:") * KERNEL_STACK_KIB;
            Self {
                pss: sum.pss + field(&read(pid, "smaps_rollup"), "Pss:"),
                kernel: sum.kernel + field(&status, "VmPTE:") + stacks,
            }
        })
    }
}

/// KiB that all sockets of this machine take in the kernel. Needs root; 0 without.
pub(crate) fn sockets_kib() -> f64 {
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let slab_bytes: f64 = slabs.lines().filter_map(slab_bytes).sum();
    let stat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let pages = stat
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .map_or(0.0, |line| field(&line.replace(" mem ", "\nmem: "), "mem:"));
    slab_bytes / 1024.0 + pages * 4.0
}

fn slab_bytes(line: &str) -> Option<f64> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let active: f64 = words.next()?.parse().ok()?;
    let size: f64 = words.nth(1)?.parse().ok()?;
    SOCKET_SLABS.contains(&name).then_some(active * size)
}

/// Seconds of this machine's processors that its host gave to others while something wanted to run:
/// "steal" of proc_stat(5), to the hundredth.
pub(crate) fn stolen_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().nth(8);
    ticks
        .and_then(|ticks| ticks.parse::<f64>().ok())
        .unwrap_or(0.0)
        / TICKS_PER_SECOND
}

/// The process and all below it.
fn family(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = processes().into_iter().filter_map(with_parent).collect();
    let mut known = BTreeSet::from([root]);
    loop {
        let before = known.len();
        let children = parents.iter().filter(|(_, parent)| known.contains(parent));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        known.extend(children);
        if known.len() == before {
            return known;
        }
    }
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect()
}

fn with_parent(pid: u32) -> Option<(u32, u32)> {
    let parent = behind_name(&read(pid, "stat"))
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some((pid, parent))
}

fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn threads_seconds(pid: u32) -> f64 {
    let nanos = tasks(pid).into_iter().filter_map(|task| {
        let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// utime, stime, cutime and cstime: the four fields from the twelfth behind the name's parenthesis.
fn stat_seconds(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    let ticks = behind_name(&stat).split_whitespace().skip(11).take(4);
    ticks
        .filter_map(|count| count.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

/// The fields behind the program's name, which may hold spaces itself.
fn behind_name(stat: &str) -> &str {
    stat.rsplit_once(')').map_or("", |(_, fields)| fields)
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The number behind a label at the beginning of a line.
fn field(text: &str, label: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0)
}
