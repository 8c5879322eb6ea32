//! [`Draft`]: a snapshot while it is made, project by project.

use std::sync::Arc;

use super::error::{BuildError, BuildErrors};
use super::{BuildWarning, Built, MadeProject, Maker};
use crate::config::{Config, ProjectSpec};
use crate::id::ProjectName;
use crate::project::{Index, Project, Projects};

/// A snapshot that is being made of a configuration.
pub(in crate::store) struct Draft<'b> {
    config: &'b Config,
    pub(super) maker: Maker<'b>,
    index: Index,
    warnings: Vec<BuildWarning>,
    errors: Vec<BuildError>,
}

impl<'b> Draft<'b> {
    pub(super) fn new(config: &'b Config, maker: Maker<'b>) -> Self {
        Self {
            config,
            maker,
            index: Index::default(),
            warnings: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The same with these projects.
    pub(super) fn with(self, index: Index) -> Self {
        Self { index, ..self }
    }

    /// Makes a project and adds it. What is wrong with it is told at the end.
    ///
    /// # Errors
    /// One of its names is another project's, which is returned; then it is not added.
    pub(in crate::store) fn add(&mut self, spec: &ProjectSpec) -> Result<(), Arc<Project>> {
        self.put(self.maker.make(spec))
    }

    /// What makes its projects, each by itself.
    pub(in crate::store) const fn maker(&self) -> Maker<'b> {
        self.maker
    }

    /// Adds a project that was made. What is wrong with it is told at the end.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(in crate::store) fn put(&mut self, made: MadeProject) -> Result<(), Arc<Project>> {
        match made {
            Ok((project, warnings)) => {
                self.warnings.extend(warnings);
                self.index.add(&project)
            }
            Err(error) => {
                self.errors.push(error);
                Ok(())
            }
        }
    }

    /// Takes a project out, if there is one of that name.
    pub(in crate::store) fn remove(&mut self, name: &ProjectName) {
        self.index.remove(name);
    }

    /// Whether there is a project of that name.
    pub(in crate::store) fn has(&self, name: &ProjectName) -> bool {
        self.index.get(name).is_some()
    }

    /// Whether there is no project, and none was wrong.
    pub(in crate::store) const fn is_empty(&self) -> bool {
        self.index.is_empty() && self.errors.is_empty()
    }

    /// Whether a project was wrong.
    pub(in crate::store) const fn is_wrong(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The snapshot.
    ///
    /// # Errors
    /// Everything that is wrong with any project.
    pub(in crate::store) fn finish(mut self) -> Result<Built, BuildErrors> {
        let Maker {
            builder, previous, ..
        } = self.maker;
        let before = previous.map(|previous| &previous.common().deny);
        match builder.common(self.config, before) {
            Ok(common) if self.errors.is_empty() => {
                let default = self.config.default_project.as_ref();
                let projects = Projects::new(self.index, default, Arc::new(common));
                builder.tell_expiries(&projects);
                Ok(Built {
                    projects,
                    warnings: self.warnings,
                })
            }
            common => {
                self.errors.extend(common.err().map(|error| BuildError {
                    project: None,
                    error,
                }));
                Err(BuildErrors(self.errors))
            }
        }
    }
}
