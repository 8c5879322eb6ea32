//! What Prometheus may ask. The only file that names its crate.
//!
//! Handles are resolved once per project and shared, so that counting costs an atomic addition;
//! when the last handle on a project goes, its series go with it. Label values are bounded: the
//! names of known projects, and words of ours.

mod live;
mod series;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use self::live::Live;
use self::series::{
    ACCEPTED, BACKEND_CONNECT, BUILD, BYTES, CANCELS, CERTIFICATE_EXPIRY, CLIENT_CERTIFICATES,
    HANDSHAKE, LAST_RELOAD, LOGIN, OBSERVED, REFUSALS, RELOADS, SESSIONS, SESSIONS_TOTAL,
};
pub use self::series::{SERIES, Series};
use crate::auth::certificate::CertificateResult;
use crate::id::ProjectName;
use crate::refusal::Reason;
use crate::relay::Control;

/// Upper bounds of the histograms, in seconds: from a handshake on the same host to the longest
/// login that a gate would bear.
const BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What became of a CancelRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelResult {
    /// It was sent to the session's backend.
    Forwarded,
    /// No session has its key.
    UnknownKey,
    /// Its source may not cancel, or not as often.
    Denied,
    /// The backend could not be reached.
    Failed,
}

/// All series of one process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    accepted: IntCounter,
    refusals: IntCounterVec,
    client_certificates: IntCounterVec,
    sessions: IntGaugeVec,
    sessions_total: IntCounterVec,
    observed: IntCounterVec,
    bytes: IntCounterVec,
    handshake: Histogram,
    login: Histogram,
    backend_connect: Histogram,
    cancels: IntCounterVec,
    certificate_expiry: GaugeVec,
    reloads: IntCounterVec,
    last_reload: IntGauge,
    expiries: Mutex<HashMap<ProjectName, SystemTime>>,
    projects: Mutex<HashMap<ProjectName, Weak<ProjectMetrics>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl fmt::Debug for ProjectMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectMetrics")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Every series at zero, in a registry of its own.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let build = gauges(&registry, BUILD);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let last_reload = gauges(&registry, LAST_RELOAD).with_label_values::<&str>(&[]);
        last_reload.set(1);
        Self(Arc::new(Families {
            accepted: counters(&registry, ACCEPTED).with_label_values::<&str>(&[]),
            refusals: counters(&registry, REFUSALS),
            client_certificates: counters(&registry, CLIENT_CERTIFICATES),
            sessions: gauges(&registry, SESSIONS),
            sessions_total: counters(&registry, SESSIONS_TOTAL),
            observed: counters(&registry, OBSERVED),
            bytes: counters(&registry, BYTES),
            handshake: histogram(&registry, HANDSHAKE),
            login: histogram(&registry, LOGIN),
            backend_connect: histogram(&registry, BACKEND_CONNECT),
            cancels: counters(&registry, CANCELS),
            certificate_expiry: registered(
                &registry,
                GaugeVec::new(options(CERTIFICATE_EXPIRY), CERTIFICATE_EXPIRY.labels),
            ),
            reloads: counters(&registry, RELOADS),
            last_reload,
            expiries: Mutex::default(),
            projects: Mutex::default(),
            registry,
        }))
    }

    /// Counts a connection accepted.
    pub fn accepted(&self) {
        self.0.accepted.inc();
    }

    /// Counts a refusal before any project was known.
    pub fn refused(&self, reason: Reason) {
        self.0
            .refusals
            .with_label_values(&["", reason.label()])
            .inc();
    }

    /// Notes how long a client's TLS handshake took.
    pub fn handshake_took(&self, time: Duration) {
        self.0.handshake.observe(time.as_secs_f64());
    }

    /// Notes how long a login took, from accept to ReadyForQuery.
    pub fn login_took(&self, time: Duration) {
        self.0.login.observe(time.as_secs_f64());
    }

    /// Notes how long it took to connect a backend, its TLS included.
    pub fn backend_connect_took(&self, time: Duration) {
        self.0.backend_connect.observe(time.as_secs_f64());
    }

    /// Counts a CancelRequest.
    pub fn cancelled(&self, result: CancelResult) {
        let label = match result {
            CancelResult::Forwarded => "forwarded",
            CancelResult::UnknownKey => "unknown_key",
            CancelResult::Denied => "denied",
            CancelResult::Failed => "failed",
        };
        self.0.cancels.with_label_values(&[label]).inc();
    }

    /// Counts a reload of the configuration, and remembers how the last one went.
    pub fn reloaded(&self, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.0.reloads.with_label_values(&[result]).inc();
        self.all_in_force(succeeded);
    }

    /// Tells whether all of the configuration is in force: a reload may succeed with a part of it.
    pub fn all_in_force(&self, is_all: bool) {
        self.0.last_reload.set(i64::from(is_all));
    }

    /// The handles of one project. They are the same for as long as anybody holds them, so that
    /// nothing is lost over a reload.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> Arc<ProjectMetrics> {
        let mut projects = self.projects();
        if let Some(alive) = projects.get(name).and_then(Weak::upgrade) {
            return alive;
        }
        let made = Arc::new(ProjectMetrics::new(self.clone(), name.clone()));
        projects.insert(name.clone(), Arc::downgrade(&made));
        made
    }

    /// Every series in Prometheus's text format. Takes milliseconds where there are thousands of
    /// projects: not for a thread that serves sessions.
    #[must_use]
    pub fn render(&self, now: SystemTime) -> String {
        // Collected first: dropping the last handle on a project takes the lock again.
        let projects: Vec<_> = self.projects().values().filter_map(Weak::upgrade).collect();
        for project in projects {
            project.live.look();
        }
        // Held to the end, so that of two scrapes at once none sees what the other has cleared.
        let expiries = self.expiries();
        self.show_expiries(&expiries, now);
        TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .expect("every family has a name and a child")
    }

    /// Tells when the certificates expire that clients see: of these projects, and of no others.
    pub fn certificates_expire(&self, expiries: HashMap<ProjectName, SystemTime>) {
        *self.expiries() = expiries;
    }

    fn show_expiries(&self, expiries: &HashMap<ProjectName, SystemTime>, now: SystemTime) {
        let family = &self.0.certificate_expiry;
        family.reset();
        for (project, expiry) in expiries {
            let left = match expiry.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(over) => -over.duration().as_secs_f64(),
            };
            family.with_label_values(&[project.as_str()]).set(left);
        }
    }

    fn expiries(&self) -> MutexGuard<'_, HashMap<ProjectName, SystemTime>> {
        self.0
            .expiries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn projects(&self) -> MutexGuard<'_, HashMap<ProjectName, Weak<ProjectMetrics>>> {
        self.0
            .projects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handles of one project; its series are exported until the last of them is dropped.
pub struct ProjectMetrics {
    metrics: Metrics,
    name: ProjectName,
    sessions: IntGauge,
    sessions_total: IntCounter,
    live: Live,
}

impl ProjectMetrics {
    fn new(metrics: Metrics, name: ProjectName) -> Self {
        let families = &metrics.0;
        let project = name.as_str();
        Self {
            sessions: families.sessions.with_label_values(&[project]),
            sessions_total: families.sessions_total.with_label_values(&[project]),
            live: Live::new(
                families.bytes.with_label_values(&[project, "to_backend"]),
                families.bytes.with_label_values(&[project, "to_client"]),
            ),
            metrics,
            name,
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        let labels = [self.name.as_str(), reason.label()];
        self.metrics.0.refusals.with_label_values(&labels).inc();
    }

    /// Counts a session that the rules would have denied.
    pub fn observed(&self) {
        let families = &self.metrics.0;
        families
            .observed
            .with_label_values(&[self.name.as_str()])
            .inc();
    }

    /// Counts what came of a client's certificate.
    pub fn client_certificate(&self, result: CertificateResult) {
        let labels = [self.name.as_str(), result.label()];
        let family = &self.metrics.0.client_certificates;
        family.with_label_values(&labels).inc();
    }

    /// Counts a session, which is open until the guard is dropped, and the bytes that its relay
    /// carries until then.
    pub fn session(self: &Arc<Self>, control: Arc<Control>) -> OpenSession {
        self.sessions_total.inc();
        self.sessions.inc();
        OpenSession {
            id: self.live.opened(control),
            project: Arc::clone(self),
        }
    }
}

impl Drop for ProjectMetrics {
    fn drop(&mut self) {
        let mut projects = self.metrics.projects();
        if projects
            .get(&self.name)
            .is_some_and(|newer| newer.strong_count() > 0)
        {
            return; // made anew meanwhile: the series are the newer one's
        }
        projects.remove(&self.name);
        self.metrics.expiries().remove(&self.name);
        let (families, project) = (&self.metrics.0, self.name.as_str());
        // An error says that a series wasn't there, which is as good as removed.
        drop(families.sessions.remove_label_values(&[project]));
        drop(families.sessions_total.remove_label_values(&[project]));
        drop(families.observed.remove_label_values(&[project]));
        for direction in ["to_backend", "to_client"] {
            drop(families.bytes.remove_label_values(&[project, direction]));
        }
        for result in CertificateResult::ALL {
            let labels = [project, result.label()];
            drop(families.client_certificates.remove_label_values(&labels));
        }
        for reason in Reason::ALL {
            drop(
                families
                    .refusals
                    .remove_label_values(&[project, reason.label()]),
            );
        }
    }
}

/// A session that is open, for as long as this lives.
#[must_use]
pub struct OpenSession {
    project: Arc<ProjectMetrics>,
    id: u64,
}

impl fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenSession").field(&self.project).finish()
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.project.live.ended(self.id);
        self.project.sessions.dec();
    }
}

fn options(series: Series) -> Opts {
    Opts::new(series.name, series.help)
}

fn counters(registry: &Registry, series: Series) -> IntCounterVec {
    registered(registry, IntCounterVec::new(options(series), series.labels))
}

fn gauges(registry: &Registry, series: Series) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(options(series), series.labels))
}

fn histogram(registry: &Registry, series: Series) -> Histogram {
    let options = HistogramOpts::new(series.name, series.help).buckets(BUCKETS.into());
    registered(registry, HistogramVec::new(options, series.labels)).with_label_values::<&str>(&[])
}

/// Fails only on names that break Prometheus's rules or stand here twice: on our own mistakes.
fn registered<F: Collector + Clone + 'static>(
    registry: &Registry,
    family: prometheus::Result<F>,
) -> F {
    let family = family.expect("names and labels are good");
    registry
        .register(Box::new(family.clone()))
        .expect("each name is registered once");
    family
}

#[cfg(test)]
mod tests;
