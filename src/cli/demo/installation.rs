//! Where PostgreSQL's programs are on this machine.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with a PostgreSQL server's programs (`initdb`, `postgres`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    programs: PathBuf,
}

impl Installation {
    /// What makes a directory an installation of the server.
    const SERVER: [&'static str; 2] = ["initdb", "postgres"];

    /// The installation whose programs lie in `directory`.
    ///
    /// # Errors
    /// If the server's programs are not there.
    pub fn at(directory: &Path) -> Result<Self, Missing> {
        let complete = Self::SERVER
            .iter()
            .all(|name| directory.join(name).is_file());
        if complete {
            Ok(Self {
                programs: directory.to_owned(),
            })
        } else {
            Err(Missing::Server {
                looked: vec![directory.to_owned()],
            })
        }
    }

    /// The first that is found: by `pg_config`, in PATH, or where Debian, Red Hat and Homebrew put
    /// it (there the newest).
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Self, Missing> {
        let looked: Vec<_> = pg_config()
            .into_iter()
            .chain(search_path())
            .chain(usual_places())
            .collect();
        let found = looked.iter().find_map(|directory| Self::at(directory).ok());
        found.ok_or(Missing::Server { looked })
    }

    /// The path of one of PostgreSQL's programs: beside the server's, else in PATH, else in the
    /// usual places. (A server without `psql` is not unusual.)
    ///
    /// # Errors
    /// If it is nowhere.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, Missing> {
        std::iter::once(self.programs.clone())
            .chain(search_path())
            .chain(usual_places())
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
            .ok_or(Missing::Program { name })
    }
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| directory.trim_end().into())
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default()
}

fn usual_places() -> Vec<PathBuf> {
    let versioned = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ];
    versioned
        .into_iter()
        .flat_map(|(parent, prefix)| versions(parent.as_ref(), prefix))
        .collect()
}

/// The `bin` directories of the versions installed side by side below `parent`, newest first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let version = |name: &OsStr| name.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some((version(&entry.file_name())?, entry.path())))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found
        .into_iter()
        .map(|(_, path)| path.join("bin"))
        .collect()
}

/// Something of PostgreSQL's is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The server.
    #[error(
        "no PostgreSQL server (initdb, postgres) was found{}\n{INSTALL}",
        Looked(looked)
    )]
    Server {
        /// The directories that were looked into.
        looked: Vec<PathBuf>,
    },
    /// A program of the client's side.
    #[error("PostgreSQL's {name} was not found\n{INSTALL}")]
    Program {
        /// Its name.
        name: &'static str,
    },
}

const INSTALL: &str = "  Debian, Ubuntu:  apt-get install postgresql\n  \
                         Fedora, RHEL:    dnf install postgresql-server postgresql\n  \
                         macOS:           brew install postgresql@18";

struct Looked<'a>(&'a [PathBuf]);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [one] => write!(f, " in {}", one.display()),
            [..] => f.write_str(" by pg_config, in PATH, or in the usual places"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_several_versions_comes_first_by_number() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "15", "18", "8.4", "common", "pgsql-14"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let bin = |name: &str| parent.path().join(name).join("bin");
        assert_eq!(
            versions(parent.path(), ""),
            [bin("18"), bin("15"), bin("9")]
        );
        assert_eq!(versions(parent.path(), "pgsql-"), [bin("pgsql-14")]);
        assert!(versions(&parent.path().join("absent"), "").is_empty());
    }

    #[test]
    fn a_directory_without_a_server_is_named_with_how_to_install_one() {
        let empty = tempfile::tempdir().unwrap();
        let error = Installation::at(empty.path()).unwrap_err().to_string();
        assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
        assert!(error.contains("apt-get install postgresql"), "{error}");
    }
}
