//! Who is turned away before a byte is read, whichever project they want.

use std::sync::Arc;

use super::network::Network;
use super::set::NetworkSet;
use crate::address::ClientAddr;

/// The process-wide deny list: what its configuration names, and threat feeds of a million entries.
///
/// Each part is compiled and shared by itself, so that one feed can be replaced without the others.
#[derive(Debug, Clone, Default)]
pub struct DenyList {
    parts: Box<[(Box<str>, Arc<NetworkSet>)]>,
}

/// Why an address is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied<'a> {
    /// The name of the part that holds the address.
    pub part: &'a str,
    /// The longest prefix there that holds it.
    pub prefix: Network,
}

impl DenyList {
    /// A list of named parts, such as the files they were read from.
    #[must_use]
    pub fn new(parts: impl IntoIterator<Item = (Box<str>, Arc<NetworkSet>)>) -> Self {
        Self {
            parts: parts
                .into_iter()
                .filter(|(_, set)| !set.is_empty())
                .collect(),
        }
    }

    /// The first part that holds the address, if any.
    #[must_use]
    pub fn find(&self, addr: ClientAddr) -> Option<Denied<'_>> {
        self.parts.iter().find_map(|(part, set)| {
            let prefix = Network::covering(addr.ip(), set.longest_match(addr)?);
            Some(Denied { part, prefix })
        })
    }

    /// Whether a part holds the address.
    #[must_use]
    pub fn contains(&self, addr: ClientAddr) -> bool {
        self.parts.iter().any(|(_, set)| set.contains(addr))
    }

    /// How many networks are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|(_, set)| set.len()).sum()
    }

    /// Whether nobody is turned away.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn addr(text: &str) -> ClientAddr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn part(name: &str, text: &str) -> (Box<str>, Arc<NetworkSet>) {
        (name.into(), Arc::new(NetworkSet::parse_file(text).unwrap()))
    }

    #[test]
    fn the_part_and_the_prefix_that_deny_are_told() {
        let list = DenyList::new([
            part("none.txt", ""),
            part("drop.txt", "203.0.113.0/24\n203.0.113.128/25"),
            part("v6.txt", "2001:db8::/32"),
        ]);
        let denied = list.find(addr("::ffff:203.0.113.200")).unwrap();
        assert_eq!(
            (denied.part, denied.prefix.to_string().as_str()),
            ("drop.txt", "203.0.113.128/25")
        );
        assert_eq!(list.find(addr("2001:db8::1")).unwrap().part, "v6.txt");
        assert_eq!(list.find(addr("198.51.100.1")), None);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn an_empty_deny_list_denies_nobody() {
        let list = DenyList::new([part("none.txt", "# nothing")]);
        assert!(list.is_empty() && !list.contains(addr("127.0.0.1")));
    }
}
