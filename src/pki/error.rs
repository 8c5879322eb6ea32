//! Why an identity could not be had.

use std::path::PathBuf;

/// Why an identity could not be had; each text says which file, and what to do about it. Never any
/// key material (T34).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
}
