//! Where the CAs live.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Identity, PkiError};
use crate::address::Host;
use crate::id::ProjectName;

/// The directory of all projects' CAs.
#[derive(Debug, Clone)]
pub struct Keystore {
    directory: PathBuf,
}

impl Keystore {
    /// Opens the directory, creating it (0700) if missing.
    ///
    /// # Errors
    /// [`PkiError::Io`] if it can't be created or isn't a directory.
    pub fn open(directory: PathBuf) -> Result<Self, PkiError> {
        todo!()
    }

    /// One project's folder in it.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> ProjectKeystore {
        todo!()
    }
}

/// One project's folder: `ca.crt`, `ca.key`, `server.crt`, `server.key`.
#[derive(Debug, Clone)]
pub struct ProjectKeystore {
    folder: PathBuf,
    name: ProjectName,
}

impl ProjectKeystore {
    /// The file to hand out to clients as `sslrootcert`.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The project's identity for these hosts: loaded, or issued when there is none that fits.
    ///
    /// # Errors
    /// ..
    pub fn load_or_create(&self, hosts: &[Host], now: Timestamp) -> Result<Identity, PkiError> {
        todo!()
    }
}
