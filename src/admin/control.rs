//! What the command line asks of the running gate, and what it is answered: JSON over HTTP/1.1 on the
//! control socket. Nothing here changes anything: changes are made in `proxy.toml`, which is watched.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/deny` | [`DenyInForce`] |
//! | `GET /v1/deny/decision?address=IP` | [`DenyDecision`] |
//! | `POST /v1/deny/cuts` with [`Proposal`] | [`Cuts`] |
//! | `GET /v1/projects/NAME/rules` | [`RulesInForce`] |
//! | `GET /v1/projects/NAME/decision?address=IP` | [`DecisionInForce`] |
//! | `POST /v1/projects/NAME/cuts` with [`Proposal`] | [`Cuts`] |
//!
//! A project that isn't there is 404, a request that can't be read 400.

mod deny;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bounded::BoundedListener;
use super::socket::ControlListener;
use super::{Admin, Bounds};
use crate::address::ClientAddr;
use crate::config::Revision;
use crate::connection::Gate;
use crate::gate::allow_list::{AllowList, Hits, Shadow};
use crate::gate::rule::{Remarks, Rule, Source, Verdict};
use crate::id::ProjectName;
use crate::project::{Project, Projects};
use crate::revocation;

pub use deny::{DenyDecision, DenyInForce, DenyListed, FileHits};

/// The longest proposal, in bytes: some half a million rules.
const MAX_PROPOSAL: usize = 64 * 1024 * 1024;

/// What a client of the control socket may take up. It is the owner of the process.
const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(30),
    request_bytes: MAX_PROPOSAL + 64 * 1024,
    connections: 16,
};

/// A project's rules as they are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesInForce {
    /// Which state of the rules this is, as [`Revision`] writes it.
    pub revision: String,
    /// Live sessions of the project.
    pub sessions: usize,
    /// Each rule with its hits, in the order of writing.
    pub rules: Vec<RuleHits>,
}

/// How often a rule decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// The rule's id.
    pub id: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// The source.
    pub source: String,
    /// Connections that it decided on since the process started.
    pub hits: u64,
    /// When it did last, RFC 3339; none for never.
    pub last_hit: Option<String>,
}

/// What becomes of an address now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionInForce {
    /// Which state of the rules decided.
    pub revision: String,
    /// `allow` or `deny`, as the rules say.
    pub verdict: String,
    /// The rule that decides; none if no rule matches.
    pub rule: Option<RuleHits>,
    /// The rules that match and don't decide, the closest first.
    pub shadowed: Vec<ShadowedRule>,
    /// The entry of the process-wide deny list by which the address is closed on at accept, if there
    /// is one.
    pub deny_listed: Option<DenyListed>,
    /// Whether the project lets in whom its rules deny.
    pub observe: bool,
}

/// A rule that matches an address and doesn't decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowedRule {
    /// The rule's id.
    pub id: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// The source.
    pub source: String,
    /// Why it doesn't decide, in a few words.
    pub why: String,
}

impl ShadowedRule {
    /// The rules that match an address in `list` and don't decide.
    #[must_use]
    pub fn all(list: &AllowList, client: ClientAddr, now: Timestamp) -> Vec<Self> {
        let shadowed = list.explain(client, now).shadowed;
        let one = |shadowed: &crate::gate::allow_list::Shadowed<'_>| Self {
            id: shadowed.rule.id.to_string(),
            verdict: shadowed.rule.verdict.to_string(),
            source: shadowed.rule.source.to_string(),
            why: why(shadowed.by).to_owned(),
        };
        shadowed.iter().map(one).collect()
    }
}

const fn why(shadow: Shadow) -> &'static str {
    match shadow {
        Shadow::Expired => "has expired",
        Shadow::LongerPrefix => "a longer prefix decides",
        Shadow::Deny => "deny wins between equals",
        Shadow::Same => "says the same",
    }
}

/// Rules that somebody thinks of putting in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// All of them, in the order of writing.
    pub rules: Vec<ProposedRule>,
}

/// As much of a rule as a decision needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedRule {
    /// `allow` or `deny`.
    pub verdict: String,
    /// The source.
    pub source: String,
    /// When it expires, RFC 3339.
    pub expires: Option<String>,
}

impl From<&Rule> for ProposedRule {
    fn from(rule: &Rule) -> Self {
        Self {
            verdict: rule.verdict.to_string(),
            source: rule.source.to_string(),
            expires: rule.expires().map(|expires| expires.to_string()),
        }
    }
}

impl ProposedRule {
    fn read(&self) -> Option<Rule> {
        let rule = Rule::new(self.verdict.parse().ok()?, self.source.parse().ok()?);
        let expires = match &self.expires {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(rule.with(Remarks {
            expires,
            ..Remarks::default()
        }))
    }
}

/// What a proposal would do to live sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// Live sessions of the project.
    pub sessions: usize,
    /// How many of them would be cut.
    pub cut: usize,
}

/// The controls on the control socket: everything that [`Admin`] shows, and the rules.
#[derive(Clone)]
pub struct Control {
    /// What is shown to anybody.
    pub admin: Admin,
    /// The process.
    pub gate: Arc<Gate>,
}

impl Control {
    /// Serves for as long as the future is polled.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(self, socket: ControlListener) -> io::Result<()> {
        let ControlListener {
            listener,
            file: _file,
        } = socket;
        let admin = self.admin.clone().router();
        let routes = Router::new()
            .route("/v1/deny", get(deny::list))
            .route("/v1/deny/decision", get(deny::decision))
            .route("/v1/deny/cuts", post(deny::cuts))
            .route("/v1/projects/{project}/rules", get(rules))
            .route("/v1/projects/{project}/decision", get(decision))
            .route("/v1/projects/{project}/cuts", post(cuts))
            .layer(DefaultBodyLimit::max(MAX_PROPOSAL))
            .with_state(self.gate);
        axum::serve(
            BoundedListener::new(listener, BOUNDS),
            routes.fallback_service(admin),
        )
        .await
    }
}

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

fn find(projects: &Projects, name: &str) -> Result<Arc<Project>, (StatusCode, String)> {
    let name: Option<ProjectName> = name.parse().ok();
    let found = name.and_then(|name| projects.by_name(&name).map(Arc::clone));
    found.ok_or_else(|| {
        (
            StatusCode::NOT_FOUND,
            "there is no such project\n".to_owned(),
        )
    })
}

fn bad(why: impl ToString) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{}\n", why.to_string()))
}

async fn rules(State(gate): State<Arc<Gate>>, Path(name): Path<String>) -> Answer<RulesInForce> {
    let project = find(&gate.projects.load(), &name)?;
    Ok(Json(RulesInForce {
        revision: Revision::of(project.allow.rules().iter()).to_string(),
        sessions: gate.sessions.of(&project.name).len(),
        rules: hits(&project.allow),
    }))
}

fn hits(list: &AllowList) -> Vec<RuleHits> {
    list.hits().map(rule_hits).collect()
}

fn rule_hits((rule, hits): (&Rule, Hits)) -> RuleHits {
    RuleHits {
        id: rule.id.to_string(),
        verdict: rule.verdict.to_string(),
        source: rule.source.to_string(),
        hits: hits.count,
        last_hit: hits.last.map(|last| last.to_string()),
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    address: IpAddr,
}

async fn decision(
    State(gate): State<Arc<Gate>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer<DecisionInForce> {
    let projects = gate.projects.load_full();
    let project = find(&projects, &name)?;
    let (client, now) = (ClientAddr::from(asked.address), Timestamp::now());
    let decision = project.allow.decide(client, now);
    let decider = |rule: &Rule| {
        let id = rule.id.to_string();
        hits(&project.allow).into_iter().find(|one| one.id == id)
    };
    Ok(Json(DecisionInForce {
        revision: Revision::of(project.allow.rules().iter()).to_string(),
        verdict: decision.verdict().to_string(),
        rule: decision.matched().and_then(|matched| decider(matched.rule)),
        shadowed: ShadowedRule::all(&project.allow, client, now),
        deny_listed: projects
            .common()
            .deny
            .find(client, now)
            .map(DenyListed::from),
        observe: project.policy.observe,
    }))
}

async fn cuts(
    State(gate): State<Arc<Gate>>,
    Path(name): Path<String>,
    Json(proposal): Json<Proposal>,
) -> Answer<Cuts> {
    let projects = gate.projects.load_full();
    let project = find(&projects, &name)?;
    let list = compile(projects, proposal).await?;
    let (sessions, now) = (gate.sessions.of(&project.name), Timestamp::now());
    let would_go = |client| revocation::would_cut(&project, &list, client, now);
    let cut = sessions
        .iter()
        .filter(|session| would_go(session.client))
        .count();
    Ok(Json(Cuts {
        sessions: sessions.len(),
        cut,
    }))
}

/// Compiles a proposal, with the tags that are in force.
async fn compile(
    projects: Arc<Projects>,
    proposal: Proposal,
) -> Result<AllowList, (StatusCode, String)> {
    let compiled = tokio::task::spawn_blocking(move || {
        let read = proposal.rules.iter().map(|rule| {
            rule.read()
                .ok_or_else(|| bad(format!("{rule:?} is not a rule")))
        });
        let rules = distinct(read.collect::<Result<Vec<_>, _>>()?);
        let tags = |tag: &_| projects.common().tags.get(tag).cloned();
        AllowList::compile(rules, tags).map_err(|invalid| {
            let invalid: Vec<_> = invalid.iter().map(ToString::to_string).collect();
            bad(invalid.join("\n"))
        })
    });
    compiled.await.map_err(bad)?
}

/// One rule for each source and verdict, the one that holds longest: ids are not part of a proposal.
fn distinct(rules: Vec<Rule>) -> Vec<Rule> {
    let mut kept: HashMap<(Verdict, Source), Rule> = HashMap::new();
    for rule in rules {
        let holds = |rule: &Rule| rule.expires().unwrap_or(Timestamp::MAX);
        let key = (rule.verdict, rule.source.clone());
        match kept.get(&key) {
            Some(other) if holds(other) >= holds(&rule) => {}
            Some(_) | None => {
                kept.insert(key, rule);
            }
        }
    }
    kept.into_values().collect()
}
