//! Real servers: the system's PostgreSQL, and an 18.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use portcullis::cli::demo::cluster::{Cluster, Plan, initialise};
use portcullis::cli::demo::installation::Installation;

use super::PATIENCE;

/// The password of every role.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// The system's own.
    System,
    /// PostgreSQL 18: direct TLS, protocol 3.2.
    Eighteen,
}

impl Server {
    /// Starts a cluster with a superuser `alice`, her database `app`, and `change` made to its plan.
    pub(crate) fn start(self, change: impl FnOnce(&mut Plan)) -> Cluster {
        let installation = self.installation();
        let mut plan = Plan {
            template: Some(self.template(&installation)),
            ..Plan::default()
        };
        plan.settings.push("shared_buffers = '16MB'".to_owned());
        change(&mut plan);
        let cluster = Cluster::start(&installation, &plan).unwrap();
        let role = format!("create role alice superuser login replication password '{PASSWORD}'");
        cluster.sql(&role).unwrap();
        cluster.sql("create database app owner alice").unwrap();
        cluster
    }

    /// Starts a cluster as it comes: trust on the Unix socket, SCRAM over TCP, no TLS.
    pub(crate) fn plain(self) -> Cluster {
        self.start(|_| ())
    }

    fn installation(self) -> Installation {
        match self {
            Self::System => Installation::find().unwrap(),
            Self::Eighteen => {
                Installation::at(&tool("postgresql-18/bin/postgres").parent()).unwrap()
            }
        }
    }

    /// `initdb`, once for all tests of all runs.
    fn template(self, installation: &Installation) -> PathBuf {
        let version = Command::new(installation.program("postgres").unwrap())
            .arg("--version")
            .output()
            .unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let version: String = version
            .chars()
            .filter(|c| c.is_ascii_alphanumeric())
            .collect();
        let template = tools().join(format!("template-{version}"));
        let lock = File::create(tools().join(format!("template-{version}.lock"))).unwrap();
        lock.lock().unwrap();
        if !template.exists() {
            make_template(installation, &template);
        }
        template
    }
}

/// Makes it elsewhere first, where the account that `initdb` runs as may write, and so that half a
/// template is never taken for one.
fn make_template(installation: &Installation, template: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let data = scratch.path().join("data");
    initialise(installation, &data, PASSWORD).unwrap();
    let partial = template.with_extension("partial");
    let status = Command::new("cp")
        .arg("-R")
        .args([&data, &partial])
        .status()
        .unwrap();
    assert!(status.success());
    fs::rename(partial, template).unwrap();
}

/// Asks the server until it answers `expected`.
#[track_caller]
pub(crate) fn wait_for(cluster: &Cluster, sql: &str, expected: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = cluster.sql(sql).unwrap();
        if answer == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{sql}: {answer}, and never {expected}"
        );
    }
}

/// Where `./test` installs what the tests need.
pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools")
}

/// A tool that `./test` installs.
pub(crate) fn tool(path: &str) -> Tool {
    let path = tools().join(path);
    assert!(
        path.exists(),
        "{} is missing; ./test --install-only installs it",
        path.display()
    );
    Tool(path)
}

/// A tool that is there.
#[derive(Debug)]
pub(crate) struct Tool(PathBuf);

impl Tool {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn parent(&self) -> PathBuf {
        self.0.parent().unwrap().canonicalize().unwrap()
    }
}
