//! Where a cluster lives, and what lies there before the server starts.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{ClusterError, Plan};
use crate::cli::demo::account::Account;
use crate::cli::demo::installation::Installation;
use crate::cli::demo::leash::{Leash, Program, words};

/// Where a cluster lives, and whose it is.
pub(super) struct Place<'a> {
    pub(super) root: &'a Path,
    pub(super) account: &'a Account,
}

impl Place<'_> {
    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Makes the data directory, as planned.
    pub(super) fn prepare(
        &self,
        installation: &Installation,
        plan: &Plan,
    ) -> Result<(), ClusterError> {
        let data = self.data();
        match &plan.template {
            Some(template) => self.copy(template, &data)?,
            None => initialise(installation, &data, &plan.password)?,
        }
        let settings = [self.settings(), plan.settings.clone()].concat();
        self.append(&data.join("postgresql.conf"), &settings)?;
        self.prepend(&data.join("pg_hba.conf"), &plan.hba)?;
        for (name, contents) in &plan.files {
            self.write(&data.join(name), contents)?;
        }
        Ok(())
    }

    /// What every cluster has in common.
    fn settings(&self) -> Vec<String> {
        vec![
            "listen_addresses = '127.0.0.1'".to_owned(),
            format!("unix_socket_directories = '{}'", self.root.display()),
            "fsync = off".to_owned(),
            "lc_messages = 'C'".to_owned(),
        ]
    }

    /// Writes a file that only the server's account can read.
    fn write(&self, path: &Path, contents: &str) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(contents.as_bytes())?;
        self.account.own_path(path)
    }

    fn prepend(&self, path: &Path, lines: &[String]) -> io::Result<()> {
        let old = fs::read_to_string(path)?;
        self.write(path, &format!("{}\n{old}", lines.join("\n")))
    }

    fn append(&self, path: &Path, lines: &[String]) -> io::Result<()> {
        let old = fs::read_to_string(path)?;
        self.write(path, &format!("{old}\n{}\n", lines.join("\n")))
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.is_dir() {
            fs::create_dir(to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                self.copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        } else {
            fs::copy(from, to)?;
        }
        self.account.own_path(to)
    }
}

/// Runs `initdb` into `data`, for use as a [`Plan::template`]. `data` must not exist yet; its parent
/// must be writable for the account that the server runs as, and goes if this process dies
/// meanwhile.
///
/// # Errors
/// If `initdb` fails, in its words.
pub fn initialise(
    installation: &Installation,
    data: &Path,
    password: &str,
) -> Result<(), ClusterError> {
    let account = Account::unprivileged().ok_or(ClusterError::NoAccount)?;
    let root = data.parent().unwrap_or(data);
    let mut password_file = NamedTempFile::new_in(root)?;
    writeln!(password_file, "{password}")?;
    account.own_path(password_file.path())?;
    let log = NamedTempFile::new_in(root)?;
    let initdb = Leash::start(Program {
        command: words(&[
            &installation.program("initdb")?,
            &"--no-sync",
            &"--no-locale",
            &"--encoding=UTF8",
            &"--username=postgres",
            &"--auth-local=trust",
            &"--auth-host=scram-sha-256",
            &"--pwfile",
            &password_file.path(),
            &"-D",
            &data,
        ]),
        signal: "TERM",
        directory: root,
        log: log.reopen()?,
        account: &account,
    })?;
    if initdb.wait()?.success() {
        return Ok(());
    }
    let words = fs::read_to_string(log.path())?.trim_end().to_owned();
    Err(ClusterError::Program {
        name: "initdb",
        words,
    })
}
