//! [`Project`] and [`Projects`]: what a connection is measured against, as one immutable snapshot.
//!
//! A reload builds a whole new [`Projects`] beside the old one and swaps it in (T31); a connection
//! keeps the snapshot that admitted it for as long as its login lasts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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
use crate::metrics::ProjectMetrics;
use crate::relay::TcpTuning;
use crate::served::{Served, Serving};

/// One database behind the gate: who may come in, by which certificate, and where it is.
#[derive(Debug)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// The names and addresses under which clients reach it.
    pub hosts: Arc<[Host]>,
    /// Who may come in.
    pub allow: AllowList,
    /// What becomes of those who may not.
    pub policy: Policy,
    /// Where its sessions go.
    pub backend: Arc<Backend>,
    /// Who proves what to whom.
    pub auth: Auth,
    /// What it demands of its clients' certificates.
    pub clients: ClientCertificates,
    /// The certificate that it shows, and TLS with it: made on first use, and this project's own,
    /// never shared (T14).
    pub serving: Arc<Serving>,
    /// Sessions at once.
    pub max_sessions: u32,
    /// Its series, resolved once.
    pub metrics: Arc<ProjectMetrics>,
}

/// Who proves what to whom when a client logs in.
#[derive(Debug)]
pub enum Auth {
    /// The client proves itself to the backend; the gate passes every message on as it came.
    Passthrough,
    /// The client proves itself to the gate by SCRAM, and with what the proof reveals the gate proves
    /// itself to the backend.
    Scram(Verifiers),
    /// The same, by verifiers that the backend is asked for.
    Query(Arc<AuthQuery>),
    /// The client tells the gate its password, and with it the gate proves itself to the backend.
    Password,
    /// The client proves itself to the gate by a certificate, and the gate itself to the backend by
    /// one that it makes for the user.
    Certificate(Minter),
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

/// Every project of the process, and what holds for all of them.
#[derive(Debug)]
pub struct Projects {
    by_name: HashMap<ProjectName, Arc<Project>>,
    by_host: HashMap<HostName, Arc<Project>>,
    default: Option<Arc<Project>>,
    common: Common,
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
    /// How a refusal is seen by those who name no project of ours.
    pub refusal: RefusalStyle,
    /// A certificate of nobody's, for those who name no project of ours: so they can finish TLS, and
    /// read why (T13).
    pub stranger: Arc<Served>,
}

impl Projects {
    /// Indexes `projects` by name and host. `default` serves clients who name no project; a single
    /// project is the default without being named.
    #[must_use]
    pub fn new(projects: Vec<Arc<Project>>, default: Option<&ProjectName>, common: Common) -> Self {
        let mut by_host = HashMap::new();
        for project in &projects {
            for host in &*project.hosts {
                if let Host::Name(name) = host {
                    by_host.insert(name.clone(), Arc::clone(project));
                }
            }
        }
        let only = match projects.as_slice() {
            [only] => Some(Arc::clone(only)),
            _ => None,
        };
        let by_name: HashMap<_, _> = projects
            .into_iter()
            .map(|project| (project.name.clone(), project))
            .collect();
        let default = default.and_then(|name| by_name.get(name).cloned()).or(only);
        Self {
            by_name,
            by_host,
            default,
            common,
        }
    }

    /// The project that serves `server_name`: by its exact name, else by a wildcard (T13).
    #[must_use]
    pub fn by_server_name(&self, server_name: &HostName) -> Option<&Arc<Project>> {
        self.by_host
            .get(server_name)
            .or_else(|| self.by_host.get(&server_name.wildcard()?))
    }

    /// The project of that name.
    #[must_use]
    pub fn by_name(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.by_name.get(name)
    }

    /// The project of clients who name none.
    #[must_use]
    pub const fn default_project(&self) -> Option<&Arc<Project>> {
        self.default.as_ref()
    }

    /// What holds for all projects.
    #[must_use]
    pub const fn common(&self) -> &Common {
        &self.common
    }

    /// Every project, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.by_name.values()
    }
}
