//! [`Stamp`]: what a file looks like from outside, by which a change of it is seen.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a file looks like from outside, through any symbolic link: nothing if it can't be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(Option<Seen>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Looks at a file: to be done before it is read, so that a change during the reading is seen
    /// as one.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| Seen::of(&metadata)))
    }

    /// Whether there was a file.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
