//! The process: bind, accept, reload, drain.

mod accept;
mod drain;
mod endings;
mod leaves;
mod reload;
mod review;
mod tending;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::control::Control;
use crate::admin::socket::ControlListener;
use crate::admin::{Admin, Bounds, Phase, Readiness};
use crate::auth::proof::Proofs;
use crate::cancel::CancelKeys;
use crate::config::{AdminListen, Config, ControlSocket};
use crate::connection::{Gate, Handshakes, Throttle};
use crate::gate::limits::Limits;
use crate::id::ProjectName;
use crate::metrics::Metrics;
use crate::pki::{Keystore, PkiError};
use crate::served::Certificates;
use crate::sessions::{Open, Sessions};
use crate::store::catalogue::{Catalogue, LoadError};
use crate::store::keystore;
use crate::store::snapshot::Builder;

use reload::Reloader;
use review::Changed;

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
    control: Option<ControlListener>,
    catalogue: Catalogue,
    origin: Origin,
    builder: Builder,
    certificates: Arc<Certificates>,
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
    /// The included files can't be read, or the projects can't be made of what is written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The control socket can't be bound.
    #[error("cannot make the control socket {path}: {source}; set [admin] socket to another path, or to \"off\"", path = path.display())]
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
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
        let keystore = keystore::open(&config)?;
        let certificates = Certificates::new(keystore, config.runtime.certificates());
        let certificates = Arc::new(certificates);
        let builder = Builder::new(Arc::clone(&certificates), metrics.clone());
        let made = Catalogue::load(config, &builder, None)?;
        reload::warn_of_read(&made.warnings, &[]);
        reload::report_trouble(&made.troubles);
        let config = made.catalogue.main();
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
        let control = listen_for_control(&config.control)?;
        let gate = Arc::new(Gate {
            projects: ArcSwap::from_pointee(made.projects),
            limits: Arc::new(Limits::new(config.limits)),
            handshakes: Handshakes::new(config.runtime.handshakes()),
            // Half of what handshakes may take: what a backend asks for must leave them theirs.
            proofs: Proofs::new(config.runtime.handshakes() / 2),
            sessions: Sessions::default(),
            open: Open::default(),
            cancel_keys: CancelKeys::default(),
            metrics,
            throttle: Throttle::default(),
            draining: AtomicBool::new(false),
        });
        Ok(Self {
            gate,
            listeners,
            admin,
            control,
            catalogue: made.catalogue,
            origin,
            builder,
            certificates,
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

    /// Serves until an order to stop has been carried out. The tasks that accept, watch, review and
    /// answer the controls end with this future.
    pub async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let Self {
            gate,
            listeners,
            admin,
            control,
            catalogue,
            origin,
            builder,
            certificates,
        } = self;
        let (readiness, ready) = watch::channel(Readiness::new(Phase::Ready));
        let mut tasks = JoinSet::new();
        // They end with this future, so that the drain can be watched to its end.
        let keystore = certificates.keystore().clone();
        tasks.spawn(tending::tend(keystore.clone()));
        serve_controls(&mut tasks, &gate, (ready, keystore), (admin, control));
        for Bound { socket, pinned } in listeners {
            log_address("listening", &socket);
            tasks.spawn(accept::accept_loop(socket, pinned, Arc::clone(&gate)));
        }
        let changed = Changed::default();
        tasks.spawn(review::review_loop(Arc::clone(&gate), changed.clone()));
        let keeper = leaves::Keeper::new(&gate, certificates, builder.clone());
        tasks.spawn(keeper.run(readiness.clone()));
        let (reloads, asked) = mpsc::channel(1);
        let reloader = Reloader::new(Arc::clone(&gate), (catalogue, origin), builder, changed);
        tasks.spawn(reloader.run(asked, readiness.clone()));
        while let Some(Order::Reload) = orders.recv().await {
            // Full if one is asked for already, which will read what is there by then.
            let _asked = reloads.try_send(());
        }
        readiness.send_modify(|readiness| readiness.phase = Phase::Draining);
        drain::drain(&gate, &mut orders).await;
    }
}

fn serve_controls(
    tasks: &mut JoinSet<()>,
    gate: &Arc<Gate>,
    (readiness, keystore): (watch::Receiver<Readiness>, Keystore),
    (tcp, unix): (Option<TcpListener>, Option<ControlListener>),
) {
    let admin = Admin {
        metrics: gate.metrics.clone(),
        readiness,
        keystore,
        bounds: Bounds::default(),
    };
    if let Some(socket) = unix {
        tracing::info!(path = %socket.path().display(), "control socket");
        let (admin, gate) = (admin.clone(), Arc::clone(gate));
        tasks.spawn(async move {
            if let Err(error) = (Control { admin, gate }).serve(socket).await {
                tracing::error!(%error, "the control socket failed");
            }
        });
    }
    if let Some(socket) = tcp {
        log_address("metrics and health", &socket);
        tasks.spawn(async move {
            if let Err(error) = admin.serve(socket, std::future::pending()).await {
                tracing::error!(%error, "the admin listener failed");
            }
        });
    }
}

fn listen_for_control(socket: &ControlSocket) -> Result<Option<ControlListener>, StartError> {
    match socket {
        ControlSocket::Off => Ok(None),
        ControlSocket::At(path) => ControlListener::bind(path).map(Some).map_err(|source| {
            let path = path.clone();
            StartError::Control { path, source }
        }),
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

fn log_address(what: &str, socket: &TcpListener) {
    if let Ok(address) = socket.local_addr() {
        tracing::info!(%address, "{what}");
    }
}
