//! `portcullis rules test`: may this address come in, and by which rule?

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::guard::{compile_deny, invalid};
use super::{Failure, find, load};
use crate::address::ClientAddr;
use crate::admin::control::{DecisionInForce, DenyListed, RuleHits, ShadowedRule};
use crate::cli::control::{RunningGate, Unanswered, shown};
use crate::config::{Config, ProjectSpec, line_of};
use crate::gate::deny_list::Denied;
use crate::gate::rule::{Rule, Verdict};
use crate::id::ProjectName;
use crate::store::snapshot::allow_list;

/// What `test` takes.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The project
    project: ProjectName,
    /// The address that a client would come from
    address: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of an address, by the rules as they are written.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    project: String,
    /// `allow` or `deny`, as the file says. The exit code says what is in force, if a gate answers.
    verdict: String,
    /// The entry of the process-wide deny list that closes on it, whatever the rules say.
    deny_listed: Option<OnDenyList>,
    /// Whether the project lets in whom it denies.
    observe: bool,
    rule: Option<Deciding>,
    shadowed: Vec<Shadowed>,
    /// `allow` or `deny` by what the running gate has in force; none if no gate answers.
    verdict_in_force: Option<String>,
    /// Whether the running gate closes on it by the process-wide deny list.
    deny_listed_in_force: bool,
    /// The rule by which the running gate decides.
    rule_in_force: Option<RuleHits>,
}

impl Answer {
    /// What becomes of the address now.
    fn decided(&self) -> &str {
        self.verdict_in_force.as_ref().unwrap_or(&self.verdict)
    }
}

/// An entry of the process-wide deny list, as it is written.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct OnDenyList {
    #[serde(flatten)]
    entry: DenyListed,
    note: Option<String>,
    expires: Option<String>,
    written: String,
}

#[derive(Debug, Serialize)]
struct Deciding {
    id: String,
    verdict: String,
    source: String,
    note: Option<String>,
    expires: Option<String>,
    written: String,
    /// None if no gate has it in force.
    hits: Option<u64>,
    last_hit: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shadowed {
    #[serde(flatten)]
    rule: ShadowedRule,
    written: String,
}

pub(super) fn test(path: &Path, args: &TestArgs) -> Result<ExitCode, Failure> {
    let config = load(path, &args.project)?;
    let spec = find(&config, &args.project)?;
    let client = ClientAddr::from(args.address);
    let running = RunningGate::of(&config).and_then(|gate| {
        gate.get(&format!(
            "/v1/projects/{}/decision?address={}",
            spec.name,
            client.ip()
        ))
    });
    let answer = answer(&config, spec, client, running.as_ref().ok())?;
    if args.json {
        let json = serde_json::to_string_pretty(&answer).map_err(Failure::refused)?;
        println!("{json}");
    } else {
        print!("{}", words(&answer, running.err()));
    }
    let is_allowed = answer.decided() == Verdict::Allow.to_string();
    Ok(if is_allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn answer(
    config: &Config,
    spec: &ProjectSpec,
    client: ClientAddr,
    running: Option<&DecisionInForce>,
) -> Result<Answer, Failure> {
    let list = allow_list(spec, config).map_err(invalid)?;
    let now = Timestamp::now();
    let decision = list.decide(client, now);
    let listed_in_force = running.and_then(|running| running.deny_listed.as_ref());
    let deny_listed = on_deny_list(config, client, listed_in_force)?;
    let final_verdict = |verdict: String, is_deny_listed| {
        if is_deny_listed {
            Verdict::Deny.to_string()
        } else {
            verdict
        }
    };
    let shadowed = ShadowedRule::all(&list, client, now)
        .into_iter()
        .map(|rule| Shadowed {
            written: written(spec, &rule.id),
            rule,
        });
    Ok(Answer {
        address: client.ip().to_string(),
        project: spec.name.to_string(),
        verdict: final_verdict(decision.verdict().to_string(), deny_listed.is_some()),
        deny_listed,
        observe: spec.observe,
        rule: decision
            .matched()
            .map(|matched| deciding(spec, matched.rule, running)),
        shadowed: shadowed.collect(),
        verdict_in_force: running
            .map(|running| final_verdict(running.verdict.clone(), running.deny_listed.is_some())),
        deny_listed_in_force: running.is_some_and(|running| running.deny_listed.is_some()),
        rule_in_force: running.and_then(|running| running.rule.clone()),
    })
}

/// The entry of the process-wide deny list that holds a client, as it is written, with the hits that the
/// running gate has of it.
pub(in crate::cli) fn on_deny_list(
    config: &Config,
    client: ClientAddr,
    in_force: Option<&DenyListed>,
) -> Result<Option<OnDenyList>, Failure> {
    let list = compile_deny(config)?;
    let Some(denied) = list.find(client, Timestamp::now()) else {
        return Ok(None);
    };
    let (written, rule) = match denied {
        Denied::Rule { rule, .. } => {
            let specs = &mut config.deny.rules.iter();
            let place = specs.find(|spec| spec.rule.id == rule.id);
            let place = place.map(|spec| spec.place.to_string());
            (place.unwrap_or_default(), Some(rule))
        }
        Denied::File { name, .. } => {
            let line = line_of(name.as_ref(), client.ip());
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            (format!("{}{line}", shown(name.as_ref()).display()), None)
        }
    };
    let entry = DenyListed::from(denied);
    let is_same = |other: &&DenyListed| (&other.id, &other.file) == (&entry.id, &entry.file);
    let in_force = in_force.filter(is_same).cloned();
    Ok(Some(OnDenyList {
        note: rule.and_then(|rule| Some(rule.note()?.to_string())),
        expires: rule.and_then(|rule| Some(rule.expires()?.to_string())),
        written,
        entry: in_force.unwrap_or(entry),
    }))
}

fn deciding(spec: &ProjectSpec, rule: &Rule, running: Option<&DecisionInForce>) -> Deciding {
    let id = rule.id.to_string();
    let in_force = running.and_then(|running| running.rule.as_ref());
    let hits = in_force.filter(|in_force| in_force.id == id);
    Deciding {
        verdict: rule.verdict.to_string(),
        source: rule.source.to_string(),
        note: rule.note().map(ToString::to_string),
        expires: rule.expires().map(|expires| expires.to_string()),
        written: written(spec, &id),
        hits: hits.map(|hits| hits.hits),
        last_hit: hits.and_then(|hits| hits.last_hit.clone()),
        id,
    }
}

fn written(spec: &ProjectSpec, id: &str) -> String {
    let place = spec
        .rules
        .iter()
        .find(|written| written.rule.id.to_string() == id);
    place
        .map(|written| written.place.to_string())
        .unwrap_or_default()
}

fn words(answer: &Answer, unanswered: Option<Unanswered>) -> String {
    let Answer {
        address,
        project,
        verdict,
        ..
    } = answer;
    let is_allowed = answer.decided() == Verdict::Allow.to_string();
    let mut lines = vec![if is_allowed {
        format!("allowed: {address} may come in to {project}")
    } else {
        format!("denied: {address} may not come in to {project}")
    }];
    let agrees = answer.decided() == verdict;
    if let Some(entry) = answer.deny_listed.as_ref().filter(|_| agrees) {
        lines.extend(deny_list_words(entry, unanswered.is_none()));
        lines.push(match &answer.rule {
            Some(rule) => format!(
                "  were it not there: {} {} ({}), at {}",
                rule.verdict, rule.source, rule.id, rule.written
            ),
            None => format!("  were it not there: no rule of {project} matches"),
        });
    } else if agrees {
        lines.extend(as_written(answer));
    } else {
        lines.push(match &answer.rule_in_force {
            _ if answer.deny_listed_in_force => "  by the process-wide deny list".to_owned(),
            Some(rule) => format!("  by {} {} ({})", rule.verdict, rule.source, rule.id),
            None => "  no rule matches".to_owned(),
        });
        lines.push(format!(
            "  the file says {verdict}, and the running gate doesn't have it in force: its log says why"
        ));
    }
    if answer.observe && !is_allowed {
        lines.push(format!(
            "  {project} observes: it lets in whom its rules deny"
        ));
    }
    if let Some(why) = unanswered {
        lines.push(format!("  {why}: this is what the file says"));
    }
    lines.join("\n") + "\n"
}

/// Which entry it is, in lines below what comes of it.
pub(in crate::cli) fn deny_list_words(on_list: &OnDenyList, is_running: bool) -> Vec<String> {
    let OnDenyList {
        entry,
        note,
        expires,
        written,
    } = on_list;
    let DenyListed { source, hits, .. } = entry;
    let mut lines = vec![format!(
        "  by the process-wide deny list, before a byte is read: {source}, at {written}"
    )];
    lines.extend(note.as_ref().map(|note| format!("  note: {note}")));
    lines.extend(
        expires
            .as_ref()
            .map(|expires| format!("  expires: {expires}")),
    );
    let whose = if entry.file.is_some() {
        "hits of all of this file"
    } else {
        "hits"
    };
    lines.extend(is_running.then(|| match &entry.last_hit {
        Some(last) => format!("  {whose}: {hits}, the last at {last}"),
        None => format!("  {whose}: {hits}"),
    }));
    lines
}

fn as_written(answer: &Answer) -> Vec<String> {
    let mut lines = match &answer.rule {
        Some(rule) => rule_words(rule),
        None => vec!["  no rule matches".to_owned()],
    };
    for Shadowed { rule, written } in &answer.shadowed {
        let ShadowedRule {
            id,
            verdict,
            source,
            why,
        } = rule;
        lines.push(format!(
            "  not by {verdict} {source} ({id}), at {written}: {why}"
        ));
    }
    lines
}

fn rule_words(rule: &Deciding) -> Vec<String> {
    let Deciding {
        id,
        verdict,
        source,
        written,
        ..
    } = rule;
    let mut lines = vec![format!("  by {verdict} {source} ({id}), at {written}")];
    lines.extend(rule.note.as_ref().map(|note| format!("  note: {note}")));
    lines.extend(
        rule.expires
            .as_ref()
            .map(|expires| format!("  expires: {expires}")),
    );
    lines.extend(rule.hits.map(|hits| match &rule.last_hit {
        Some(last) => format!("  hits: {hits}, the last at {last}"),
        None => format!("  hits: {hits}"),
    }));
    lines
}
