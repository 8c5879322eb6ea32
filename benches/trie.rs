//! The prefix trie against the prefix-trie and treebitmap crates and a linear scan.
//!
//! `cargo bench --bench trie` measures everything and prints the tables of
//! docs/benchmarks/trie.md; `cargo bench --bench trie -- --quick` stops at 100,000 prefixes and
//! takes fewer rounds; numbers behind `--` are the sizes to measure. All structures are asked the same questions and must give the same answers.
//!
//! Lookups are timed in batches that are short against a scheduler's time slice, and the structures
//! take turns, batch by batch; so whatever else runs on the machine disturbs few batches, and all
//! structures alike, and the median batch is the figure. Builds take long, so they are timed by the
//! time that the thread had a processor (`/proc/thread-self/schedstat`).

#![expect(
    clippy::cast_possible_truncation,
    reason = "random bits are cut to size, and sizes fit"
)]

#[path = "trie/prefixes.rs"]
mod prefixes;

use std::hint::black_box;
use std::time::Instant;

use ip_network_table_deps_treebitmap::IpLookupTable;
use ipnet::{Ipv4Net, Ipv6Net};
use portcullis::gate::trie::PrefixTrie;
use prefix_trie::PrefixMap;
use prefixes::{Family, Random, prefixes};

/// Addresses in a batch.
const BATCH: usize = 1024;
/// Batches in a round.
const BATCHES: usize = 64;
/// The addresses that are asked for again and again when addresses repeat.
const REGULARS: usize = 64;
/// From this many prefixes on the linear scan gets a small batch, or it would take all day.
const SLOW: usize = 1_000;

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let mut sizes: Vec<usize> = std::env::args()
        .filter_map(|size| size.parse().ok())
        .collect();
    if sizes.is_empty() {
        sizes = vec![10, 1_000, 100_000];
        sizes.extend((!is_quick).then_some(1_000_000));
    }
    let rounds = if is_quick { 3 } else { 7 };
    println!(
        "ns per lookup: median of {rounds} interleaved rounds of {BATCHES} batches of {BATCH} \
         lookups, (from..to) the middle nine tenths."
    );
    for size in &sizes {
        run::<Ipv4Net>(*size, rounds);
    }
    for size in &sizes {
        run::<Ipv6Net>(*size, rounds);
    }
}

/// Measures and prints one table.
fn run<N: Family>(size: usize, rounds: usize) {
    let mut random = Random(size as u64);
    let prefixes = prefixes::<N>(size, &mut random);
    let kinds = Questions::all(&prefixes, &mut random);
    let mut rivals: Vec<Rival<N>> = (0..4).map(|number| Rival::new(number, &prefixes)).collect();
    for questions in &kinds {
        questions.check(&rivals);
    }
    for _ in 0..rounds {
        for (number, questions) in kinds.iter().enumerate() {
            for rival in &mut rivals {
                rival.measure(number, questions);
            }
        }
        rivals.iter_mut().for_each(|rival| rival.rebuild(&prefixes));
    }
    print_table::<N>(size, &kinds, &mut rivals);
}

fn print_table<N: Family>(size: usize, kinds: &[Questions<N>], rivals: &mut [Rival<N>]) {
    let names: Vec<_> = kinds.iter().map(|questions| questions.name).collect();
    println!("\n### {}, {size} prefixes\n", N::NAME);
    println!(
        "| | {} | bytes per prefix | build, ns per prefix |",
        names.join(" | ")
    );
    println!("|---|{}---|---|", "---|".repeat(names.len()));
    let mut medians = Vec::new();
    for rival in rivals {
        let figures: Vec<_> = rival
            .lookups
            .iter_mut()
            .map(|times| Figure::of(times))
            .collect();
        let build = Figure::of(&mut rival.builds);
        let shown: Vec<_> = figures.iter().map(Figure::to_string).collect();
        let bytes = rival.structure.bytes() as f64 / size as f64;
        println!(
            "| {} | {} | {bytes:.1} | {:.0} |",
            rival.structure.name(),
            shown.join(" | "),
            build.median
        );
        medians.push(
            figures
                .iter()
                .chain([&build])
                .map(|figure| figure.median)
                .collect::<Vec<_>>(),
        );
    }
    for (other, name) in [(1, "prefix-trie"), (2, "treebitmap"), (3, "linear scan")] {
        let ratios: Vec<_> = medians[0]
            .iter()
            .zip(&medians[other])
            .map(|(ours, theirs)| format!("{:.1}x", theirs / ours))
            .collect();
        let (build, lookups) = ratios.split_last().expect("there is a build");
        let build = if other == 3 { "" } else { build };
        println!("| *{name} takes* | {} | | {build} |", lookups.join(" | "));
    }
}

/// What is measured many times.
struct Figure {
    low: f64,
    median: f64,
    high: f64,
}

impl Figure {
    fn of(times: &mut [f64]) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Self {
            low: at(0.05),
            median: at(0.5),
            high: at(0.95),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = usize::from(self.median < 100.0);
        write!(
            f,
            "{:.digits$} ({:.0}..{:.0})",
            self.median, self.low, self.high
        )
    }
}

/// A structure and its times.
struct Rival<N: Family> {
    structure: Structure<N>,
    lookups: Vec<Vec<f64>>,
    builds: Vec<f64>,
    small_batch: Option<usize>,
}

impl<N: Family> Rival<N> {
    fn new(number: usize, prefixes: &[(N, u32)]) -> Self {
        let structure = Structure::build(number, prefixes);
        let is_slow = number == 3 && prefixes.len() >= SLOW;
        let small_batch = is_slow.then(|| (400_000 / prefixes.len()).max(1));
        Self {
            structure,
            lookups: Vec::new(),
            builds: Vec::new(),
            small_batch,
        }
    }

    /// Twice over all questions, and the second time counts: the caches hold by then what they can.
    fn measure(&mut self, kind: usize, questions: &Questions<N>) {
        let batches = || questions.addresses.chunks(BATCH);
        let is_slow = self.small_batch.is_some();
        if !is_slow {
            batches().for_each(|batch| _ = self.time(questions.are_chained, batch));
        }
        let times: Vec<_> = batches()
            .map(|batch| self.time(questions.are_chained, batch))
            .collect();
        self.lookups
            .resize_with(self.lookups.len().max(kind + 1), Vec::new);
        self.lookups[kind].extend(times);
    }

    fn time(&self, are_chained: bool, batch: &[N::Address]) -> f64 {
        let batch = &batch[..self.small_batch.unwrap_or(batch.len())];
        match &self.structure {
            Structure::Ours(trie) => time(batch, are_chained, |ip| trie.find(ip.into())),
            Structure::PrefixTrie(map) => time(batch, are_chained, |ip| N::longest(map, ip)),
            Structure::TreeBitmap(table) => {
                time(batch, are_chained, |ip| Some(*table.longest_match(ip)?.2))
            }
            Structure::Scan(list) => time(batch, are_chained, |ip| scan(list, ip)),
        }
    }

    fn rebuild(&mut self, prefixes: &[(N, u32)]) {
        let times = (100_000 / prefixes.len()).max(1);
        let before = processor_time();
        for _ in 0..times {
            self.structure = Structure::build(self.structure.number(), black_box(prefixes));
        }
        self.builds
            .push((processor_time() - before) / (times * prefixes.len()) as f64);
    }
}

/// Nanoseconds per lookup. In a chain each lookup has to wait for the answer of the one before.
#[inline]
fn time<A: Copy>(batch: &[A], are_chained: bool, find: impl Fn(A) -> Option<u32>) -> f64 {
    let begin = Instant::now();
    let mut sum = 0_u32;
    if are_chained {
        let mut at = 0;
        while let Some(ip) = batch.get(at) {
            // No answer has this bit, which the compiler can't know.
            at += 1 + (black_box(find(*ip).unwrap_or(0)) >> 31) as usize;
        }
    } else {
        batch.iter().for_each(|ip| sum ^= find(*ip).unwrap_or(0));
    }
    black_box(sum);
    begin.elapsed().as_nanos() as f64 / batch.len() as f64
}

/// How long this thread has had a processor, in nanoseconds.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ')
        .next()
        .and_then(|time| time.parse().ok())
        .expect("a number")
}

enum Structure<N: Family> {
    Ours(PrefixTrie),
    PrefixTrie(Box<PrefixMap<N, u32>>),
    TreeBitmap(Box<IpLookupTable<N::Address, u32>>),
    /// Longest prefixes first, so that the first hit decides.
    Scan(Vec<(N, u32)>),
}

impl<N: Family> Structure<N> {
    fn build(number: usize, prefixes: &[(N, u32)]) -> Self {
        match number {
            0 => Self::Ours(PrefixTrie::compile(
                prefixes.iter().map(|(net, value)| ((*net).into(), *value)),
            )),
            1 => Self::PrefixTrie(Box::new(prefixes.iter().copied().collect())),
            2 => {
                let mut table = IpLookupTable::new();
                prefixes.iter().for_each(|(net, value)| {
                    table.insert(net.address(), net.length().into(), *value);
                });
                Self::TreeBitmap(Box::new(table))
            }
            _ => {
                let mut list = prefixes.to_vec();
                list.sort_by_key(|(net, _)| std::cmp::Reverse(net.length()));
                Self::Scan(list)
            }
        }
    }

    fn number(&self) -> usize {
        match self {
            Self::Ours(_) => 0,
            Self::PrefixTrie(_) => 1,
            Self::TreeBitmap(_) => 2,
            Self::Scan(_) => 3,
        }
    }

    fn name(&self) -> &'static str {
        ["**Portcullis**", "prefix-trie", "treebitmap", "linear scan"][self.number()]
    }

    /// Heap bytes, by each structure's own account.
    fn bytes(&self) -> usize {
        match self {
            Self::Ours(trie) => trie.heap_size(),
            Self::PrefixTrie(map) => map.mem_size(),
            Self::TreeBitmap(table) => table.mem_usage().0 + table.mem_usage().1,
            Self::Scan(list) => size_of_val(&**list),
        }
    }

    fn find(&self, ip: N::Address) -> Option<u32> {
        match self {
            Self::Ours(trie) => trie.find(ip.into()),
            Self::PrefixTrie(map) => N::longest(map, ip),
            Self::TreeBitmap(table) => Some(*table.longest_match(ip)?.2),
            Self::Scan(list) => scan(list, ip),
        }
    }
}

fn scan<N: Family>(list: &[(N, u32)], ip: N::Address) -> Option<u32> {
    list.iter()
        .find(|(net, _)| net.holds(ip))
        .map(|(_, value)| *value)
}

/// Addresses to look up.
struct Questions<N: Family> {
    name: &'static str,
    are_chained: bool,
    addresses: Vec<N::Address>,
}

impl<N: Family> Questions<N> {
    fn all(prefixes: &[(N, u32)], random: &mut Random) -> Vec<Self> {
        let trie = PrefixTrie::compile(prefixes.iter().map(|(net, value)| ((*net).into(), *value)));
        let hits = collect(random, |random| {
            let (net, _) = prefixes[random.below(prefixes.len())];
            Some(N::within(net, random.bits()))
        });
        // Half of them anywhere, half of them beside a prefix.
        let misses = collect(random, |random| {
            let (net, _) = prefixes[random.below(prefixes.len())];
            let is_near = random.below(2) == 0;
            let ip = if is_near {
                net.beside(random.bits())
            } else {
                N::anywhere(random)
            };
            trie.find(ip.into()).is_none().then_some(ip)
        });
        let regulars = collect(random, |random| Some(hits[random.below(REGULARS)]));
        let new = |name, are_chained, addresses: &Vec<_>| Self {
            name,
            are_chained,
            addresses: addresses.clone(),
        };
        vec![
            new("hit", false, &hits),
            new("hit, each waiting for the last", true, &hits),
            new("miss", false, &misses),
            new("miss, each waiting for the last", true, &misses),
            new("hit, 64 addresses repeated", false, &regulars),
            new("the same, each waiting for the last", true, &regulars),
        ]
    }

    fn check(&self, rivals: &[Rival<N>]) {
        for (number, ip) in self.addresses.iter().enumerate() {
            let answer = rivals[0].structure.find(*ip);
            assert_eq!(
                answer.is_some(),
                self.name.contains("hit") || self.name.contains("same")
            );
            let are_asked =
                |rival: &&Rival<N>| rival.small_batch.is_none_or(|batch| number < batch);
            for rival in rivals.iter().filter(are_asked) {
                assert_eq!(
                    rival.structure.find(*ip),
                    answer,
                    "{} about {ip:?}",
                    rival.structure.name()
                );
            }
        }
    }
}

fn collect<A>(random: &mut Random, mut make: impl FnMut(&mut Random) -> Option<A>) -> Vec<A> {
    std::iter::repeat_with(|| make(random))
        .flatten()
        .take(BATCH * BATCHES)
        .collect()
}
