//! What the spine says of a connection: one line when its session opens, one when it ends, and a
//! count of each. Metadata only (T34), and nothing at all of health checks (T33).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Gate;
use super::facts::Facts;
use crate::metrics::{CancelResult, Metrics, OpenSession, ProjectMetrics};
use crate::pki::TrustedClient;
use crate::project::Projects;
use crate::refusal::{Fault, Reason, Refusal};
use crate::relay::{Closed, Control};

/// A log line about a connection, with all that is known of it.
macro_rules! line {
    ($level:ident, $facts:expr, $message:literal $(, $field:ident = $value:expr)* $(,)?) => {{
        let facts: &Facts = $facts;
        tracing::$level!(
            project = facts.project.as_ref().map(tracing::field::display),
            client = %facts.client,
            server_name = facts.server_name.as_ref().map(tracing::field::display),
            negotiation = facts.negotiation.map(|how| how.as_str()),
            tls_version = facts.tls.and_then(|tls| tls.version).map(tracing::field::debug),
            tls_group = facts.tls.and_then(|tls| tls.group).map(tracing::field::debug),
            rule = facts.rule.as_ref().map(tracing::field::display),
            observed = facts.observed.then_some(true),
            certificate = facts.who.certificate().map(TrustedClient::subject),
            certificate_serial = facts.who.certificate().map(TrustedClient::serial),
            user = facts.user.as_deref(),
            database = facts.database.as_deref(),
            backend = facts.backend.as_ref().map(tracing::field::display),
            passed_over = facts.passed_over.as_deref(),
            $($field = $value,)*
            $message
        );
    }};
}

/// A session opens; it counts as open until the guard is dropped.
pub(super) fn opened(
    metrics: &Metrics,
    project: &Arc<ProjectMetrics>,
    facts: &Facts,
    control: &Arc<Control>,
) -> OpenSession {
    let login = facts.accepted.elapsed();
    metrics.login_took(login);
    count_times(metrics, facts);
    count_certificate(project, facts);
    if facts.observed {
        project.observed();
    }
    line!(info, facts, "session opened", login_ms = millis(login));
    project.session(Arc::clone(control))
}

pub(super) fn closed(facts: &Facts, closed: &Closed, lasted: Duration) {
    line!(
        info,
        facts,
        "session ended",
        closed_by = closed.by.as_str(),
        reason = closed.why.as_str(),
        bytes_to_backend = closed.client_to_backend,
        bytes_to_client = closed.backend_to_client,
        duration_ms = millis(lasted),
    );
}

pub(super) fn cancelled(metrics: &Metrics, facts: &Facts) {
    metrics.cancelled(CancelResult::Forwarded);
    line!(info, facts, "cancel forwarded");
}

pub(super) fn refused(gate: &Gate, projects: &Projects, refusal: &Refusal, facts: &Facts) {
    let metrics = &gate.metrics;
    let reason = refusal.reason();
    if reason == Reason::Probe {
        return;
    }
    count_times(metrics, facts);
    match facts
        .project
        .as_ref()
        .and_then(|name| projects.by_name(name))
    {
        Some(project) => {
            let series = project.metrics(metrics);
            count_certificate(series, facts);
            series.refused(reason);
        }
        None => metrics.refused(reason),
    }
    if facts.is_cancel {
        metrics.cancelled(match refusal.fault() {
            _ if reason == Reason::UnknownCancelKey => CancelResult::UnknownKey,
            Fault::Client | Fault::Gate => CancelResult::Denied,
            Fault::Backend => CancelResult::Failed,
        });
    }
    let Some(suppressed) = gate.throttle.let_through(reason, Instant::now()) else {
        return;
    };
    let suppressed = (suppressed > 0).then_some(suppressed);
    let (why, reason) = (tracing::field::display(refusal), reason.label());
    match refusal.fault() {
        Fault::Client => line!(
            info,
            facts,
            "login refused",
            reason = reason,
            why = why,
            suppressed = suppressed,
        ),
        Fault::Backend | Fault::Gate => line!(
            warn,
            facts,
            "login failed",
            reason = reason,
            why = why,
            suppressed = suppressed,
        ),
    }
}

fn count_certificate(metrics: &ProjectMetrics, facts: &Facts) {
    if let Some(result) = facts.certificate {
        metrics.client_certificate(result);
    }
}

fn count_times(metrics: &Metrics, facts: &Facts) {
    if let Some(took) = facts.handshake {
        metrics.handshake_took(took);
    }
    if let Some(took) = facts.connect {
        metrics.backend_connect_took(took);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
