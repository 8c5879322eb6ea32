//! What is written into a proxy.toml.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A `[project.NAME]` table. Its host is `NAME.localhost`, its allow list 127.0.0.1, until told
/// otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    name: &'static str,
    keys: Vec<(String, String)>,
}

impl Project {
    pub(crate) fn new(name: &'static str, backend: &str) -> Self {
        let project = Self {
            name,
            keys: Vec::new(),
        };
        let host = format!("{name}.localhost");
        project
            .text_list("hosts", &[&host])
            .text_list("allow", &["127.0.0.1"])
            .text("backend", backend)
    }

    /// Sets a key to a TOML value.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(other, _)| other != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.set(key, &format!("{value:?}"))
    }

    pub(crate) fn text_list(self, key: &str, values: &[&str]) -> Self {
        self.set(key, &format!("{values:?}"))
    }

    pub(crate) fn allow(self, sources: &[&str]) -> Self {
        self.text_list("allow", sources)
    }

    pub(crate) fn hosts(self, hosts: &[&str]) -> Self {
        self.text_list("hosts", hosts)
    }

    fn to_toml(&self) -> String {
        let mut text = format!("\n[project.{}]\n", self.name);
        for (key, value) in &self.keys {
            writeln!(text, "{key} = {value}").unwrap();
        }
        text
    }
}

/// A proxy.toml.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    listen: Vec<String>,
    top: Vec<String>,
    limits: Vec<String>,
    tables: String,
    admin: &'static str,
    log_level: &'static str,
    projects: Vec<Project>,
    pub(super) descriptors: Option<u32>,
    pub(super) env: Vec<(&'static str, PathBuf)>,
}

impl Settings {
    /// Listens on 127.0.0.1 for `projects`, with no limit that a test would meet by accident.
    pub(crate) fn new(projects: &[Project]) -> Self {
        let generous = [
            "connections_per_second_per_source",
            "connection_burst_per_source",
            "cancels_per_second_per_source",
            "refusals_explained_per_minute_per_source",
        ];
        Self {
            listen: vec!["127.0.0.1:0".to_owned()],
            top: Vec::new(),
            limits: generous
                .iter()
                .map(|limit| format!("{limit} = 100000"))
                .collect(),
            tables: String::new(),
            admin: "off",
            log_level: "info",
            projects: projects.to_vec(),
            descriptors: None,
            env: Vec::new(),
        }
    }

    /// Lets the process have so many descriptors and no more.
    pub(crate) fn descriptors(self, most: u32) -> Self {
        Self {
            descriptors: Some(most),
            ..self
        }
    }

    /// Sets a variable of the gate's environment to a path.
    pub(crate) fn env(mut self, name: &'static str, value: &Path) -> Self {
        self.env.push((name, value.to_path_buf()));
        self
    }

    pub(crate) fn listen(self, addresses: &[&str]) -> Self {
        Self {
            listen: addresses.iter().map(ToString::to_string).collect(),
            ..self
        }
    }

    /// Adds a line at the top: a key of no table.
    pub(crate) fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Serves metrics, health and revocation lists, on a port of 127.0.0.1.
    pub(crate) fn with_admin(self) -> Self {
        Self {
            admin: "127.0.0.1:0",
            ..self
        }
    }

    pub(crate) fn log_level(self, log_level: &'static str) -> Self {
        Self { log_level, ..self }
    }

    /// Adds a table.
    pub(crate) fn table(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// Adds a line to `[limits]`, in place of one with the same key.
    pub(crate) fn limit(mut self, line: &str) -> Self {
        let key = |line: &str| line.split_once(" =").map(|(key, _)| key.to_owned());
        self.limits.retain(|other| key(other) != key(line));
        self.limits.push(line.to_owned());
        self
    }

    /// The file.
    pub(crate) fn to_toml(&self) -> String {
        let projects: String = self.projects.iter().map(Project::to_toml).collect();
        format!(
            "listen = {:?}\ncerts = \"certs\"\n{}\n\n[admin]\nlisten = {:?}\n\n\
             [log]\nformat = \"json\"\nlevel = {:?}\n\n[limits]\n{}\n\n{}\n{projects}",
            self.listen,
            self.top.join("\n"),
            self.admin,
            self.log_level,
            self.limits.join("\n"),
            self.tables,
        )
    }
}
