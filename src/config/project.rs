//! `[project.NAME]`: who may come in, by which names, and where they are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use super::auth::{self, AuthSpec};
use super::backend::{self, BackendSpec};
use super::client_certificate::{self, ClientCertificateSpec};
use super::files::SourceFile;
use super::inherited::Inherited;
use super::problem::Place;
use super::reader::{Reader, Spot};
use super::revision::Revision;
use super::rules::{RuleList, RuleSpec, refuse_repeated, refuse_unknown_tags};
use super::section::Section;
use super::value::{At, Word, Words};
use crate::address::{Host, HostName};
use crate::id::ProjectName;
use crate::project::{OnRevoke, RefusalStyle};

/// A project as it is kept.
#[derive(Debug, Clone)]
pub struct ProjectSpec {
    /// Its name.
    pub name: ProjectName,
    /// Where its table begins.
    pub place: Place,
    /// The names and addresses by which clients reach it: at least one, the names of no other
    /// project.
    pub hosts: Vec<Host>,
    /// Who may come in: the rules of `allow`, then those of `deny`, each in the order of writing.
    pub rules: Vec<RuleSpec>,
    /// Whether those whom the rules deny are let in, and logged and counted as what they are.
    pub observe: bool,
    /// What becomes of sessions that a change of the rules would no longer let in.
    pub on_revoke: OnRevoke,
    /// Whether those who are refused are told why.
    pub refusal: RefusalStyle,
    /// The PostgreSQL server behind it.
    pub backend: BackendSpec,
    /// Who proves what to whom.
    pub auth: AuthSpec,
    /// What is demanded of clients' certificates.
    pub client_certificate: ClientCertificateSpec,
    /// The user's own certificate, in place of one from the project's CA.
    pub certificate: Option<OwnCertificate>,
    /// Sessions at once, 1 to 1,000,000.
    pub max_sessions: u32,
}

impl ProjectSpec {
    /// The revision of the project's rules: equal for equal lists, wherever they are kept.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::of(self.rules.iter().map(|spec| &spec.rule))
    }
}

/// A certificate chain and key that the gate doesn't issue itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The chain, leaf first, PEM.
    pub chain: PathBuf,
    /// The leaf's private key, PEM.
    pub key: PathBuf,
}

impl Words for OnRevoke {
    const WORDS: &'static [(&'static str, Self)] = &[("cut", Self::Cut), ("keep", Self::Keep)];
}

impl Words for RefusalStyle {
    const WORDS: &'static [(&'static str, Self)] =
        &[("explain", Self::Explain), ("drop", Self::Drop)];
}

/// What the projects of one file share while they are read.
pub(super) struct Projects<'c> {
    inherited: Inherited<'c>,
    /// The projects' names, also of those that are not all there.
    pub(super) names: BTreeSet<ProjectName>,
    /// Every host name with the project that has it and the place where it says so.
    taken: BTreeMap<HostName, (ProjectName, Place)>,
}

impl<'c> Projects<'c> {
    pub(super) const fn new(inherited: Inherited<'c>) -> Self {
        Self {
            inherited,
            names: BTreeSet::new(),
            taken: BTreeMap::new(),
        }
    }

    /// Reads one project; none if it isn't all there. Every key is read before any is missed.
    pub(super) fn read(
        &mut self,
        name: &str,
        section: &mut Section<'_, '_>,
    ) -> Option<ProjectSpec> {
        let name = match name.parse::<ProjectName>() {
            Ok(name) => Some(name),
            Err(error) => {
                section.reader.refuse(&section.spot, error);
                None
            }
        };
        self.names.extend(name.clone());
        let place = section.reader.place(&section.spot);
        let hosts = self.read_hosts(name.as_ref(), section);
        let allow = section.required::<RuleList<false>>(
            "allow",
            "say whom to let in: \
            allow = [\"203.0.113.0/24\"], or [\"nowhere\"] for nobody yet",
        );
        let deny = section.or("deny", RuleList::<true>::default());
        let rules = allow.map(|allow| self.join_rules(section, allow, deny));
        let observe = section.or("observe", false);
        let Word(on_revoke) = section.or("on_revoke", Word(OnRevoke::Cut));
        let Word(refusal) = section.or("refusal", Word(RefusalStyle::Explain));
        let backend = backend::read(section, self.inherited.tcp);
        let client_certificate = client_certificate::read(section);
        let auth = auth::read(section, backend.as_ref(), client_certificate.as_ref());
        let certificate = read_certificate(section);
        let max_sessions = section.or_within(
            "max_sessions",
            self.inherited.max_sessions,
            &(1..=1_000_000),
        );
        Some(ProjectSpec {
            name: name?,
            place,
            hosts: hosts?,
            rules: rules?,
            observe,
            on_revoke,
            refusal,
            backend: backend?,
            auth: auth?,
            client_certificate: client_certificate?,
            certificate,
            max_sessions,
        })
    }

    fn join_rules(
        &self,
        section: &mut Section<'_, '_>,
        allow: RuleList<false>,
        deny: RuleList<true>,
    ) -> Vec<RuleSpec> {
        let mut rules: Vec<_> = allow.into_specs().collect();
        refuse_unknown_tags(
            section,
            "allow",
            self.inherited.tags,
            rules.iter().enumerate(),
        );
        let deny: Vec<_> = deny.into_specs().collect();
        refuse_unknown_tags(
            section,
            "deny",
            self.inherited.tags,
            deny.iter().enumerate(),
        );
        let of_allow = rules.iter().enumerate().map(|rule| ("allow", rule));
        let of_deny = deny.iter().enumerate().map(|rule| ("deny", rule));
        refuse_repeated(section, of_allow.chain(of_deny));
        rules.extend(deny);
        rules
    }

    fn read_hosts(
        &mut self,
        project: Option<&ProjectName>,
        section: &mut Section<'_, '_>,
    ) -> Option<Vec<Host>> {
        let help =
            "the names in its clients' connection strings: hosts = [\"acme.db.example.com\"]";
        let hosts: Vec<At<Host>> = section.required("hosts", help)?;
        if hosts.is_empty() {
            let spot = section.child("hosts");
            section
                .reader
                .refuse_with(&spot, "a project has at least one host", help);
        }
        for At { value, spot } in &hosts {
            // An address never comes as server_name, so two projects may state the same one.
            let (Host::Name(host), Some(spot)) = (value, spot) else {
                continue;
            };
            let Some(project) = project else { continue };
            let here = (project.clone(), section.reader.place(spot));
            let Some((other, place)) = self.taken.insert(host.clone(), here) else {
                continue;
            };
            section
                .reader
                .refuse(spot, format!("{host} is taken by {other}, at {place}"));
        }
        Some(hosts.into_iter().map(|host| host.value).collect())
    }
}

/// Watches what the keystore has of the project and is read once, not with each leaf.
pub(super) fn watch_keystore(reader: &mut Reader<'_>, certs: &Path, spec: &ProjectSpec) {
    backend::watch_project_root(reader, certs, spec);
    client_certificate::watch_project_ca(reader, certs, spec);
}

fn read_certificate(section: &mut Section<'_, '_>) -> Option<OwnCertificate> {
    let chain: Option<At<PathBuf>> = section.optional("certificate");
    let key: Option<At<PathBuf>> = section.optional("key");
    for (one, path, other) in [("certificate", &chain, "key"), ("key", &key, "certificate")] {
        if section.has(one) && !section.has(other) {
            let spot = section.child(one);
            let message = format!("\"{one}\" without \"{other}\"");
            section
                .reader
                .refuse_with(&spot, message, "set both, or none of them");
        }
        check_file(section, path.as_ref());
    }
    Some(OwnCertificate {
        chain: chain?.value,
        key: key?.value,
    })
}

/// Notes a certificate's path at which there is no file that can be read.
pub(super) fn check_file(section: &mut Section<'_, '_>, path: Option<&At<PathBuf>>) {
    if let Some(At {
        value: path,
        spot: Some(spot),
    }) = path
    {
        check_path(section.reader, path, spot);
    }
}

/// Refuses a path, written there, at which there is no file that can be read.
pub(super) fn check_path(reader: &mut Reader<'_>, path: &Path, spot: &Spot) {
    reader.files.push(SourceFile::look(path));
    let is_file = File::open(path).and_then(|file| Ok(file.metadata()?.is_file()));
    let why = match is_file {
        Ok(true) => return,
        Ok(false) => format!("{} is not a file", path.display()),
        Err(error) => format!("{}: {error}", path.display()),
    };
    reader.vanish(spot, why);
}
