//! [`Stamp`]: what a file looks like from outside, by which a change of it is seen; [`Identity`]:
//! which one it is.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file looks like from outside, through any symbolic link: nothing if it can't be seen. A
/// hash in 8 bytes, for there may be hundreds of thousands of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(Option<NonZero<u64>>);

impl Stamp {
    /// Looks at a file: to be done before it is read, so that a change during the reading is seen
    /// as one.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let seen = fs::metadata(path).ok();
        Self(seen.map(|metadata| NonZero::new(hash(&metadata)).unwrap_or(NonZero::<u64>::MIN)))
    }

    /// Whether there was a file.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// Which file or directory is at a path, whatever is in it: none if none can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(Option<(u64, u64)>);

impl Identity {
    /// Looks, through any symbolic link.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let seen = fs::metadata(path).ok();
        Self(seen.map(|metadata| (metadata.dev(), metadata.ino())))
    }

    /// Whether there was one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

fn hash(metadata: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    (metadata.dev(), metadata.ino(), metadata.size()).hash(&mut hasher);
    (metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
    (metadata.ctime(), metadata.ctime_nsec()).hash(&mut hasher);
    hasher.finish()
}
