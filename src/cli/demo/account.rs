//! Whom the throwaway server runs as: PostgreSQL refuses to run as root.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// A user and a group to run as; none: our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    /// Tried in this order.
    const CANDIDATES: [&'static str; 3] = ["postgres", "_postgres", "nobody"];

    /// Our own account.
    #[must_use]
    pub(super) const fn own() -> Self {
        Self { ids: None }
    }

    /// Our own account, or an unprivileged one if ours is root; none if root finds no other.
    #[must_use]
    pub(super) fn unprivileged() -> Option<Self> {
        if !is_root() {
            return Some(Self::own());
        }
        let ids = Self::CANDIDATES
            .iter()
            .find_map(|name| Some((id("-u", name)?, id("-g", name)?)));
        ids.map(|ids| Self { ids: Some(ids) })
    }

    /// Makes `command` run as this account.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
    }

    /// Gives a file or a directory to this account.
    ///
    /// # Errors
    /// If it doesn't exist, or isn't ours to give.
    pub(super) fn own_path(&self, path: &Path) -> io::Result<()> {
        self.ids
            .map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

/// Whether we are root. The standard library can't tell; the owner of our own entry under `/proc`
/// can, and `id` where there is no `/proc`.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").map_or_else(
        |_| {
            let own = Command::new("id").arg("-u").output();
            own.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
        },
        |metadata| metadata.uid() == 0,
    )
}

fn id(kind: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([kind, name]).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().parse().ok())?
}
