//! What can be wrong with a backend.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::BackendAddr;

/// A backend's configuration that can't be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBackend {
    /// A root file that can't be read.
    #[error("cannot read sslrootcert {}: {source}", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
}

/// Why a backend could not be dialled: for the operator's log, never for the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nothing answered in time.
    #[error("{addr} did not answer within {}", humantime(*within))]
    Timeout {
        /// The backend.
        addr: BackendAddr,
        /// The limit.
        within: Duration,
    },
}

fn humantime(within: Duration) -> String {
    format!("{within:?}")
}

impl DialError {
    /// Whether the backend was reached, but its TLS is not as the project demands.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        todo!()
    }
}
