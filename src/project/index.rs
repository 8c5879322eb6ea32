//! [`Index`]: projects by the names under which they are asked for.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Project, RefusalStyle, Sharded};
use crate::address::HostName;
use crate::id::ProjectName;

/// Projects by the names under which they are asked for. No two of them have a name in common. Cheap
/// to clone, and to change in a few places: see [`Sharded`].
#[derive(Debug, Clone, Default)]
pub struct Index {
    by_name: Sharded<Named, ()>,
    by_host: Sharded<HostName, Arc<Project>>,
    /// Those with a rule that expires.
    expiring: Sharded<Named, ()>,
    /// How many close on those whom they refuse.
    dropping: usize,
}

/// A project that is found by its name, which need not be kept beside it.
#[derive(Debug, Clone)]
struct Named(Arc<Project>);

impl Borrow<ProjectName> for Named {
    fn borrow(&self) -> &ProjectName {
        &self.0.name
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl Index {
    /// The project of that name.
    #[must_use]
    pub fn get(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.by_name.key(name).map(|Named(project)| project)
    }

    /// The project that states that host: no wildcard of it.
    #[must_use]
    pub fn by_host(&self, host: &HostName) -> Option<&Arc<Project>> {
        self.by_host.get(host)
    }

    /// Adds a project.
    ///
    /// # Errors
    /// One of its names is another project's, which is returned; nothing is added.
    pub fn add(&mut self, project: &Arc<Project>) -> Result<(), Arc<Project>> {
        let of_host = || project.host_names().find_map(|host| self.by_host.get(host));
        if let Some(other) = self.get(&project.name).or_else(of_host) {
            return Err(Arc::clone(other));
        }
        for host in project.host_names() {
            self.by_host.insert(host.clone(), Arc::clone(project));
        }
        if expires(project) {
            self.expiring.insert(Named(Arc::clone(project)), ());
        }
        self.by_name.insert(Named(Arc::clone(project)), ());
        self.dropping += usize::from(drops(project));
        Ok(())
    }

    /// Removes the project of that name, if there is one, and returns it.
    pub fn remove(&mut self, name: &ProjectName) -> Option<Arc<Project>> {
        let project = Arc::clone(self.get(name)?);
        self.by_name.remove(name);
        for host in project.host_names() {
            self.by_host.remove(host);
        }
        self.expiring.remove(name);
        self.dropping -= usize::from(drops(&project));
        Some(project)
    }

    /// Every project, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.by_name.keys().map(|Named(project)| project)
    }

    /// Those with a rule that expires, in no order.
    pub fn expiring(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.expiring.keys().map(|Named(project)| project)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The only one, if there is no more than one.
    pub(super) fn only(&self) -> Option<&Arc<Project>> {
        self.iter().next().filter(|_| self.len() == 1)
    }

    /// How any of them closes on strangers, if one does.
    pub(super) const fn refusal(&self) -> RefusalStyle {
        match self.dropping {
            0 => RefusalStyle::Explain,
            _ => RefusalStyle::Drop,
        }
    }
}

fn expires(project: &Project) -> bool {
    let mut rules = project.allow.rules().iter();
    rules.any(|rule| rule.expires().is_some())
}

fn drops(project: &Project) -> bool {
    project.policy.refusal == RefusalStyle::Drop
}
