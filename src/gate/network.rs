//! What a rule's source covers: an address, a CIDR block, or a range of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, IpSubnets, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

/// A set of neighbouring addresses of one family.
///
/// Written as an address (`203.0.113.9`), a CIDR block (`203.0.113.0/24`, RFC 4632 section 3.1,
/// RFC 4291 section 2.3), or a range, both ends included (`203.0.113.10-203.0.113.20`). An
/// IPv4-mapped IPv6 address is the IPv4 address (T23), and a range that is exactly one block is
/// that block, so that equal networks compare equal. `Display` gives a text that parses back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    /// Has no host bits.
    Block(IpNet),
    /// In order, of one family, and not exactly one block.
    Range(IpAddr, IpAddr),
}

impl Network {
    /// The network of a single address.
    #[must_use]
    pub fn host(ip: IpAddr) -> Self {
        Self(Shape::Block(ip.to_canonical().into()))
    }

    /// The block that covers `ip` with its first `length` bits, or the whole address if that is
    /// longer than the address: what a deciding prefix is shown as.
    #[must_use]
    pub fn covering(ip: IpAddr, length: u8) -> Self {
        let ip = ip.to_canonical();
        Self(Shape::Block(
            IpNet::new(ip, length).map_or_else(|_| ip.into(), |block| block.trunc()),
        ))
    }

    /// All addresses from `first` to `last`, both included.
    ///
    /// # Errors
    /// When the two are of different families, or in the wrong order.
    pub fn range(first: IpAddr, last: IpAddr) -> Result<Self, InvalidNetwork> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_ipv4() != last.is_ipv4() {
            return Err(InvalidNetwork::MixedRange { first, last });
        }
        if first > last {
            return Err(InvalidNetwork::ReversedRange { first, last });
        }
        let mut blocks = blocks_of_range(first, last);
        match (blocks.next(), blocks.next()) {
            (Some(block), None) => Ok(Self(Shape::Block(block))),
            (_, _) => Ok(Self(Shape::Range(first, last))),
        }
    }

    /// The fewest CIDR blocks that make up the network, in ascending order: one for an address or
    /// a block, at most 62 for an IPv4 and 254 for an IPv6 range.
    pub fn blocks(self) -> impl Iterator<Item = IpNet> {
        let (block, range) = match self.0 {
            Shape::Block(block) => (Some(block), None),
            Shape::Range(first, last) => (None, Some(blocks_of_range(first, last))),
        };
        block.into_iter().chain(range.into_iter().flatten())
    }

    /// The length of that of its [`blocks`](Self::blocks) which holds `ip`, in bits.
    #[must_use]
    pub fn length_of_match(self, ip: IpAddr) -> Option<u8> {
        let ip = ip.to_canonical();
        if !self.contains(ip) {
            return None;
        }
        let block = match self.0 {
            Shape::Block(block) => Some(block),
            Shape::Range(first, last) => {
                blocks_of_range(first, last).find(|block| block.contains(&ip))
            }
        };
        block.map(|block| block.prefix_len())
    }

    /// Whether `ip` is in the network.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match self.0 {
            Shape::Block(block) => block.contains(&ip),
            Shape::Range(first, last) => {
                first.is_ipv4() == ip.is_ipv4() && (first..=last).contains(&ip)
            }
        }
    }
}

fn blocks_of_range(first: IpAddr, last: IpAddr) -> IpSubnets {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4Subnets::new(first, last, 0).into(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6Subnets::new(first, last, 0).into(),
        // Neither is made: `Network::range` refuses mixed families. The empty answer matches nobody.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            Ipv4Subnets::new(Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, 0).into()
        }
    }
}

impl From<IpNet> for Network {
    /// Host bits are dropped, and a block of IPv4-mapped addresses becomes the IPv4 block.
    fn from(block: IpNet) -> Self {
        let IpNet::V6(v6) = block.trunc() else {
            return Self(Shape::Block(block.trunc()));
        };
        Self(Shape::Block(
            fold(v6.addr(), v6.prefix_len()).unwrap_or(IpNet::V6(v6)),
        ))
    }
}

/// `::ffff:a.b.c.d/(96+n)` as `a.b.c.d/n` (T23; RFC 4291 section 2.5.5.2).
fn fold(ip: Ipv6Addr, length: u8) -> Option<IpNet> {
    let length = length.checked_sub(96)?;
    Some(IpNet::V4(Ipv4Net::new(ip.to_ipv4_mapped()?, length).ok()?))
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Block(block) if block.prefix_len() == block.max_prefix_len() => {
                fmt::Display::fmt(&block.addr(), f)
            }
            Shape::Block(block) => fmt::Display::fmt(&block, f),
            Shape::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::range(
                parse_address(first.trim_end())?,
                parse_address(last.trim_start())?,
            );
        }
        match text.split_once('/') {
            Some((address, length)) => parse_block(parse_address(address)?, length),
            None => parse_address(text).map(Self::host),
        }
    }
}

fn parse_block(address: IpAddr, length: &str) -> Result<Network, InvalidNetwork> {
    let block = parse_length(length)
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| InvalidNetwork::Length {
            length: excerpt(length),
            whole: address.into(),
        })?;
    if block.trunc() == block {
        return Ok(block.into());
    }
    Err(InvalidNetwork::HostBits {
        host: Network::host(address),
        network: block.into(),
        written: block,
    })
}

/// Digits only: `u8::from_str` would also take `+8` and `08`.
fn parse_length(text: &str) -> Option<u8> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

fn parse_address(text: &str) -> Result<IpAddr, InvalidNetwork> {
    text.parse().map_err(|_| why_no_address(text))
}

fn why_no_address(text: &str) -> InvalidNetwork {
    if text.is_empty() {
        return InvalidNetwork::Empty;
    }
    if let Some((address, _)) = text.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return InvalidNetwork::Zone {
            address: address.into(),
        };
    }
    if let Ok(with_port) = text.parse::<std::net::SocketAddr>() {
        return InvalidNetwork::Port {
            address: with_port.ip(),
        };
    }
    match without_leading_zeros(text) {
        Some(decimal) => InvalidNetwork::LeadingZero { decimal },
        None => InvalidNetwork::Address {
            text: excerpt(text),
        },
    }
}

/// The reading of `010.0.0.1` that takes its parts as decimal numbers.
fn without_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let parts = text
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0",
            trimmed => trimmed,
        });
    parts.collect::<Vec<_>>().join(".").parse().ok()
}

/// Enough of a text to recognise it by, with nothing in it that could disturb a terminal or a log.
pub(super) fn excerpt(text: &str) -> Box<str> {
    const SHOWN: usize = 64;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown.into()
}

/// Why a text is not a network. Each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Nothing there.
    #[error("an address is missing; write an address, a block such as 10.0.0.0/8, or a range a-b")]
    Empty,
    /// Not an address at all.
    #[error(
        "`{text}` is not an IP address; write an address, a block such as 10.0.0.0/8 or \
         2001:db8::/32, or a range such as 10.0.0.1-10.0.0.9"
    )]
    Address {
        /// What was written (shortened).
        text: Box<str>,
    },
    /// Some programs read such a number as octal, so it says two things at once.
    #[error("a number with a leading zero may be read as octal; write {decimal} if that is meant")]
    LeadingZero {
        /// The decimal reading.
        decimal: Ipv4Addr,
    },
    /// A zone (RFC 4007 section 11) has a meaning on one machine only.
    #[error("an address with a zone can't be matched; write {address}")]
    Zone {
        /// The address without it.
        address: Box<str>,
    },
    /// Rules know no ports.
    #[error("a source has no port; write {address}")]
    Port {
        /// The address without it.
        address: IpAddr,
    },
    /// Not a prefix length of that family.
    #[error(
        "`/{length}` is not a prefix length; behind {} it is a number from 0 to {}",
        whole.addr(), whole.max_prefix_len()
    )]
    Length {
        /// What was written behind the slash (shortened).
        length: Box<str>,
        /// The address before the slash.
        whole: IpNet,
    },
    /// Bits are set behind the prefix: either the address or the length is a mistake (T26).
    #[error(
        "{written} has bits set behind its prefix; write {} for the one address, or {network} for \
         the whole network",
        IpNet::from(host.first())
    )]
    HostBits {
        /// The one address.
        host: Network,
        /// The network around it.
        network: Network,
        /// As it was written.
        written: IpNet,
    },
    /// The first address is above the last.
    #[error("the range is the wrong way round; write {last}-{first}")]
    ReversedRange {
        /// What was written first.
        first: IpAddr,
        /// What was written last.
        last: IpAddr,
    },
    /// One end is IPv4, the other IPv6.
    #[error("{first} and {last} are of different families; write a range for each of them")]
    MixedRange {
        /// What was written first.
        first: IpAddr,
        /// What was written last.
        last: IpAddr,
    },
}

impl Network {
    /// The lowest address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self.0 {
            Shape::Block(block) => block.network(),
            Shape::Range(first, _) => first,
        }
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        match self.0 {
            Shape::Block(IpNet::V4(block)) => block.broadcast().into(),
            Shape::Block(IpNet::V6(block)) => Ipv6Net::broadcast(&block).into(),
            Shape::Range(_, last) => last,
        }
    }
}

#[cfg(test)]
mod tests;
