//! [`Source`]: whom a limit is for.

use std::net::IpAddr;

use crate::address::ClientAddr;

/// An IPv4 address, or the first half of an IPv6 address: a /64 is what one link has (RFC 4291
/// section 2.5.4), so a host can take any address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    V4(u32),
    V6(u64),
}

impl From<ClientAddr> for Source {
    fn from(client: ClientAddr) -> Self {
        match client.ip() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        ClientAddr::from(text.parse::<IpAddr>().unwrap()).into()
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        assert_ne!(source("203.0.113.9"), source("203.0.113.8"));
        assert_eq!(
            source("2001:db8:0:1::1"),
            source("2001:db8:0:1:ffff:ffff:ffff:ffff")
        );
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_ne!(source("0.0.0.0"), source("::"));
    }

    /// T23.
    #[test]
    fn an_ipv4_mapped_address_is_the_source_that_the_ipv4_address_is() {
        assert_eq!(source("::ffff:203.0.113.9"), source("203.0.113.9"));
        assert_ne!(source("::ffff:203.0.113.9"), source("::ffff:203.0.113.8"));
    }
}
