//! `client_certificate` of a project, and what belongs to it: whose certificates its clients show,
//! and which users these may be.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::auth::AuthSpec;
use super::files::SourceFile;
use super::project::{ProjectSpec, check_path};
use super::reader::{Item, Reader};
use super::section::Section;
use super::value::{At, Value, Word, Words, quoted, show_path};
use crate::auth::certificate::{NameKind, Naming, UserMap};
use crate::pki::{ClientCas, Keystore};

/// What a project demands of its clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCertificateSpec {
    /// None is asked for.
    Off,
    /// Who shows one must show one by one of these CAs.
    Optional(ClientCas),
    /// Everybody must show one by one of these CAs, and be whom it names.
    Required(ClientCas, Naming),
}

impl ClientCertificateSpec {
    /// Whether every client has proved by a certificate that it is the user that it names.
    #[must_use]
    pub const fn proves_user(&self) -> bool {
        match self {
            Self::Off | Self::Optional(_) | Self::Required(_, Naming::Any) => false,
            Self::Required(_, Naming::Named(..)) => true,
        }
    }

    /// Whose certificates are asked for, if any are.
    #[must_use]
    pub const fn cas(&self) -> Option<&ClientCas> {
        match self {
            Self::Off => None,
            Self::Optional(cas) | Self::Required(cas, _) => Some(cas),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Optional,
    Required,
}

impl Words for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

/// Which of the certificate's names the user must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UserIs {
    CommonName,
    AlternativeName,
    Any,
}

impl Words for UserIs {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cn", Self::CommonName),
        ("san", Self::AlternativeName),
        ("any", Self::Any),
    ];
}

/// A CA whose certificates clients may show.
enum Ca {
    Project,
    File(PathBuf),
}

/// The word for the project's own CA. A file of that name is `./project`.
const PROJECT: &str = "project";

impl Value for Ca {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        if item.value.as_str() == Some(PROJECT) {
            return Some(Self::Project);
        }
        read_path(item).map(Self::File)
    }

    fn show(&self) -> String {
        match self {
            Self::Project => quoted(PROJECT),
            Self::File(path) => show_path(path),
        }
    }
}

/// A file of revoked certificates.
struct Crl(PathBuf);

impl Value for Crl {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        read_path(item).map(Self)
    }

    fn show(&self) -> String {
        show_path(&self.0)
    }
}

fn read_path(item: &mut Item<'_, '_>) -> Option<PathBuf> {
    let path = PathBuf::read(item)?;
    check_path(item.reader, &path, &item.spot);
    Some(path)
}

/// One value, or an array of them.
struct OneOrMore<T>(Vec<T>);

impl<T: Value> Value for OneOrMore<T> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let all = match item.value {
            DeValue::Array(_) => item.elements()?,
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![T::read(item)?],
        };
        if all.is_empty() {
            return item.refuse("expected at least one");
        }
        Some(Self(all))
    }

    fn show(&self) -> String {
        match self.0.as_slice() {
            [one] => one.show(),
            all => {
                let all: Vec<_> = all.iter().map(Value::show).collect();
                format!("[{}]", all.join(", "))
            }
        }
    }
}

/// A table of the user's own keys: a certificate's name with its user, or users.
impl Value for UserMap {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        item.table("a table such as { \"*@example.com\" = \"*\" }", |section| {
            let mut map = Some(Self::default());
            for (name, spot, OneOrMore(users)) in section.each_value::<OneOrMore<String>>() {
                let added = map.as_mut().map(|map| map.add(&name, &users));
                if let Some(Err(error)) = added {
                    section.reader.refuse(&spot, error);
                    map = None;
                }
            }
            map
        })
    }

    fn show(&self) -> String {
        let entries = self.iter().map(|(name, users)| {
            let users = OneOrMore(users).show();
            format!("{} = {users}", quoted(&name))
        });
        let entries: Vec<_> = entries.collect();
        format!("{{ {} }}", entries.join(", "))
    }
}

/// The keys that mean nothing where no certificate is asked for.
const OF_ASKING: [&str; 2] = ["client_ca", "client_crl"];
/// The keys that mean nothing where a client may come without one.
const OF_REQUIRING: [&str; 2] = ["user", "user_map"];

/// Reads `client_certificate` and what belongs to it; none if it isn't all there.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<ClientCertificateSpec> {
    let Word(mode) = section.or("client_certificate", Word(Mode::Off));
    let cas: Option<OneOrMore<Ca>> = section.optional("client_ca");
    let crls: Option<OneOrMore<Crl>> = section.optional("client_crl");
    let user: Option<Word<UserIs>> = section.optional("user");
    let map: Option<At<UserMap>> = section.optional("user_map");
    let unused: &[_] = match mode {
        Mode::Off => &[OF_ASKING, OF_REQUIRING].concat(),
        Mode::Optional => &OF_REQUIRING,
        Mode::Required => &[],
    };
    refuse_unused(section, mode, unused);
    let is_broken = (section.has("client_ca") && cas.is_none())
        || (section.has("client_crl") && crls.is_none())
        || (section.has("user_map") && map.is_none());
    if is_broken {
        return None;
    }
    let cas = join_cas(cas, crls);
    refuse_useless_crl(section, &cas);
    match mode {
        Mode::Off => Some(ClientCertificateSpec::Off),
        Mode::Optional => Some(ClientCertificateSpec::Optional(cas)),
        Mode::Required => {
            let user = user.map_or(UserIs::CommonName, |Word(user)| user);
            let naming = naming(section, user, map);
            Some(ClientCertificateSpec::Required(cas, naming))
        }
    }
}

/// Watches the project's own CA and what it has revoked, if certificates of clients may be by it, or
/// of the gate are.
pub(super) fn watch_project_ca(reader: &mut Reader<'_>, certs: &Path, spec: &ProjectSpec) {
    let cas = spec.client_certificate.cas();
    let signs = matches!(spec.auth, AuthSpec::Certificate);
    if signs || cas.is_some_and(|cas| cas.project) {
        let certificate = Keystore::ca_certificate_in(certs, &spec.name);
        let others = ["ca.key", "ca.crl"].map(|name| certificate.with_file_name(name));
        let files = std::iter::once(&certificate).chain(&others);
        let files: Vec<_> = files.map(|file| SourceFile::look(file)).collect();
        reader.files.extend(files);
    }
}

fn join_cas(cas: Option<OneOrMore<Ca>>, crls: Option<OneOrMore<Crl>>) -> ClientCas {
    let OneOrMore(cas) = cas.unwrap_or_else(|| OneOrMore(vec![Ca::Project]));
    let mut joined = ClientCas::default();
    for ca in cas {
        match ca {
            Ca::Project => joined.project = true,
            Ca::File(path) => joined.files.push(path),
        }
    }
    let crls = crls.into_iter().flat_map(|OneOrMore(crls)| crls);
    joined.crls = crls.map(|Crl(path)| path).collect();
    joined
}

fn naming(section: &mut Section<'_, '_>, user: UserIs, map: Option<At<UserMap>>) -> Naming {
    let kind = match user {
        UserIs::CommonName => NameKind::CommonName,
        UserIs::AlternativeName => NameKind::AlternativeName,
        UserIs::Any => {
            if section.has("user_map") {
                let spot = section.child("user_map");
                let help = "set user to \"cn\" or \"san\", or remove this";
                let message = "not used by user = \"any\"";
                section.reader.refuse_with(&spot, message, help);
            }
            return Naming::Any;
        }
    };
    let map = map.map(|map| map.value).unwrap_or_default();
    if section.has("user_map") && map.is_empty() {
        let spot = section.child("user_map");
        let help = "add an entry such as \"*@example.com\" = \"*\", or remove this";
        let message = "an empty map lets nobody in";
        section.reader.refuse_with(&spot, message, help);
    }
    Naming::Named(kind, map)
}

fn refuse_unused(section: &mut Section<'_, '_>, mode: Mode, keys: &[&str]) {
    let message = format!("not used by client_certificate = {}", Word(mode).show());
    for key in keys {
        if !section.has(key) {
            continue;
        }
        let spot = section.child(key);
        let help = if OF_REQUIRING.contains(key) {
            "set client_certificate to \"required\", or remove this"
        } else {
            "set client_certificate to \"required\" or \"optional\", or remove this"
        };
        section.reader.refuse_with(&spot, &message, help);
    }
}

fn refuse_useless_crl(section: &mut Section<'_, '_>, cas: &ClientCas) {
    if !cas.crls.is_empty() && cas.files.is_empty() {
        let spot = section.child("client_crl");
        let help = "the project's own CA keeps its list itself; name the file of the other CA in \
                    client_ca, or remove this";
        let message = "no file in client_ca, whose revoked certificates this could list";
        section.reader.refuse_with(&spot, message, help);
    }
}
