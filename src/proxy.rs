//! The process: bind, accept, reload, drain.

mod accept;
mod drain;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{Admin, Bounds, Phase, Readiness};
use crate::cancel::CancelKeys;
use crate::config::{AdminListen, Config};
use crate::connection::Gate;
use crate::gate::limits::Limits;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Keystore, PkiError};
use crate::sessions::Sessions;
use crate::store::snapshot::{BuildErrors, Builder, Built};

pub use reload::Origin;

/// Connections that may wait in the kernel until they are accepted.
const BACKLOG: u32 = 4096;

/// What the process can be told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again.
    Reload,
    /// Let nobody in any more and stop when the sessions have ended, or in any case when the drain's
    /// time is over. Said twice: stop now.
    Stop,
}

/// A gate with its sockets bound, not yet accepting.
#[derive(Debug)]
pub struct Proxy {
    gate: Arc<Gate>,
    listeners: Vec<Bound>,
    admin: Option<TcpListener>,
    config: Config,
    origin: Origin,
    builder: Builder,
}

/// A bound listener.
#[derive(Debug)]
struct Bound {
    socket: TcpListener,
    pinned: Option<ProjectName>,
}

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keystore can't be used.
    #[error(transparent)]
    Keystore(#[from] PkiError),
    /// The projects can't be made of the configuration.
    #[error(transparent)]
    Build(#[from] BuildErrors),
    /// A socket can't be bound.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Bind {
        /// Its address.
        address: SocketAddr,
        /// The kernel's word.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    let hints = [
        (
            io::ErrorKind::AddrInUse,
            "; stop what listens there, or choose another port",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another port",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "; no interface of this machine has that address",
        ),
    ];
    hints
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or("", |(_, hint)| hint)
}

impl Proxy {
    /// Makes the projects of `config`, with their certificates, and binds every socket.
    ///
    /// # Errors
    /// A certificate can't be read or made, or a socket can't be bound.
    pub fn bind(config: Config, origin: Origin) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let keystore = Keystore::open(config.certs.clone())?;
        let builder = Builder::new(keystore, metrics.clone());
        let Built { projects, warnings } = builder.build(&config, None)?;
        reload::report_trouble(&warnings);
        let mut listeners = Vec::new();
        for spec in &config.listeners {
            let socket = listen(spec.address)?;
            listeners.push(Bound {
                socket,
                pinned: spec.project.clone(),
            });
        }
        let admin = match config.admin {
            AdminListen::On(address) => Some(listen(address)?),
            AdminListen::Off => None,
        };
        let gate = Arc::new(Gate {
            projects: ArcSwap::from_pointee(projects),
            limits: Arc::new(Limits::new(config.limits)),
            sessions: Sessions::default(),
            cancel_keys: CancelKeys::default(),
            metrics,
            draining: AtomicBool::new(false),
        });
        Ok(Self {
            gate,
            listeners,
            admin,
            config,
            origin,
            builder,
        })
    }

    /// Where clients can connect, in the order of the configuration.
    ///
    /// # Errors
    /// The kernel doesn't tell.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners
            .iter()
            .map(|bound| bound.socket.local_addr())
            .collect()
    }

    /// Where the admin listener is, if there is one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
    }

    /// Serves until an order to stop has been carried out. The tasks that accept, watch and answer
    /// the admin listener end with this future.
    pub async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let Self {
            gate,
            listeners,
            admin,
            config,
            origin,
            builder,
        } = self;
        let (readiness, ready) = watch::channel(Readiness::new(Phase::Ready));
        let mut tasks = JoinSet::new();
        for Bound { socket, pinned } in listeners {
            log_listening("postgresql", &socket);
            tasks.spawn(accept::accept_loop(socket, pinned, Arc::clone(&gate)));
        }
        if let Some(socket) = admin {
            log_listening("admin", &socket);
            let metrics = gate.metrics.clone();
            let admin = Admin {
                metrics,
                readiness: ready,
                bounds: Bounds::default(),
            };
            // Ends with this future, so that the drain can be watched to its end.
            tasks.spawn(async move {
                if let Err(error) = admin.serve(socket, std::future::pending()).await {
                    tracing::error!(%error, "the admin listener failed");
                }
            });
        }
        let drain_timeout = config.drain_timeout;
        let mut reloader = reload::Reloader::new(Arc::clone(&gate), config, origin, builder);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Reload) => reloader.reload("SIGHUP").await,
                    Some(Order::Stop) | None => break,
                },
                () = reloader.next_change() => {}
            }
        }
        readiness.send_replace(Readiness::new(Phase::Draining));
        drain::drain(&gate, drain_timeout, &mut orders).await;
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| StartError::Bind { address, source })
}

fn log_listening(listener: &str, socket: &TcpListener) {
    if let Ok(address) = socket.local_addr() {
        tracing::info!(listener, %address, "listening");
    }
}
