//! `portcullis ca show`: what there is, and what is due next.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::rules::Failure;
use super::rotate::Whose;
use super::{Place, day, in_days, shown};
use crate::config::ProjectSpec;
use crate::id::ProjectName;
use crate::pki::{Described, Record, Role, Stage, Survey};

/// What `show` takes.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The project
    project: ProjectName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    project: String,
    stage: &'static str,
    authorities: Vec<ShownCertificate>,
    leaf: Option<ShownCertificate>,
    renew_at: Option<String>,
    keys_sealed: bool,
    next_revocation_list: Option<String>,
    issued: Vec<ShownRecord>,
}

#[derive(Debug, Serialize)]
struct ShownCertificate {
    role: &'static str,
    subject: String,
    sha256: String,
    not_before: String,
    not_after: String,
    hosts: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownRecord {
    serial: String,
    kind: &'static str,
    name: String,
    issued: String,
    not_after: String,
    revoked: Option<String>,
}

pub(super) fn show(config: &Path, args: &ShowArgs) -> Result<(), Failure> {
    let Place { spec, store } = Place::open(config, &args.project)?;
    let survey = store.survey().map_err(Failure::refused)?;
    let Some(survey) = survey else {
        return Err(Failure::refused(format!(
            "{} has no CA yet: it is made when the gate first starts{}",
            spec.name,
            if spec.certificate.is_some() {
                ", or with the first `ca issue`; the gate shows a certificate of the project's own"
            } else {
                ""
            }
        )));
    };
    if args.json {
        let json = serde_json::to_string_pretty(&Shown::of(&spec, &survey));
        println!("{}", json.map_err(Failure::refused)?);
        return Ok(());
    }
    let now = Timestamp::now();
    let bundle = shown(&store.ca_certificate());
    print!("{}", in_words(&spec, &survey, now));
    print!("{}", table(&survey, now));
    let whose = Whose {
        project: spec.name.as_str(),
        bundle: &bundle,
    };
    print!("\n{}", whose.standing(&survey, now));
    Ok(())
}

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Signing => "signs",
        Role::Announced => "announced",
        Role::Retiring => "old, trusted yet",
    }
}

/// A line of what is told, its heading before it.
fn line(head: &str, rest: impl std::fmt::Display) -> String {
    format!("{head:<8}{rest}\n")
}

fn in_words(spec: &ProjectSpec, survey: &Survey, now: Timestamp) -> String {
    let mut text = String::new();
    for (role, ca) in &survey.authorities {
        text += &line("CA", format!("{}: {}", role_word(*role), ca.subject));
        text += &lines_of(ca, now);
    }
    match (&spec.certificate, &survey.leaf) {
        (Some(own), _) => {
            text += &line(
                "leaf",
                format!("the project's own, {}", own.chain.display()),
            )
        }
        (None, None) => text += &line("leaf", "none yet: it is issued when the gate starts"),
        (None, Some((leaf, renew_at))) => {
            text += &line("leaf", names(leaf).join(", "));
            text += &lines_of(leaf, now);
            let when = in_days(now, *renew_at).replace("over", "due");
            let renewal = format!("renewed by the running gate on {}, {when}", day(*renew_at));
            text += &line("", renewal);
        }
    }
    for sharer in &survey.sharers {
        text += &line("shared", format!("with {sharer}"));
    }
    text += &line(
        "keys",
        if survey.sealed {
            "sealed"
        } else {
            "in clear, 0600"
        },
    );
    if let Some(next) = survey.next_update {
        let (count, next) = (survey.revoked.len(), day(next));
        text += &line(
            "revoked",
            format!("{count}; the next list is due before {next}"),
        );
    }
    text
}

/// How long it is valid, and by what it is told from others.
fn lines_of(certificate: &Described, now: Timestamp) -> String {
    let end = certificate.not_after;
    let validity = format!("valid to {}, {}", day(end), in_days(now, end));
    line("", validity) + &line("", format!("SHA-256 {}", certificate.fingerprint))
}

fn names(certificate: &Described) -> Vec<String> {
    certificate.hosts.iter().map(ToString::to_string).collect()
}

fn table(survey: &Survey, now: Timestamp) -> String {
    if survey.records.is_empty() {
        return String::new();
    }
    let width = survey
        .records
        .iter()
        .map(|record| record.name.chars().count());
    let width = width.max().unwrap_or_default().max(4);
    let serial = survey
        .records
        .iter()
        .map(|record| record.serial.as_bytes().len() * 2);
    let serial_width = serial.max().unwrap_or_default();
    let mut text = format!(
        "\n{:serial_width$}  {:7}  {:width$}  STATE\n",
        "ISSUED", "TO", "NAME"
    );
    for record in &survey.records {
        let Record {
            serial, kind, name, ..
        } = record;
        let state = state(survey, record, now);
        writeln!(
            text,
            "{serial:serial_width$}  {kind:7}  {name:width$}  {state}"
        )
        .expect("a String takes any text");
    }
    text
}

fn state(survey: &Survey, record: &Record, now: Timestamp) -> String {
    match survey.revoked_at(&record.serial) {
        Some(at) => format!("revoked on {}", day(at)),
        None if record.not_after < now => format!("ended on {}", day(record.not_after)),
        None => format!("valid to {}", day(record.not_after)),
    }
}

impl Shown {
    fn of(spec: &ProjectSpec, survey: &Survey) -> Self {
        let authority = |(role, ca): &(Role, Described)| ShownCertificate::of(role_word(*role), ca);
        let leaf = survey.leaf.as_ref().filter(|_| spec.certificate.is_none());
        Self {
            project: spec.name.to_string(),
            stage: match survey.stage {
                Stage::Settled => "settled",
                Stage::Announced => "announced",
                Stage::Switched => "switched",
            },
            authorities: survey.authorities.iter().map(authority).collect(),
            renew_at: leaf.map(|(_, renew_at)| renew_at.to_string()),
            leaf: leaf.map(|(leaf, _)| ShownCertificate::of("leaf", leaf)),
            keys_sealed: survey.sealed,
            next_revocation_list: survey.next_update.map(|next| next.to_string()),
            issued: survey
                .records
                .iter()
                .map(|record| ShownRecord {
                    serial: record.serial.to_string(),
                    kind: record.kind.as_str(),
                    name: record.name.clone(),
                    issued: record.issued.to_string(),
                    not_after: record.not_after.to_string(),
                    revoked: survey.revoked_at(&record.serial).map(|at| at.to_string()),
                })
                .collect(),
        }
    }
}

impl ShownCertificate {
    fn of(role: &'static str, certificate: &Described) -> Self {
        Self {
            role,
            subject: certificate.subject.clone(),
            sha256: certificate.fingerprint.to_string(),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            hosts: names(certificate),
        }
    }
}
