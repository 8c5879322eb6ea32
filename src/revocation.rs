//! Live sessions obey a change: whoever the rules no longer admit is cut (T27).

use std::time::Duration;

use jiff::Timestamp;

use crate::project::{OnRevoke, Projects};
use crate::relay::Cut;
use crate::sessions::{Session, Sessions};
use crate::wire::encode::{FatalResponse, fatal};

/// How long a client may take to read why it was cut.
const GRACE: Duration = Duration::from_secs(1);

/// admin_shutdown: the session was ended on purpose, by the operator's side (T22).
const ADMIN_SHUTDOWN: &str = "57P01";

/// Measures every live session against `projects`. Returns how many were cut.
pub fn review_all(sessions: &Sessions, projects: &Projects) -> usize {
    let now = Timestamp::now();
    sessions.cut(|session| verdict(session, projects, now))
}

/// Measures one session against `projects`, and cuts it if need be.
pub fn review(session: &Session, projects: &Projects) {
    if let Some(cut) = verdict(session, projects, Timestamp::now()) {
        session.control.cut(cut);
    }
}

/// The reason for which `session` may not go on, if there is one.
#[must_use]
pub fn verdict(session: &Session, projects: &Projects, now: Timestamp) -> Option<Cut> {
    let Session {
        client,
        project: name,
        ..
    } = session;
    if projects.common().deny.contains(*client) {
        let message = format!("connections from {} are no longer allowed", client.ip());
        return Some(cut("deny_listed", &message, None));
    }
    let Some(project) = projects.by_name(name) else {
        let message = format!("project \"{name}\" was removed");
        return Some(cut("project_removed", &message, None));
    };
    let may_stay = project.policy.observe
        || project.policy.on_revoke == OnRevoke::Keep
        || project.allow.decide(*client, now).is_allowed();
    (!may_stay).then(|| {
        let message = format!(
            "connections from {} are no longer allowed to \"{name}\"",
            client.ip()
        );
        let hint = "The rule that let this session in was changed, removed or has expired.";
        cut("rule_revoked", &message, Some(hint))
    })
}

/// The end of a session whose process stops.
#[must_use]
pub fn drained() -> Cut {
    let message = "terminating connection: the gate is shutting down";
    cut("drain", message, None)
}

fn cut(reason: &'static str, message: &str, hint: Option<&str>) -> Cut {
    let message = fatal(&FatalResponse {
        sqlstate: ADMIN_SHUTDOWN,
        message,
        detail: None,
        hint,
    });
    Cut {
        reason,
        message,
        grace: GRACE,
    }
}
