//! Live sessions obey a change: whoever the rules no longer admit is cut (T27).

use std::time::Duration;

use jiff::Timestamp;

use crate::address::ClientAddr;
use crate::auth::certificate::Identification;
use crate::gate::allow_list::AllowList;
use crate::project::{OnRevoke, Project, Projects};
use crate::relay::Cut;
use crate::sessions::Session;
use crate::wire::encode::{FatalResponse, fatal};

/// How long a client may take to read why it was cut.
const GRACE: Duration = Duration::from_secs(1);

/// admin_shutdown: the session was ended on purpose, by the operator's side (T22).
const ADMIN_SHUTDOWN: &str = "57P01";

/// Measures one session against `projects`, and cuts it at once if it may not go on.
pub fn review(session: &Session, projects: &Projects, now: Timestamp) {
    if let Some(cut) = verdict(session, projects, now) {
        session.control.cut(cut);
    }
}

/// The reason for which `session` may not go on, if there is one.
#[must_use]
pub fn verdict(session: &Session, projects: &Projects, now: Timestamp) -> Option<Cut> {
    let Session {
        client,
        project: name,
        who,
        ..
    } = session;
    if projects.common().deny.contains(*client, now) {
        let message = format!("connections from {} are no longer allowed", client.ip());
        return Some(cut("deny_listed", &message, None));
    }
    let Some(project) = projects.by_name(name) else {
        let message = format!("project \"{name}\" was removed");
        return Some(cut("project_removed", &message, None));
    };
    if would_cut(project, &project.allow, *client, now) {
        let ip = client.ip();
        let message = format!("connections from {ip} are no longer allowed to \"{name}\"");
        let hint = "The rule that let this session in was changed, removed or has expired.";
        return Some(cut("rule_revoked", &message, Some(hint)));
    }
    certificate_verdict(project, who)
}

/// The reason for which who came in with this certificate, or without one, may not go on.
fn certificate_verdict(project: &Project, who: &Identification) -> Option<Cut> {
    match project.policy.on_revoke {
        OnRevoke::Keep => None,
        OnRevoke::Cut => {
            let refused = project.clients.judge_again(who).err()?;
            let hint = "What the project demands of client certificates has changed.";
            let message = refused.to_string();
            Some(cut("certificate_revoked", &message, Some(hint)))
        }
    }
}

/// Whether a session of `client` would be cut if `list` were the rules of `project`.
#[must_use]
pub fn would_cut(project: &Project, list: &AllowList, client: ClientAddr, now: Timestamp) -> bool {
    let may_stay = project.policy.observe || project.policy.on_revoke == OnRevoke::Keep;
    !may_stay && !list.decide(client, now).is_allowed()
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
