//! `proxy.toml`, read strictly: a typed [`Config`], or everything that is wrong with it at once.

mod auth;
mod backend;
mod client_certificate;
mod compiled;
mod deny;
mod effective;
mod files;
mod include;
mod included;
mod inherited;
mod limits;
mod listener;
mod load;
mod log;
mod networks;
mod problem;
mod project;
mod query;
mod quick;
mod reader;
mod revision;
mod rules;
mod runtime;
mod section;
mod tcp;
mod value;

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::gate::rule::TagName;
use crate::id::ProjectName;
use crate::pki::MinVersion;
use crate::relay::TcpTuning;
use effective::Effective;
use project::Projects;
use section::{Section, nearest};
use value::{At, Word, Words};

pub use auth::{AuthSpec, VerifierFile};
pub use backend::{BackendSpec, ClientCertificate, RootCert};
pub use client_certificate::ClientCertificateSpec;
pub use compiled::CompiledSets;
pub use deny::{DenySpec, NetworkFile};
pub use files::SourceFile;
pub use include::Include;
pub use included::{Claims, Included};
pub use inherited::Inherited;
pub use limits::LimitsSpec;
pub use listener::{AdminListen, ControlSocket, ListenerSpec};
pub use log::{LogFormat, LogLevel, LogSpec};
pub use networks::{Networks, line_of};
pub use problem::{ConfigErrors, Place, Problem, Style, render_warnings};
pub use project::{OwnCertificate, ProjectSpec};
pub use query::QuerySpec;
pub use quick::QuickSpec;
pub use revision::{InvalidRevision, Revision};
pub use rules::RuleSpec;
pub(crate) use rules::show_rule;
pub use runtime::RuntimeSpec;

/// The largest `proxy.toml` that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// A configuration that can be put in force as it is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients are awaited: at least one.
    pub listeners: Vec<ListenerSpec>,
    /// The directory of the projects' CAs.
    pub certs: PathBuf,
    /// The project of clients that name none.
    pub default_project: Option<ProjectName>,
    /// From accept to ReadyForQuery, 1 second to 10 minutes.
    pub login_timeout: Duration,
    /// How long sessions may go on once the process is told to end, 0 to 24 hours.
    pub drain_timeout: Duration,
    /// The oldest TLS version that clients may use.
    pub tls_min_version: MinVersion,
    /// When a client that has vanished is found out, and a backend where its project says nothing
    /// else.
    pub tcp: TcpTuning,
    /// The file of the keys that private keys are sealed by.
    pub encryption_key_file: Option<PathBuf>,
    /// How logs are written.
    pub log: LogSpec,
    /// Where metrics and health are served.
    pub admin: AdminListen,
    /// Where the command line reaches the running gate.
    pub control: ControlSocket,
    /// How much anybody may take.
    pub limits: LimitsSpec,
    /// What the process takes of the machine.
    pub runtime: RuntimeSpec,
    /// Named sets of networks.
    pub tags: BTreeMap<TagName, Networks>,
    /// Who is closed on at accept, whatever the projects say.
    pub deny: DenySpec,
    /// Whose projects are to be added.
    pub include: Vec<Include>,
    /// The projects.
    pub projects: BTreeMap<ProjectName, ProjectSpec>,
    /// What an operator should know about this configuration.
    pub warnings: Vec<Problem>,
    /// Files of single projects (certificates, verifiers, a password) that can't be used. A gate that starts refuses them; one that
    /// runs goes on with what it had of them, for a file that vanished must not keep a change from
    /// other projects. A project that has nothing to go on with is for whoever builds it to refuse.
    pub vanished: Vec<Problem>,
    /// The files that it was read from: `proxy.toml` and all that it names.
    pub files: Vec<SourceFile>,
    effective: Effective,
    compiled: CompiledSets,
    /// The projects that must be there, with what is to be said if they are not.
    named: Vec<(ProjectName, Problem)>,
}

impl Words for MinVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];
}

impl Config {
    /// What it has compiled, for the configuration that takes its place.
    #[must_use]
    pub fn compiled(&self) -> CompiledSets {
        self.compiled.clone()
    }

    /// Every key with the value in force, as TOML that can be read again. Relative paths are
    /// resolved, and a secret shows no more than that there is one.
    #[must_use]
    pub fn effective_toml(&self) -> String {
        self.effective.to_string()
    }
}

fn read_root(root: &mut Section<'_, '_>) -> Option<Config> {
    let mut named = Vec::new();
    let mut listeners = listener::read_listen(root);
    let certs = root.or("certs", root.reader.resolve("certs"));
    let include: Vec<Include> = root.or("include", Vec::new());
    let default_project: Option<At<ProjectName>> = root.optional("default_project");
    let name = default_project
        .as_ref()
        .map(|project| project.value.clone());
    named.extend(default_project);
    let seconds = |from, to| Duration::from_secs(from)..=Duration::from_secs(to);
    let half_a_minute = Duration::from_secs(30);
    let login_timeout = root.or_within("login_timeout", half_a_minute, &seconds(1, 600));
    let drain_timeout = root.or_within("drain_timeout", half_a_minute, &seconds(0, 86_400));
    let deny = root.or("deny", deny::DenyValue::default());
    listener::read_listeners(root, &mut listeners, &mut named);
    let tls_min_version = root.table("tls", |tls| {
        tls.or("min_version", Word(MinVersion::Tls12)).0
    });
    let tcp = root.table("tcp", |table| tcp::read(table, TcpTuning::default()));
    let encryption_key_file = root.table("keys", read_keys);
    let log = root.table("log", log::read);
    let socket = ControlSocket::At(certs.join("control.sock"));
    let (admin, control) = root.table("admin", |admin| {
        let listen = admin.or("listen", AdminListen::default());
        (listen, admin.or("socket", socket))
    });
    let limits = root.table("limits", limits::read);
    let runtime = root.table("runtime", runtime::read);
    let tags = root.table("tags", rules::read_tags);
    let deny = deny.into_spec(root, &tags);
    let config = Config {
        deny,
        projects: BTreeMap::new(),
        default_project: name,
        effective: Effective::default(),
        compiled: CompiledSets::default(),
        warnings: Vec::new(),
        vanished: Vec::new(),
        files: Vec::new(),
        include,
        named: Vec::new(),
        listeners,
        certs,
        login_timeout,
        drain_timeout,
        tls_min_version,
        tcp,
        encryption_key_file,
        log,
        admin,
        control,
        limits,
        runtime,
        tags,
    };
    read_projects(root, config, &named)
}

/// Adds the projects of the file itself. `named` are those that it speaks of elsewhere.
fn read_projects(
    root: &mut Section<'_, '_>,
    config: Config,
    named: &[At<ProjectName>],
) -> Option<Config> {
    let mut shared = Projects::new(config.inherited());
    let projects = root.each_named("project", |name, section| shared.read(name, section));
    for spec in projects.iter().flatten() {
        project::watch_keystore(root.reader, &config.certs, spec);
    }
    let missing = unknown_projects(root, named, &shared);
    let named = if config.include.is_empty() {
        let problems = missing.into_iter().map(|(_, problem)| problem);
        root.reader.problems.extend(problems);
        Vec::new()
    } else {
        missing
    };
    let projects = projects.into_iter();
    let projects = projects.map(|spec| spec.map(|spec| (spec.name.clone(), spec)));
    Some(Config {
        projects: projects.collect::<Option<_>>()?,
        named,
        ..config
    })
}

fn read_keys(keys: &mut Section<'_, '_>) -> Option<PathBuf> {
    let file: Option<At<PathBuf>> = keys.optional("encryption_key_file");
    project::check_file(keys, file.as_ref());
    file.map(|file| file.value)
}

/// The projects that are named and not defined here, with what is to be said if they are nowhere.
fn unknown_projects(
    root: &Section<'_, '_>,
    named: &[At<ProjectName>],
    projects: &Projects<'_>,
) -> Vec<(ProjectName, Problem)> {
    let known: Vec<_> = projects.names.iter().map(ToString::to_string).collect();
    let unknown = named.iter().filter_map(|At { value: name, spot }| {
        let spot = spot.as_ref().filter(|_| !projects.names.contains(name))?;
        let help = match nearest(name.as_str(), &known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("define it as [project.{name}]"),
        };
        let problem = root.reader.problem(spot);
        let problem = problem.saying(format!("there is no project {name}"));
        Some((name.clone(), problem.with_help(help)))
    });
    unknown.collect()
}
