//! The process-wide deny list, shown, asked and tried out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Answer, Asked, Cuts, Proposal, RuleHits, compile, rule_hits};
use crate::address::ClientAddr;
use crate::config::Revision;
use crate::connection::Gate;
use crate::gate::allow_list::Hits;
use crate::gate::deny_list::{Denied, DenyList};

/// An entry of the process-wide deny list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyListed {
    /// The rule's id; none if the entry stands in a file.
    pub id: Option<String>,
    /// The rule's source, or the file's prefix.
    pub source: String,
    /// The file that it stands in, if it is not a rule.
    pub file: Option<String>,
    /// Connections that were turned away by the rule, or by any entry of the file.
    pub hits: u64,
    /// When the last one was, RFC 3339; none for never.
    pub last_hit: Option<String>,
}

impl From<Denied<'_>> for DenyListed {
    fn from(denied: Denied<'_>) -> Self {
        let (id, file, hits) = match denied {
            Denied::Rule { rule, hits } => (Some(rule.id.to_string()), None, hits),
            Denied::File { name, hits, .. } => (None, Some(name.to_owned()), hits),
        };
        Self {
            id,
            source: denied.source().to_string(),
            file,
            hits: hits.count,
            last_hit: hits.last.map(|last| last.to_string()),
        }
    }
}

/// The process-wide deny list as it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyInForce {
    /// Which state of the rules this is, as [`Revision`] writes it.
    pub revision: String,
    /// What is written one by one, in the order of writing.
    pub rules: Vec<RuleHits>,
    /// The files.
    pub files: Vec<FileHits>,
}

/// How often a file of networks turned somebody away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHits {
    /// The file.
    pub file: String,
    /// How many networks it lists.
    pub networks: usize,
    /// Connections that were turned away by it since the process started.
    pub hits: u64,
    /// When the last one was, RFC 3339; none for never.
    pub last_hit: Option<String>,
}

/// Whether an address is closed on at accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyDecision {
    /// Which state of the rules decided.
    pub revision: String,
    /// The entry that holds the address; none if it is not on the list.
    pub deny_listed: Option<DenyListed>,
}

fn revision(list: &DenyList) -> String {
    Revision::of(list.rules().map(|(rule, _)| rule)).to_string()
}

pub(super) async fn list(State(gate): State<Arc<Gate>>) -> Json<DenyInForce> {
    let projects = gate.projects.load_full();
    let deny = &projects.common().deny;
    let file = |(name, networks, hits): (&str, usize, Hits)| FileHits {
        file: name.to_owned(),
        networks,
        hits: hits.count,
        last_hit: hits.last.map(|last| last.to_string()),
    };
    Json(DenyInForce {
        revision: revision(deny),
        rules: deny.rules().map(rule_hits).collect(),
        files: deny.files().map(file).collect(),
    })
}

pub(super) async fn decision(
    State(gate): State<Arc<Gate>>,
    Query(asked): Query<Asked>,
) -> Json<DenyDecision> {
    let projects = gate.projects.load_full();
    let deny = &projects.common().deny;
    let client = ClientAddr::from(asked.address);
    Json(DenyDecision {
        revision: revision(deny),
        deny_listed: deny.find(client, Timestamp::now()).map(DenyListed::from),
    })
}

/// Who is on a file of the list is no live session, so the proposed rules alone decide.
pub(super) async fn cuts(
    State(gate): State<Arc<Gate>>,
    Json(proposal): Json<Proposal>,
) -> Answer<Cuts> {
    let rules = compile(gate.projects.load_full(), proposal).await?;
    let list = DenyList::new(rules, []);
    let (sessions, now) = (gate.sessions.all(), Timestamp::now());
    let would_go = sessions
        .iter()
        .filter(|session| list.contains(session.client, now));
    Ok(Json(Cuts {
        cut: would_go.count(),
        sessions: sessions.len(),
    }))
}
