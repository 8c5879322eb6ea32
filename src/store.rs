//! Where projects are kept: in `proxy.toml`, which people and programs edit alike.

pub mod edit;
mod list;
mod replace;
mod rewrite;
mod watch;

use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigErrors, SourceFile};

pub use watch::Watch;

/// Projects kept in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// Names the file; nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file and all that it names. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong; what was in force before stays so (T31).
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.path)
    }

    /// Watches the files that a configuration was read from, or that its errors looked at.
    #[must_use]
    pub fn watch(&self, files: &[SourceFile]) -> Watch {
        Watch::new(files)
    }

    /// Changes a project's rules in the file. Blocks.
    ///
    /// # Errors
    /// See [`edit::apply`].
    pub fn edit(
        &self,
        target: &edit::Target<'_>,
        edit: edit::Edit<'_>,
    ) -> Result<edit::Change, edit::EditError> {
        edit::apply(&self.path, target, edit)
    }
}
