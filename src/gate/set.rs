//! Named sets of networks: what a tag, an address file or a threat feed holds.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use ipnet::IpNet;

use super::network::{InvalidNetwork, Network, excerpt};
use super::trie::PrefixTrie;
use crate::address::ClientAddr;

/// An immutable set of networks, compiled once and shared by everyone who refers to it.
#[derive(Debug, Clone)]
pub struct NetworkSet {
    /// Gives the length of the longest prefix.
    trie: PrefixTrie,
    networks: usize,
    digest: Digest,
}

/// The first half of a SHA-256: equal for equal content, in whichever order it was written.
pub(super) type Digest = [u8; 16];

impl NetworkSet {
    /// A set of these networks, in any order, repeated or not.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut count = 0;
        let networks = networks.into_iter().inspect(|_| count += 1);
        let mut blocks: Vec<IpNet> = networks.flat_map(Network::blocks).collect();
        blocks.sort_unstable();
        blocks.dedup();
        let trie = PrefixTrie::compile(blocks.iter().map(|b| (*b, u32::from(b.prefix_len()))));
        Self {
            trie,
            networks: count,
            digest: digest(&blocks),
        }
    }

    /// Reads a list with one network on a line. Blank lines are skipped, and so is what follows a
    /// `#` or a `;` (Spamhaus writes the latter).
    ///
    /// # Errors
    /// Every line that is not a network is told, the first [`InvalidSet::SHOWN`] in words: a list
    /// with a mistake in it is not used in part.
    pub fn parse_file(text: &str) -> Result<Self, InvalidSet> {
        let (mut networks, mut invalid) = (Vec::new(), InvalidSet::default());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            match entry.parse() {
                Ok(network) => networks.push(network),
                Err(error) => invalid.add(LineError {
                    line: number + 1,
                    text: excerpt(entry),
                    error,
                }),
            }
        }
        if invalid.total == 0 {
            Ok(Self::new(networks))
        } else {
            Err(invalid)
        }
    }

    /// The longest prefix of the set that the address is in, in bits.
    #[must_use]
    #[inline]
    pub fn longest_match(&self, addr: ClientAddr) -> Option<u8> {
        self.trie
            .find(addr.ip())
            .and_then(|length| length.try_into().ok())
    }

    /// Whether the address is in the set.
    #[must_use]
    pub fn contains(&self, addr: ClientAddr) -> bool {
        self.longest_match(addr).is_some()
    }

    /// How many networks were listed, repetitions included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.networks
    }

    /// Whether the set is empty, so that it matches nobody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.networks == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.trie.heap_size()
    }

    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }
}

fn digest(blocks: &[IpNet]) -> Digest {
    let mut context = Context::new(&SHA256);
    for block in blocks {
        match block {
            IpNet::V4(block) => context.update(&block.addr().octets()),
            IpNet::V6(block) => context.update(&block.addr().octets()),
        }
        // The family too: 4 and 16 octets could otherwise run into each other.
        context.update(&[block.max_prefix_len(), block.prefix_len()]);
    }
    half(&context)
}

/// Finishes a digest.
pub(super) fn half(context: &Context) -> Digest {
    context
        .clone()
        .finish()
        .as_ref()
        .first_chunk()
        .copied()
        .unwrap_or_default()
}

/// A line that is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// What stands there (shortened).
    pub text: Box<str>,
    /// What is wrong with it.
    pub error: InvalidNetwork,
}

/// Why a list of networks is not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvalidSet {
    /// The first mistakes, at most [`InvalidSet::SHOWN`] of them; never empty in an error.
    pub lines: Vec<LineError>,
    /// How many lines have a mistake.
    pub total: usize,
}

impl InvalidSet {
    /// How many mistakes are kept in words: a million-line list of something else entirely must not
    /// become a million messages.
    pub const SHOWN: usize = 100;

    fn add(&mut self, error: LineError) {
        self.total += 1;
        if self.lines.len() < Self::SHOWN {
            self.lines.push(error);
        }
    }
}

impl fmt::Display for InvalidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            write!(f, "{}{line}", if number == 0 { "" } else { "\n" })?;
        }
        match self.total.saturating_sub(self.lines.len()) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more lines"),
        }
    }
}

impl std::error::Error for InvalidSet {}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::net::IpAddr;

    use super::*;

    fn addr(text: &str) -> ClientAddr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_file_has_one_network_on_a_line_and_comments() {
        let text = "\u{feff}# office\r\n\r\n203.0.113.0/24  # main\r\n\t2001:db8::/32 ; SBL1\n10.0.0.1-10.0.0.9\n";
        let set = NetworkSet::parse_file(text).unwrap();
        assert_eq!(set.len(), 3);
        assert_eq!(set.longest_match(addr("203.0.113.9")), Some(24));
        assert_eq!(set.longest_match(addr("2001:db8::1")), Some(32));
        assert_eq!(set.longest_match(addr("10.0.0.1")), Some(32));
        assert_eq!(set.longest_match(addr("10.0.0.2")), Some(31));
        assert!(!set.contains(addr("10.0.0.10")));
    }

    #[test]
    fn t23_an_ipv4_mapped_client_is_found_as_ipv4() {
        let set = NetworkSet::parse_file("203.0.113.0/24").unwrap();
        assert!(set.contains(addr("::ffff:203.0.113.9")));
    }

    #[test]
    fn t25_a_file_with_one_bad_line_is_refused_and_every_bad_line_told() {
        let invalid = NetworkSet::parse_file("10.0.0.1\n10.0.0.5/8\n# 1\nfoo bar\n").unwrap_err();
        let lines: Vec<_> = invalid
            .lines
            .iter()
            .map(|line| (line.line, &*line.text))
            .collect();
        assert_eq!(lines, [(2, "10.0.0.5/8"), (4, "foo bar")]);
        assert!(
            invalid
                .to_string()
                .starts_with("line 2: 10.0.0.5/8 has bits set"),
            "{invalid}"
        );
    }

    #[test]
    fn t25_an_empty_set_matches_nobody() {
        let set = NetworkSet::parse_file("# nothing yet\n").unwrap();
        assert!(set.is_empty() && !set.contains(addr("127.0.0.1")));
    }

    #[test]
    fn a_file_that_is_no_list_at_all_is_told_in_part() {
        let invalid = NetworkSet::parse_file(&"<html>\n".repeat(1_000_000)).unwrap_err();
        assert_eq!(
            (invalid.total, invalid.lines.len()),
            (1_000_000, InvalidSet::SHOWN)
        );
        assert!(invalid.to_string().ends_with("and 999900 more lines"));
    }

    #[test]
    fn the_digest_is_of_the_content_not_of_its_order() {
        let digest = |text| NetworkSet::parse_file(text).unwrap().digest();
        assert_eq!(
            digest("10.0.0.0/8\n::/0"),
            digest("::/0 # all\n10.0.0.0/8\n::/0")
        );
        assert_ne!(digest("10.0.0.0/8"), digest("10.0.0.0/9"));
        assert_ne!(digest("10.0.0.0/8"), digest(""));
    }

    #[test]
    fn a_million_lines_are_a_set_of_at_most_18_bytes_each() {
        let mut text = String::new();
        for n in 0..1_000_000_u32 {
            // An odd multiplier visits every address once; the last bit keeps them apart.
            let ip = std::net::Ipv4Addr::from(n.wrapping_mul(0x9e37_79b1) & !1);
            writeln!(text, "{ip}").unwrap();
        }
        let set = NetworkSet::parse_file(&text).unwrap();
        assert!(set.heap_size() <= 18 * set.len(), "{}", set.heap_size());
        assert!(set.contains(addr("0.0.0.0")));
    }
}
