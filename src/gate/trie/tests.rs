//! The trie against a linear scan.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Longest match by looking at every prefix; of equal ones the first.
fn scan(prefixes: &[(IpNet, u32)], ip: IpAddr) -> Option<u32> {
    let mut best: Option<(u8, u32)> = None;
    for (prefix, value) in prefixes {
        let is_longer = best.is_none_or(|(length, _)| prefix.prefix_len() > length);
        if prefix.contains(&ip) && is_longer {
            best = Some((prefix.prefix_len(), *value));
        }
    }
    best.map(|(_, value)| value)
}

/// Every address at which an answer can change, the ones beside it, and the ends of the space.
fn telling_addresses(prefixes: &[(IpNet, u32)]) -> Vec<IpAddr> {
    let around = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            [-1, 0, 1].map(|d| Ipv4Addr::from(u32::from(ip).wrapping_add_signed(d)).into())
        }
        IpAddr::V6(ip) => {
            [-1, 0, 1].map(|d| Ipv6Addr::from(u128::from(ip).wrapping_add_signed(d)).into())
        }
    };
    let ends = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let bounds = prefixes
        .iter()
        .flat_map(|(prefix, _)| [prefix.network(), prefix.broadcast()]);
    ends.into_iter().chain(bounds).flat_map(around).collect()
}

fn assert_agrees(prefixes: &[(IpNet, u32)]) {
    let trie = PrefixTrie::compile(prefixes.iter().copied());
    for ip in telling_addresses(prefixes) {
        assert_eq!(trie.find(ip), scan(prefixes, ip), "{ip} in {prefixes:?}");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn numbered(texts: &[&str]) -> Vec<(IpNet, u32)> {
    texts.iter().map(|text| net(text)).zip(0..).collect()
}

#[test]
fn an_empty_trie_matches_nothing_and_has_nothing_on_the_heap() {
    let trie = PrefixTrie::compile([]);
    assert_agrees(&[]);
    assert_eq!(trie.heap_size(), 0);
}

#[test]
fn the_longest_prefix_decides_at_every_boundary() {
    for list in [
        &["0.0.0.0/0"][..],
        &["::/0"],
        &["0.0.0.0/0", "::/0", "255.255.255.255/32", "0.0.0.0/32"],
        &[
            "::/128",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
            "::/0",
            "ffff::/16",
        ],
        &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"],
        &["10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"],
        &["10.0.0.0/25", "10.0.0.128/25", "10.0.0.0/24"],
        &["10.0.0.0/24", "10.0.1.0/24", "9.255.255.255/32"],
        &["10.0.0.0/24", "10.0.0.255/32", "10.0.0.0/32"],
        &[
            "2001:db8::/64",
            "2001:db8::/65",
            "2001:db8::/128",
            "2001:db8::ffff/128",
        ],
        &["2001:db8::1/128", "2001:db8:0:1::/64", "2001:db8::/32"],
        &["2001:db8::8000:0:0:0/65", "2001:db8:0:1::/127"],
        &["2001:db8:0:1:ffff:ffff:ffff:ffff/128", "2001:db8:0:2::/64"],
        &["ffff:ffff:ffff:ffff::1/128"],
    ] {
        assert_agrees(&numbered(list));
    }
}

#[test]
fn of_equal_prefixes_the_first_counts() {
    let list = numbered(&["10.0.0.0/8", "10.0.0.0/8", "::/0", "::/0"]);
    assert_agrees(&list);
    let trie = PrefixTrie::compile(list);
    assert_eq!(trie.find("10.0.0.1".parse().unwrap()), Some(0));
    assert_eq!(trie.find("::1".parse().unwrap()), Some(2));
}

#[test]
fn neighbours_that_agree_are_one() {
    let apart = (0..=255).map(|i| {
        (
            IpNet::new(Ipv4Addr::new(10, 0, 0, i).into(), 32).unwrap(),
            7,
        )
    });
    let whole = PrefixTrie::compile([(net("10.0.0.0/24"), 7)]);
    assert_eq!(PrefixTrie::compile(apart).heap_size(), whole.heap_size());
}

#[test]
#[should_panic(expected = "no value")]
fn a_value_that_would_be_mistaken_for_no_match_is_refused() {
    let _trie = PrefixTrie::compile([(net("::/0"), PrefixTrie::VALUE_LIMIT)]);
}

#[test]
fn a_short_list_costs_tens_of_bytes() {
    let four = PrefixTrie::compile(numbered(&[
        "10.0.0.0/8",
        "192.0.2.1/32",
        "198.51.100.0/24",
        "203.0.113.0/24",
    ]));
    assert_eq!(four.heap_size(), 9 * 8);
    let four = PrefixTrie::compile(numbered(&[
        "2001:db8::/32",
        "2001:dc9::/48",
        "2001:dda::/56",
        "2001:deb::/64",
    ]));
    assert_eq!(four.heap_size(), 9 * 12);
}

/// A generator that needs no crate (splitmix64; Steele, Lea and Flood 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A hundred thousand prefixes in `blocks` crowded places: enough for the index, and for crowds
/// within it.
fn crowded(blocks: u64, bits_of_crowd: u32) -> Vec<(IpNet, u32)> {
    let mut state = blocks;
    let mut prefixes = Vec::new();
    for value in 0..100_000 {
        let (crowd, place) = (random(&mut state) % blocks, random(&mut state));
        let mut seed = crowd;
        let mixed = u128::from(random(&mut seed)) << 64 | u128::from(random(&mut seed));
        let at = mixed ^ (u128::from(place) << 64 >> bits_of_crowd);
        let length = 24 + (place % 9) as u8;
        prefixes.push((
            Ipv4Net::new_assert(((at >> 96) as u32).into(), length)
                .trunc()
                .into(),
            value,
        ));
        let length = 32 + (place % 97) as u8;
        prefixes.push((Ipv6Net::new_assert(at.into(), length).trunc().into(), value));
    }
    prefixes
}

#[test]
fn a_long_list_agrees_with_a_hash_table_per_length_however_crowded() {
    for (blocks, bits_of_crowd) in [(1, 0), (3, 12), (400, 20), (100_000, 24), (2, 16)] {
        let prefixes = crowded(blocks, bits_of_crowd);
        let mut model = std::collections::HashMap::new();
        for (prefix, value) in &prefixes {
            model.entry(*prefix).or_insert(*value);
        }
        let find = |ip: IpAddr| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            (0..=longest)
                .rev()
                .find_map(|length| model.get(&IpNet::new(ip, length).unwrap().trunc()))
        };
        let trie = PrefixTrie::compile(prefixes.iter().copied());
        assert!(matches!(
            (&trie.v4, &trie.v6),
            (Ranges::Many(_), Ranges::Many(_))
        ));
        assert!(!trie.deep.0.is_empty());
        for ip in telling_addresses(&prefixes[..500]) {
            assert_eq!(
                trie.find(ip),
                find(ip).copied(),
                "{ip} with {blocks} crowds"
            );
        }
    }
}

#[test]
fn a_crowded_slash_64_agrees_with_the_linear_scan() {
    let (mut state, base) = (64, 0x2001_0db8_0000_0001_u128 << 64);
    let mut prefixes = vec![(net("2001:db8:0:1::/64"), 0), (net("2001:db8::/32"), 1)];
    for value in 2..1_000 {
        let (low, length) = (random(&mut state), random(&mut state));
        let ip = base | u128::from(low >> (low % 64));
        let prefix = Ipv6Net::new_assert(ip.into(), 65 + (length % 64) as u8);
        prefixes.push((prefix.trunc().into(), value));
    }
    assert_agrees(&prefixes);
}

/// Ends of ranges in few or many crowds of any width, up to the greatest address.
fn ends() -> impl Strategy<Value = Vec<u64>> {
    let crowds = vec((any::<u64>(), 0..64_u32), 1..6);
    let ends = vec((any::<prop::sample::Index>(), any::<u64>()), 0..3_000);
    (crowds, ends).prop_map(|(crowds, ends)| {
        let end = |(crowd, low): (prop::sample::Index, u64)| {
            let (middle, width) = crowd.get(&crowds);
            middle ^ (low >> width)
        };
        let mut ends: Vec<u64> = ends.into_iter().map(end).chain([u64::MAX]).collect();
        ends.sort_unstable();
        ends.dedup();
        ends
    })
}

/// The lines of these ranges must find each range at its first address and at its last.
fn assert_lines_find<K: Key>(ends: &[K]) {
    let values: Vec<u32> = (0..).take(ends.len()).collect();
    let lines = Lines::new(ends, &values);
    let mut first = K::default();
    for (end, value) in ends.iter().zip(&values) {
        assert_eq!((lines.find(first), lines.find(*end)), (*value, *value));
        first = end.next().unwrap_or(first);
    }
}

fn v4_prefix() -> impl Strategy<Value = IpNet> {
    // Few distinct bits, so that prefixes overlap, repeat and touch.
    let address = prop_oneof![any::<u32>(), (0..16_u32).prop_map(|low| 0x0a00_00f8 + low)];
    let length = prop_oneof![0..=32_u8, 24..=32_u8, Just(32_u8), Just(0_u8)];
    (address, length).prop_map(|(ip, length)| Ipv4Net::new_assert(ip.into(), length).trunc().into())
}

fn v6_prefix() -> impl Strategy<Value = IpNet> {
    let near = (0..4_u128, 0..4_u128).prop_map(|(high, low)| {
        0x2001_0db8_0000_0000_ffff_ffff_ffff_fffe_u128
            .wrapping_add(high << 64)
            .wrapping_add(low)
    });
    let length = prop_oneof![
        0..=128_u8,
        60..=68_u8,
        Just(64_u8),
        Just(128_u8),
        124..=128_u8
    ];
    (prop_oneof![any::<u128>(), near.clone(), near], length)
        .prop_map(|(ip, length)| Ipv6Net::new_assert(ip.into(), length).trunc().into())
}

#[test]
fn ends_that_double_their_distance_are_found_like_any() {
    let doubling = (0..64).map(|bit| 1_u64 << bit);
    // All but a few slots of any index are empty, and those few hold everything.
    let mut ends: Vec<u64> = doubling
        .flat_map(|end| end..=end + 40)
        .chain([u64::MAX])
        .collect();
    ends.sort_unstable();
    ends.dedup();
    assert_lines_find(&ends);
    let mut ends: Vec<u32> = ends
        .into_iter()
        .map_while(|end| end.try_into().ok())
        .collect();
    ends.push(u32::MAX);
    assert_lines_find(&ends);
}

proptest! {
    #[test]
    fn lines_find_every_range_however_the_ends_are_spread(ends in ends()) {
        assert_lines_find(&ends);
        let mut ends: Vec<u32> = ends.iter().map(|end| (end >> 32) as u32).collect();
        ends.dedup();
        assert_lines_find(&ends);
    }

    #[test]
    fn every_answer_is_the_linear_scan_s(
        prefixes in vec((prop_oneof![v4_prefix(), v6_prefix()], 0..8_u32), 0..40),
        others in vec(any::<u128>(), 20),
    ) {
        assert_agrees(&prefixes);
        let trie = PrefixTrie::compile(prefixes.iter().copied());
        for bits in others {
            let v4 = IpAddr::from(Ipv4Addr::from((bits >> 96) as u32));
            let v6 = IpAddr::from(Ipv6Addr::from(bits));
            prop_assert_eq!(trie.find(v4), scan(&prefixes, v4));
            prop_assert_eq!(trie.find(v6), scan(&prefixes, v6));
        }
    }

    #[test]
    fn the_order_of_different_prefixes_does_not_matter(
        prefixes in vec(prop_oneof![v4_prefix(), v6_prefix()], 0..30)
    ) {
        let forth: Vec<_> = prefixes.iter().map(|prefix| (*prefix, u32::from(prefix.prefix_len()))).collect();
        let trie = PrefixTrie::compile(forth.iter().copied());
        let back = PrefixTrie::compile(forth.iter().rev().copied());
        for ip in telling_addresses(&forth) {
            prop_assert_eq!(trie.find(ip), back.find(ip));
        }
    }
}
