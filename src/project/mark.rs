//! [`Mark`]: tells apart what things are made of, without keeping it.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256};

/// Equal for equal specifications, and for no others: the first half of a SHA-256 over all that is in
/// one, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 16]);

impl Mark {
    /// That of a specification.
    #[must_use]
    pub fn of(specification: &impl Hash) -> Self {
        let mut feed = Feed(Context::new(&SHA256));
        specification.hash(&mut feed);
        let digest = feed.0.finish();
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// Takes what [`Hash`] tells of a value: without gaps, so that different values differ in it.
struct Feed(Context);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not what this one is for.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_have_equal_marks_and_others_have_others() {
        let mark = |parts: [&str; 2]| Mark::of(&parts.map(str::to_owned));
        assert_eq!(mark(["a", "bc"]), mark(["a", "bc"]));
        assert_ne!(mark(["a", "bc"]), mark(["ab", "c"]));
        assert_ne!(Mark::of(&Some(1)), Mark::of(&None::<i32>));
    }
}
