//! The PostgreSQL server behind a project: dialling it, and TLS towards it.
//!
//! A [`Backend`] is built once from the configuration, of one [`Endpoint`] or several, and connected
//! once per client connection; a CancelRequest goes to the very place that its session was
//! [reached](Reached) at. What [`Backend::connect`] gives back has finished TLS as the project demands
//! and has the StartupMessage.

mod alert;
mod balance;
mod connect;
mod dial;
mod endpoint;
mod error;
mod identity;
mod names;
mod negotiation;
mod standing;
mod stream;
mod tls;
mod verifier;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::address::BackendAddr;
use crate::relay::TcpTuning;

pub use alert::CertificateAlert;
pub use balance::Balance;
pub use connect::{Connected, Hello, Unavailable};
pub use endpoint::Endpoint;
pub use error::{DialError, InvalidBackend};
pub use identity::{ClientIdentity, InvalidIdentity};
pub use names::NameCaching;
pub use negotiation::SslNegotiation;
pub use standing::Live;
pub use stream::{BackendConnection, BackendPeer, Reached};
pub use tls::{BackendTls, InvalidSslMode, SslMode, TrustedRoots};

/// A project's backend: one address, or several that all serve the same. One that nobody has been sent
/// to is not much more than its addresses.
#[derive(Debug)]
pub struct Backend {
    addresses: Box<[BackendAddr]>,
    dialling: Arc<Dialling>,
    balance: Balance,
    /// Made on first use.
    endpoints: OnceLock<Box<[Arc<Endpoint>]>>,
}

/// How each address of a backend is dialled. Equal for what is one and the same, as the same TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dialling {
    /// What its TLS must be. A Unix socket among other addresses has none, as with libpq.
    pub tls: BackendTls,
    /// For all that is done with one address: resolving, connecting, TLS; and, where there is another
    /// address to go on to, its first answer to the StartupMessage.
    pub connect_timeout: Duration,
    /// For how long what its names resolve to is kept.
    pub names: NameCaching,
    /// What TCP is to do about a server that has vanished.
    pub tcp: TcpTuning,
}

impl Backend {
    /// A backend at these addresses. With one address, nothing is to be chosen and nothing set aside.
    ///
    /// # Errors
    /// No address; TLS where there is only a Unix socket, over which PostgreSQL doesn't speak it; a
    /// wildcard in the place of a host.
    pub fn new(
        addresses: Vec<BackendAddr>,
        dialling: Arc<Dialling>,
        balance: Balance,
    ) -> Result<Self, InvalidBackend> {
        if addresses.is_empty() {
            return Err(InvalidBackend::NoAddress);
        }
        if let [lone @ BackendAddr::Unix { .. }] = addresses.as_slice()
            && dialling.tls.mode() != SslMode::Disable
        {
            return Err(InvalidBackend::TlsOverUnix { addr: lone.clone() });
        }
        addresses.iter().try_for_each(Endpoint::check)?;
        Ok(Self {
            addresses: addresses.into(),
            dialling,
            balance,
            endpoints: OnceLock::new(),
        })
    }

    /// What is known of each address goes on from a backend of before, where the address stays: how
    /// many sessions it has, and whether it is set aside.
    #[must_use]
    pub fn carrying_on_from(self, previous: &Self) -> Self {
        let Some(before) = previous.endpoints.get() else {
            // Nobody was sent to any of them.
            return self;
        };
        let carry_on = |endpoint: &Arc<Endpoint>| {
            let known = before.iter().find(|other| other.addr() == endpoint.addr());
            known.map_or_else(
                || Arc::clone(endpoint),
                |known| Arc::new(endpoint.with_standing_of(known)),
            )
        };
        let endpoints: Box<[_]> = self.endpoints().iter().map(carry_on).collect();
        Self {
            endpoints: OnceLock::from(endpoints),
            ..self
        }
    }

    /// Whether the other one goes to the same addresses, in the same way.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.addresses == other.addresses
            && self.dialling == other.dialling
            && self.balance == other.balance
    }

    /// Its addresses, at least one, in the order of the configuration.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        self.endpoints.get_or_init(|| {
            let addresses = self.addresses.iter();
            // None is left out: each was checked.
            let made =
                addresses.filter_map(|addr| Endpoint::new(addr.clone(), &self.dialling).ok());
            made.map(Arc::new).collect()
        })
    }

    /// Connects to the first address that will have us, and sends it the StartupMessage. An address
    /// that can't be had, or that says 57P03 before anything else, is set aside for a while, and the
    /// next one is tried. Each has its connect timeout, and no more than its share of the time up to
    /// `deadline` when others are left: one that stays silent must not cost them theirs.
    ///
    /// Of several addresses, one that has failed is tried by one login at a time until it succeeds. Who
    /// comes meanwhile goes on without it, so that when all are down nobody else waits for what vanishes.
    ///
    /// # Errors
    /// What came of each address, if none of them was to be had until then.
    pub async fn connect(
        &self,
        hello: Hello<'_>,
        deadline: Instant,
    ) -> Result<Connected, Unavailable> {
        connect::connect(self, hello, deadline).await
    }

    /// Those to try, in this order: the addresses in good standing as `balance` has it, and last, of
    /// those set aside, the one that failed the longest ago and that nobody is trying.
    fn candidates(&self) -> Vec<Arc<Endpoint>> {
        balance::candidates(self.endpoints(), self.balance, Instant::now())
    }
}

#[cfg(test)]
mod tests;
