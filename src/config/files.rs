//! The files that a configuration is made of.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::stamp::Stamp;

/// A file that a configuration was read from, or would have been had it been there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceFile {
    path: Arc<Path>,
    stamp: Stamp,
}

impl SourceFile {
    /// Notes what the file looks like now: taken before it is read, so that a change during the
    /// reading is seen as one.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        Self {
            path: path.into(),
            stamp: Stamp::of(path),
        }
    }

    /// The file's path, absolute if the configuration was loaded from a file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, to be kept without another copy of it.
    pub(super) fn shared_path(&self) -> Arc<Path> {
        Arc::clone(&self.path)
    }

    /// The same file, told by a path that others have too: of many that name one file, it need be kept
    /// once only.
    #[must_use]
    pub fn sharing(self, path: &Arc<Path>) -> Self {
        Self {
            path: Arc::clone(path),
            ..self
        }
    }

    /// Whether the file looks different now; a file that came or went does.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.stamp != Stamp::of(&self.path)
    }
}

/// Whether any account of the system can read the file.
pub(super) fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// Reads a whole file of at most `limit` bytes as UTF-8.
///
/// # Errors
/// What the system says, or that the file is too large or not UTF-8.
pub(super) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len().min(limit);
    let mut text = String::with_capacity(size.try_into().unwrap_or_default());
    file.take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "the file is larger than {limit} bytes"
        )));
    }
    Ok(text)
}
