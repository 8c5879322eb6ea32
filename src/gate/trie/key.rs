//! What the trie has to know about an address as a number.

use std::fmt::Debug;

use super::lines::{CacheLine, Line};

/// An IPv4 address, or the first or second half of an IPv6 address.
pub(super) trait Key: Copy + Ord + Default + Debug {
    const BITS: u32;
    const MAX: Self;
    /// Whether the addresses in use crowd in so few places that the index needs two levels.
    const IS_CROWDED: bool;
    /// An end and a value, packed.
    type Range: Copy + Debug;
    /// As many ranges as a cache line holds.
    type Line: Line<Self>;

    fn range(end: Self, value: u32) -> Self::Range;
    fn end(range: &Self::Range) -> Self;
    fn value(range: &Self::Range) -> u32;

    /// How far it is above `first`, shifted; 0 if it is below.
    fn distance(self, first: Self, shift: u32) -> usize;
    /// One less. Not asked of 0.
    fn before(self) -> Self;
    /// One more, if there is one.
    fn next(self) -> Option<Self>;
    /// The last address of the prefix of this length that begins here.
    fn last(self, length: u8) -> Self;
    /// The first 32 bits.
    fn top(self) -> u32;
}

macro_rules! arithmetic {
    () => {
        const BITS: u32 = Self::BITS;
        const MAX: Self = Self::MAX;

        #[inline(always)]
        fn distance(self, first: Self, shift: u32) -> usize {
            usize::try_from(self.saturating_sub(first) >> shift).unwrap_or(usize::MAX)
        }

        fn before(self) -> Self {
            self.saturating_sub(1)
        }

        fn next(self) -> Option<Self> {
            self.checked_add(1)
        }

        fn last(self, length: u8) -> Self {
            self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
        }

        fn top(self) -> u32 {
            (self >> (Self::BITS - u32::BITS)) as u32
        }
    };
}

impl Key for u32 {
    arithmetic!();
    const IS_CROWDED: bool = false;
    type Range = [Self; 2];
    type Line = CacheLine<Self, 7, 8>;

    fn range(end: Self, value: Self) -> Self::Range {
        [end, value]
    }

    #[inline(always)]
    fn end(range: &Self::Range) -> Self {
        range[0]
    }

    #[inline(always)]
    fn value(range: &Self::Range) -> Self {
        range[1]
    }
}

impl Key for u64 {
    arithmetic!();
    const IS_CROWDED: bool = true;
    /// Not a pair of an end and a value, which would take 16 bytes.
    type Range = [u32; 3];
    type Line = CacheLine<Self, 5, 6>;

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the end")]
    fn range(end: Self, value: u32) -> Self::Range {
        [end as u32, (end >> 32) as u32, value]
    }

    #[inline(always)]
    fn end(range: &Self::Range) -> Self {
        Self::from(range[0]) | Self::from(range[1]) << 32
    }

    #[inline(always)]
    fn value(range: &Self::Range) -> u32 {
        range[2]
    }
}
