//! The machine, in a line.

use std::fs;

/// Processor, cores, memory, system.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory: u64 = after("/proc/meminfo", "MemTotal:")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0);
    let processor = after("/proc/cpuinfo", "model name").unwrap_or_default();
    let system = after("/etc/os-release", "PRETTY_NAME=").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{}; {cores} cores; {} GiB; {}; Linux {}; load average before {}",
        processor.trim_start_matches([':', ' ', '\t']),
        memory.div_ceil(1 << 20),
        system.trim_matches('"'),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}

fn after(file: &str, label: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    Some(line.trim().to_owned())
}
