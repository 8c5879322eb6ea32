//! Random prefixes and addresses of either family.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Different prefixes, three in five of them near an earlier one, as address plans have it.
pub(crate) fn prefixes<N: Family>(size: usize, random: &mut Random) -> Vec<(N, u32)> {
    let mut seen = HashSet::new();
    let mut list: Vec<(N, u32)> = Vec::new();
    while list.len() < size {
        let near =
            (random.below(5) < 3 && !list.is_empty()).then(|| list[random.below(list.len())].0);
        let net = N::random(near, random);
        if seen.insert(net) {
            list.push((net, list.len() as u32));
        }
    }
    list
}

/// splitmix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bits(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What differs between IPv4 and IPv6.
pub(crate) trait Family:
    prefix_trie::Prefix + Copy + Eq + std::hash::Hash + Into<IpNet>
{
    const NAME: &'static str;
    type Address: Copy
        + std::fmt::Debug
        + Into<IpAddr>
        + ip_network_table_deps_treebitmap::address::Address;
    fn random(near: Option<Self>, random: &mut Random) -> Self;
    fn address(self) -> Self::Address;
    fn length(self) -> u8;
    fn holds(&self, ip: Self::Address) -> bool;
    fn anywhere(random: &mut Random) -> Self::Address;
    fn within(self, bits: u128) -> Self::Address;
    /// Out of the prefix, by one of the last eight bits of its length.
    fn beside(self, bits: u128) -> Self::Address;
    fn longest(map: &PrefixMap<Self, u32>, ip: Self::Address) -> Option<u32>;
}

impl Family for Ipv4Net {
    const NAME: &'static str = "IPv4";
    type Address = Ipv4Addr;

    /// 45 % /32, 35 % /24, the rest /16 to /29; a near one is in the same /16.
    fn random(near: Option<Self>, random: &mut Random) -> Self {
        let length = match random.below(100) {
            0..45 => 32,
            45..80 => 24,
            _ => 16 + random.below(14) as u8,
        };
        let bits = random.next() as u32;
        let ip = near.map_or(bits, |near| {
            u32::from(near.addr()) & 0xffff_0000 | bits & 0xffff
        });
        Self::new_assert(ip.into(), length).trunc()
    }

    fn address(self) -> Ipv4Addr {
        self.addr()
    }

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn holds(&self, ip: Ipv4Addr) -> bool {
        self.contains(&ip)
    }

    fn anywhere(random: &mut Random) -> Ipv4Addr {
        (random.next() as u32).into()
    }

    fn within(self, bits: u128) -> Ipv4Addr {
        (u32::from(self.network()) | bits as u32 & u32::from(self.hostmask())).into()
    }

    fn beside(self, bits: u128) -> Ipv4Addr {
        let flip = 1 << (u32::from(32 - self.prefix_len()) + (bits % 8) as u32).min(31);
        (u32::from(self.within(bits >> 8)) ^ flip).into()
    }

    fn longest(map: &PrefixMap<Self, u32>, ip: Ipv4Addr) -> Option<u32> {
        Some(*map.get_lpm(&Self::new_assert(ip, 32))?.1)
    }
}

impl Family for Ipv6Net {
    const NAME: &'static str = "IPv6";
    type Address = Ipv6Addr;

    /// 8 % /128, 35 % /64, 20 % /56, 25 % /48, the rest /32 to /44, within what the five regional
    /// registries hand out; a near one is in the same /32.
    fn random(near: Option<Self>, random: &mut Random) -> Self {
        let length = match random.below(100) {
            0..8 => 128,
            8..43 => 64,
            43..63 => 56,
            63..88 => 48,
            _ => 32 + random.below(13) as u8,
        };
        let bits = random.bits();
        let registry = [0x240_u128, 0x260, 0x280, 0x2a0, 0x2c0][random.below(5)];
        let ip = match near {
            Some(near) => u128::from(near.addr()) >> 96 << 96 | bits >> 32,
            None => registry << 116 | bits >> 12,
        };
        Self::new_assert(ip.into(), length).trunc()
    }

    fn address(self) -> Ipv6Addr {
        self.addr()
    }

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn holds(&self, ip: Ipv6Addr) -> bool {
        self.contains(&ip)
    }

    fn anywhere(random: &mut Random) -> Ipv6Addr {
        let net = Self::random(None, random);
        net.within(random.bits())
    }

    fn within(self, bits: u128) -> Ipv6Addr {
        (u128::from(self.network()) | bits & u128::from(self.hostmask())).into()
    }

    fn beside(self, bits: u128) -> Ipv6Addr {
        let flip = 1 << (u32::from(128 - self.prefix_len()) + (bits % 8) as u32).min(127);
        (u128::from(self.within(bits >> 8)) ^ flip).into()
    }

    fn longest(map: &PrefixMap<Self, u32>, ip: Ipv6Addr) -> Option<u32> {
        Some(*map.get_lpm(&Self::new_assert(ip, 128))?.1)
    }
}
