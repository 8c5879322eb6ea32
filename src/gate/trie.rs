//! The prefix trie: which of a million prefixes is the longest that an address is in?
//!
//! # What it is
//! A binary prefix trie, compiled to its leaves. Push every prefix of the trie down to the leaves
//! (leaf pushing; V. Srinivasan and G. Varghese, *Fast Address Lookups Using Controlled Prefix
//! Expansion*, ACM TOCS 17(1), 1999) and each leaf knows the one prefix that decides for all its
//! addresses; neighbouring leaves that agree are one. What is left of the trie is a sorted list of
//! ranges with one answer each, as in DXR (M. Zec, L. Rizzo, M. Mikuc, *DXR: Towards a Billion
//! Routing Lookups per Second in Software*, ACM CCR 42(5), 2012). A lookup counts the ranges that
//! end below the address; the next one has the answer.
//!
//! A short list of ranges is searched as it is, by halving. A long one is packed into cache lines,
//! eight IPv4 or six IPv6 ranges in each, and a lookup touches one of them. Which one, the fences
//! tell: a list of where each line ends, an eighth of the size of the lines or less, in which the
//! address is ranked by three comparisons without a branch. Where to rank it, an index tells, which
//! divides the stretch from the first fence to the last into slots of equal size. IPv6 prefixes crowd in a few
//! places of a vast space, so there the stretch is first cut into blocks, and each block, from its own
//! first fence to its last, into as many slots as its fences deserve. Slots that are crowded even so
//! are halved until the rest fits the three comparisons, which bounds every lookup by O(log n),
//! whatever the prefixes.
//!
//! Index and fences stay in the cache when the lines don't: a lookup among a million prefixes goes to
//! main memory once or twice, and since hardly any branch depends on the address, the processor works
//! on several lookups at once.
//!
//! IPv6 ends are kept as 64-bit numbers, since nearly every IPv6 prefix is a /64 or shorter. The
//! rare /64 with longer prefixes inside has a short list of its own for the last 64 bits.
//!
//! # What it costs
//! With n prefixes: a lookup is O(log n) at worst and O(1) where prefixes are spread evenly;
//! building is O(n log n). There are at most 2n + 1 ranges, of 8 bytes in IPv4 and 11 in IPv6
//! (12 in a short list), and an eighth of that for fences and index in IPv4, a fifth in IPv6; an IPv6 prefix
//! longer than /64, alone in its /64, costs about 75 bytes. A family without prefixes has nothing on
//! the heap. `docs/benchmarks/trie.md` has the figures.

mod build;
mod key;
mod lines;

use std::hint::select_unpredictable;
use std::net::IpAddr;

use ipnet::IpNet;

use self::build::{Halves, Prefixes};
use self::key::Key;
use self::lines::Lines;

/// An immutable map from prefixes to numbers, asked for the longest match.
#[derive(Debug, Clone, Default)]
pub struct PrefixTrie {
    v4: Ranges<u32>,
    /// By the first 64 bits of the address. A value with the [`DEEPER`] bit is a place in `deep`.
    v6: Ranges<u64>,
    deep: Deep,
}

/// Set in a value of the first IPv6 level when the last 64 bits have to decide.
const DEEPER: u32 = 1 << 31;

/// No prefix matches.
const NOTHING: u32 = DEEPER - 1;

impl PrefixTrie {
    /// Values are below this.
    pub const VALUE_LIMIT: u32 = NOTHING;

    /// Compiles the prefixes and what each stands for, in any order. Of equal prefixes the first
    /// one counts. Host bits are ignored.
    ///
    /// # Panics
    /// When a value is not below [`VALUE_LIMIT`](Self::VALUE_LIMIT).
    #[must_use]
    pub fn compile(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let prefixes = prefixes.into_iter();
        // Memory that is not touched costs nothing, and to move what was collected does.
        let expected = prefixes.size_hint().0;
        let mut v4 = Prefixes::with_capacity(expected);
        let mut v6 = Halves::with_capacity(expected);
        for (prefix, value) in prefixes {
            assert!(
                value < Self::VALUE_LIMIT,
                "{value} is no value of a prefix trie"
            );
            match prefix {
                IpNet::V4(p) => v4.push(p.network().into(), p.prefix_len(), value),
                IpNet::V6(p) => v6.push(p.network().into(), p.prefix_len(), value),
            }
        }
        let v4 = v4.flatten().compile();
        let (v6, deep) = v6.compile();
        Self { v4, v6, deep }
    }

    /// The value of the longest prefix that `ip` is in. An IPv4-mapped address is looked up as the
    /// IPv6 address that it is: fold it before (T23).
    #[must_use]
    #[inline(always)]
    pub fn find(&self, ip: IpAddr) -> Option<u32> {
        let value = match ip {
            IpAddr::V4(ip) => self.v4.find(ip.into()),
            IpAddr::V6(ip) => self.find_v6(ip.into()),
        };
        (value != NOTHING).then_some(value)
    }

    #[inline]
    fn find_v6(&self, ip: u128) -> u32 {
        let (first, last) = halves(ip);
        let value = self.v6.find(first);
        if value & DEEPER == 0 {
            value
        } else {
            self.deep.find(value & !DEEPER, last)
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.v4.heap_size() + self.v6.heap_size() + size_of_val(&*self.deep.0)
    }
}

/// What the answer is for each address of one family.
#[derive(Debug, Clone)]
enum Ranges<K: Key> {
    /// Ascending, without gaps; the last one ends where the addresses end. Empty when no address has
    /// an answer.
    Few(Box<[K::Range]>),
    Many(Box<Lines<K>>),
}

impl<K: Key> Default for Ranges<K> {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl<K: Key> Ranges<K> {
    /// More ranges than this deserve lines and an index.
    const FEW: usize = 128;

    fn new(ends: &[K], values: &[u32]) -> Self {
        if values == [NOTHING] {
            Self::default()
        } else if ends.len() <= Self::FEW {
            let ranges = ends.iter().zip(values);
            Self::Few(ranges.map(|(end, value)| K::range(*end, *value)).collect())
        } else {
            Self::Many(Box::new(Lines::new(ends, values)))
        }
    }

    #[inline(always)]
    fn find(&self, key: K) -> u32 {
        match self {
            Self::Few(ranges) => find(ranges, key),
            Self::Many(lines) => lines.find(key),
        }
    }

    fn heap_size(&self) -> usize {
        match self {
            Self::Few(ranges) => size_of_val(&**ranges),
            Self::Many(lines) => size_of_val(&**lines) + lines.heap_size(),
        }
    }
}

/// The value of the first range that does not end below `key`.
#[inline]
fn find<K: Key>(ranges: &[K::Range], key: K) -> u32 {
    let (mut from, mut size) = (0, ranges.len());
    while size > 1 {
        let half = size / 2;
        let is_below = K::end(&ranges[from + half - 1]) < key;
        from = select_unpredictable(is_below, from + half, from);
        size -= half;
    }
    ranges.get(from).map_or(NOTHING, K::value)
}

/// The second IPv6 level: for each /64 with longer prefixes inside, the ranges of its last 64 bits,
/// and before them how many they are, so that both are met in one place.
#[derive(Debug, Clone, Default)]
struct Deep(Box<[<u64 as Key>::Range]>);

impl Deep {
    #[inline]
    fn find(&self, place: u32, key: u64) -> u32 {
        let behind = self.0.get(place as usize..).and_then(<[_]>::split_first);
        behind.map_or(NOTHING, |(number, ranges)| {
            let ranges = ranges.get(..u64::value(number) as usize);
            find(ranges.unwrap_or_default(), key)
        })
    }
}

/// The first and the last 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is the purpose")]
const fn halves(ip: u128) -> (u64, u64) {
    ((ip >> 64) as u64, ip as u64)
}

#[cfg(test)]
mod tests;
