//! `portcullis ca rotate`: another CA takes over, in three steps.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::super::rules::Failure;
use super::{Place, day, shown};
use crate::id::ProjectName;
use crate::pki::{Role, Stage, Step, Survey};

/// What `rotate` takes.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The project
    project: ProjectName,
    #[command(flatten)]
    step: StepArgs,
}

/// At most one; without any, where the rotation stands is told.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct StepArgs {
    /// First: make the next CA, and hand its certificate out beside the old one's in ca.crt
    #[arg(long)]
    announce: bool,
    /// Second, once every client has that ca.crt: the next CA signs the leaf
    #[arg(long)]
    switch: bool,
    /// Third: have done with the old CA. There is no way back from here
    #[arg(long)]
    retire: bool,
    /// Go back one step
    #[arg(long)]
    undo: bool,
}

impl StepArgs {
    const fn step(&self) -> Option<Step> {
        match self {
            Self { announce: true, .. } => Some(Step::Announce),
            Self { switch: true, .. } => Some(Step::Switch),
            Self { retire: true, .. } => Some(Step::Retire),
            Self { undo: true, .. } => Some(Step::Undo),
            Self { .. } => None,
        }
    }
}

pub(super) fn rotate(config: &Path, args: &RotateArgs) -> Result<(), Failure> {
    let place = Place::open(config, &args.project)?;
    let now = Timestamp::now();
    if let Some(step) = args.step.step() {
        place.store.rotate(step, now).map_err(Failure::refused)?;
        // A running gate has the leaf issued within a second; without one this is when it is.
        if place.spec.certificate.is_none() {
            let leaf = place.store.load_or_create(&place.spec.hosts, now);
            leaf.map_err(Failure::refused)?;
        }
    }
    let survey = place.store.survey().map_err(Failure::refused)?;
    let Some(survey) = survey else {
        return Err(Failure::refused(
            "there is no CA yet: it is made when the gate first starts",
        ));
    };
    let whose = Whose {
        project: args.project.as_str(),
        bundle: &shown(&place.store.ca_certificate()),
    };
    print!("{}", whose.standing(&survey, now));
    Ok(())
}

/// The words for where a rotation stands.
pub(super) struct Whose<'a> {
    /// The project's name.
    pub(super) project: &'a str,
    /// Where its ca.crt is.
    pub(super) bundle: &'a str,
}

impl Whose<'_> {
    /// Where a rotation stands, what comes next, and what clients need before it.
    pub(super) fn standing(&self, survey: &Survey, now: Timestamp) -> String {
        let Self { project, bundle } = self;
        match survey.stage {
            Stage::Settled => format!(
                "{project}: one CA, and no rotation under way. {bundle} is what clients need.\n\
                 To have another CA take over: portcullis ca rotate {project} --announce\n"
            ),
            Stage::Announced => format!(
                "{project}: the next CA is announced{}, and signs nothing yet. {bundle} holds both.\n\
                 Give that file to every client in place of the one it has, and to every server that \
                 takes it as ssl_ca_file. Who has it is served at every step; who has the old one is \
                 served until the next step.\n\
                 Next, when all have it: portcullis ca rotate {project} --switch\n\
                 Back:                   portcullis ca rotate {project} --undo\n",
                since(survey, Role::Announced)
            ),
            Stage::Switched => format!(
                "{project}: the new CA signs; the old one is trusted yet. A client that has not taken \
                 {bundle} reads \"certificate verify failed\" from now on: if one does, go back.\n\
                 {}\
                 Next, when nothing by the old CA is needed: portcullis ca rotate {project} --retire\n\
                 Back: portcullis ca rotate {project} --undo\n",
                self.still_by_the_old_one(survey, now)
            ),
        }
    }

    /// Whose certificates end with the old CA.
    fn still_by_the_old_one(&self, survey: &Survey, now: Timestamp) -> String {
        let mut authorities = survey.authorities.iter();
        let Some((_, old)) = authorities.find(|(role, _)| *role == Role::Retiring) else {
            return String::new();
        };
        let names: Vec<_> = survey
            .in_force(now)
            .filter(|record| record.by == old.qualifier)
            .map(|record| format!("{} {} ({})", record.kind, record.name, record.serial))
            .collect();
        if names.is_empty() {
            return String::new();
        }
        let project = self.project;
        format!(
            "Issued by the old CA, and refused after the last step; issue them anew with \
             portcullis ca issue {project}:\n  {}\n",
            names.join("\n  ")
        )
    }
}

fn since(survey: &Survey, role: Role) -> String {
    let found = survey.authorities.iter().find(|(of, _)| *of == role);
    found.map_or_else(String::new, |(_, ca)| {
        format!(" since {}", day(ca.not_before))
    })
}
