//! [`Project`] and [`Projects`]: what a connection is measured against, as one immutable snapshot.
//!
//! A reload builds a whole new [`Projects`] beside the old one and swaps it in (T31); a connection
//! keeps the snapshot that admitted it for as long as its login lasts.

mod index;
mod mark;
mod sharded;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::address::{Host, HostName};
use crate::auth::certificate::{ClientCertificates, Minter};
use crate::auth::query::AuthQuery;
use crate::auth::verifiers::Verifiers;
use crate::backend::Backend;
use crate::gate::allow_list::AllowList;
use crate::gate::deny_list::DenyList;
use crate::gate::rule::TagName;
use crate::gate::set::NetworkSet;
use crate::id::ProjectName;
use crate::metrics::{Metrics, ProjectMetrics};
use crate::relay::TcpTuning;
use crate::served::{Served, Serving};

pub use index::Index;
pub use mark::Mark;
pub use sharded::Sharded;

/// One database behind the gate: who may come in, by which certificate, and where it is.
#[derive(Debug)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Who may come in.
    pub allow: AllowList,
    /// What becomes of those who may not.
    pub policy: Policy,
    /// Where its sessions go.
    pub backend: Arc<Backend>,
    /// What the backend was made of.
    pub backend_mark: Mark,
    /// Who proves what to whom.
    pub auth: Auth,
    /// What it demands of its clients' certificates.
    pub clients: ClientCertificates,
    /// The certificate that it shows, and TLS with it: made on first use, and this project's own,
    /// never shared (T14).
    pub serving: Arc<Serving>,
    /// Sessions at once.
    pub max_sessions: u32,
    /// Its series, once somebody has [asked](Self::metrics) for them.
    pub metrics: OnceLock<Arc<ProjectMetrics>>,
}

/// Who proves what to whom when a client logs in.
#[derive(Debug)]
pub enum Auth {
    /// The client proves itself to the backend; the gate passes every message on as it came.
    Passthrough,
    /// The client proves itself to the gate by SCRAM, and with what the proof reveals the gate proves
    /// itself to the backend.
    Scram(Box<Verifiers>),
    /// The same, by verifiers that the backend is asked for.
    Query(Arc<AuthQuery>),
    /// The client tells the gate its password, and with it the gate proves itself to the backend.
    Password,
    /// The client proves itself to the gate by a certificate, and the gate itself to the backend by
    /// one that it makes for the user.
    Certificate(Arc<Minter>),
}

/// What becomes of clients whom a project's rules do not admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Let them in all the same, and say so: the way to adopt a list on a live system.
    pub observe: bool,
    /// What becomes of live sessions that a change no longer admits.
    pub on_revoke: OnRevoke,
    /// How a refusal is seen.
    pub refusal: RefusalStyle,
}

/// What becomes of live sessions that a change no longer admits (T27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRevoke {
    /// They are ended within a second.
    Cut,
    /// They stay until they end by themselves.
    Keep,
}

/// How a refusal is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalStyle {
    /// TLS is finished and the reason is said inside it (T7).
    Explain,
    /// The connection is closed before TLS.
    Drop,
}

/// Every project of the process, and what holds for all of them. Cheap to clone: copies share what
/// they have in common.
#[derive(Debug, Clone)]
pub struct Projects {
    index: Index,
    default: Option<Arc<Project>>,
    common: Arc<Common>,
}

/// Named sets of networks.
pub type Tags = BTreeMap<TagName, Arc<NetworkSet>>;

/// What holds for all projects.
#[derive(Debug)]
pub struct Common {
    /// Who is closed on before a byte is read.
    pub deny: DenyList,
    /// What the projects' rules share.
    pub tags: Tags,
    /// From accept to ReadyForQuery (T6).
    pub login_timeout: Duration,
    /// When a client that has vanished is found out.
    pub tcp: TcpTuning,
    /// How long sessions may go on once the process is told to stop (T32).
    pub drain_timeout: Duration,
    /// A certificate of nobody's, for those who name no project of ours: so they can finish TLS, and
    /// read why (T13).
    pub stranger: Arc<Served>,
}

impl Projects {
    /// The projects of an index. `default` serves clients who name no project; a single project is
    /// the default without being named.
    #[must_use]
    pub fn new(index: Index, default: Option<&ProjectName>, common: Arc<Common>) -> Self {
        let named = default.and_then(|name| index.get(name));
        let default = named.or_else(|| index.only()).cloned();
        Self {
            index,
            default,
            common,
        }
    }

    /// By the names under which they are asked for.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// The project that serves `server_name`: by its exact name, else by a wildcard (T13).
    #[must_use]
    pub fn by_server_name(&self, server_name: &HostName) -> Option<&Arc<Project>> {
        let index = &self.index;
        index
            .by_host(server_name)
            .or_else(|| index.by_host(&server_name.wildcard()?))
    }

    /// The project of that name.
    #[must_use]
    pub fn by_name(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.index.get(name)
    }

    /// The project of clients who name none.
    #[must_use]
    pub const fn default_project(&self) -> Option<&Arc<Project>> {
        self.default.as_ref()
    }

    /// What holds for all projects.
    #[must_use]
    pub const fn common(&self) -> &Arc<Common> {
        &self.common
    }

    /// Every project, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.index.iter()
    }

    /// How a refusal is seen by those who name no project of ours: a name that is dropped must not
    /// differ from one that doesn't exist (T29).
    #[must_use]
    pub const fn refusal(&self) -> RefusalStyle {
        self.index.refusal()
    }
}

impl Project {
    /// The names and addresses under which clients reach it.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.serving.recipe().hosts
    }

    /// The names by which it is told apart from others; an address never comes as server_name.
    pub fn host_names(&self) -> impl Iterator<Item = &HostName> {
        self.hosts().iter().filter_map(|host| match host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        })
    }

    /// Its series, resolved on first use: a project that nobody asks for has none.
    pub fn metrics(&self, of: &Metrics) -> &Arc<ProjectMetrics> {
        self.metrics.get_or_init(|| of.project(&self.name))
    }
}
