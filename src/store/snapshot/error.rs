//! What is wrong with projects as they are kept.

use std::fmt;
use std::path::PathBuf;

use super::super::backend::BackendError;
use crate::gate::allow_list::InvalidRule;
use crate::id::ProjectName;
use crate::pki::PkiError;

/// Everything that is wrong with a configuration's projects.
#[derive(Debug)]
pub struct BuildErrors(pub(super) Vec<BuildError>);

/// What is wrong with one project, or with what they share.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", of(project.as_ref()))]
pub struct BuildError {
    /// Whose it is, if it is one project's.
    pub(super) project: Option<ProjectName>,
    pub(super) error: Cause,
}

fn of(project: Option<&ProjectName>) -> String {
    project.map_or_else(String::new, |project| format!("project {project}: "))
}

/// What it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Certificate(#[from] PkiError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("{}", joined(.0))]
    Rules(Vec<InvalidRule>),
    #[error("{} can't be used, and there is nothing from before to go on with", .0.display())]
    Lost(PathBuf),
}

impl fmt::Display for BuildErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildErrors {}

fn joined(rules: &[InvalidRule]) -> String {
    rules
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
