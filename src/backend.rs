//! The PostgreSQL server behind a project: dialling it, and TLS towards it.

mod dial;
mod error;
mod stream;
mod tls;

use std::time::Duration;

use crate::address::BackendAddr;

pub use error::{DialError, InvalidBackend};
pub use stream::{BackendConnection, BackendStream};
pub use tls::{BackendTls, InvalidSslMode, SslMode};

/// A project's backend, as it is dialled for each connection.
#[derive(Debug, Clone)]
pub struct Backend {
    addr: BackendAddr,
    tls: BackendTls,
    connect_timeout: Duration,
}

impl Backend {
    /// # Errors
    /// [`InvalidBackend`]: TLS demanded over a Unix socket, ..
    pub fn new(
        addr: BackendAddr,
        tls: BackendTls,
        connect_timeout: Duration,
    ) -> Result<Self, InvalidBackend> {
        todo!()
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> &BackendAddr {
        &self.addr
    }

    /// Connects, and finishes TLS as the project demands. For a cancel too.
    ///
    /// # Errors
    /// [`DialError`], for the operator's log only.
    pub async fn dial(&self) -> Result<BackendConnection, DialError> {
        todo!()
    }
}
