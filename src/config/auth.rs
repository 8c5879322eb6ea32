//! `auth` and `verifiers` of a project: who proves what to whom.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::backend::BackendSpec;
use super::client_certificate::ClientCertificateSpec;
use super::files::is_public;
use super::query::{self, QuerySpec};
use super::reader::Item;
use super::section::Section;
use super::value::{Value, Word, Words, show_path};
use crate::address::BackendAddr;
use crate::auth::userlist::Userlist;
use crate::backend::SslMode;

/// The largest file of verifiers that is read, in bytes: some four hundred thousand users.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How many bad lines of it are shown; a file of another kind has nothing else.
const SHOWN_LINES: usize = 10;

/// Who proves what to whom when a client logs in.
#[derive(Debug, Clone)]
pub enum AuthSpec {
    /// The client to the backend.
    Passthrough,
    /// The client to the gate by one of these verifiers, and the gate to the backend.
    Scram(VerifierFile),
    /// The same, by verifiers that the backend is asked for; never over a connection on which somebody
    /// could listen in.
    Query(QuerySpec),
    /// The client tells the gate its password, and the gate proves it to the backend; never over TCP
    /// without TLS.
    Password,
    /// The client to the gate by a certificate that names it, and the gate to the backend by one that
    /// it makes for that user; over TLS that is verified.
    Certificate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passthrough,
    Scram,
    Password,
    Certificate,
}

impl Words for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("passthrough", Self::Passthrough),
        ("scram", Self::Scram),
        ("password", Self::Password),
        ("certificate", Self::Certificate),
    ];
}

/// A file of verifiers, and what is in it.
#[derive(Debug, Clone)]
pub struct VerifierFile {
    /// The file.
    pub path: PathBuf,
    /// None if it can't be used: see [`Config::vanished`](super::Config::vanished).
    pub list: Option<Arc<Userlist>>,
}

impl Value for VerifierFile {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let path = PathBuf::read(item)?;
        let list = read_userlist(item, &path);
        if is_public(&path) {
            let message = format!(
                "{} can be read by everybody on this machine",
                path.display()
            );
            let help =
                "who reads a verifier can guess the password, and pose as the server: chmod 600";
            item.reader.warn(&item.spot, message, help);
        }
        Some(Self {
            path,
            list: list.map(Arc::new),
        })
    }

    fn show(&self) -> String {
        show_path(&self.path)
    }
}

/// Reads a file of verifiers. Its lines are told by number and never shown (T34). What is wrong with it
/// is its project's affair, and keeps no change from the others.
fn read_userlist(item: &mut Item<'_, '_>, path: &Path) -> Option<Userlist> {
    let file = path.display();
    let text = item.reader.read_file(path, MAX_FILE);
    let mut vanish = |why: String| item.reader.vanish(&item.spot, why);
    let text = match text {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            vanish(format!("{file}: {error}"));
            return None;
        }
    };
    let bad = match Userlist::parse(text.as_bytes()) {
        Ok(list) => return Some(list),
        Err(bad) => bad,
    };
    for error in bad.iter().take(SHOWN_LINES) {
        vanish(format!("{file}, {error}"));
    }
    match bad.len().saturating_sub(SHOWN_LINES) {
        0 => {}
        more => vanish(format!("{file} has {more} more bad lines")),
    }
    None
}

/// Reads `auth` and what belongs to it; none if it isn't all there.
pub(super) fn read(
    section: &mut Section<'_, '_>,
    backend: Option<&BackendSpec>,
    clients: Option<&ClientCertificateSpec>,
) -> Option<AuthSpec> {
    let Word(mode) = section.or("auth", Word(Mode::Passthrough));
    let verifiers: Option<VerifierFile> = section.optional("verifiers");
    let query = query::read(section);
    for key in ["verifiers"].iter().chain(&query::KEYS) {
        if mode != Mode::Scram && section.has(key) {
            let message = format!("not used by auth = {}", Word(mode).show());
            let spot = section.child(key);
            let help = "set auth to \"scram\", or remove this";
            section.reader.refuse_with(&spot, message, help);
        }
    }
    match mode {
        Mode::Passthrough => Some(AuthSpec::Passthrough),
        Mode::Password => {
            refuse_password_in_clear(section, backend);
            Some(AuthSpec::Password)
        }
        Mode::Certificate => {
            refuse_unproved(section, (backend, clients));
            Some(AuthSpec::Certificate)
        }
        Mode::Scram if section.has("auth_query") => {
            query::refuse_contradictions(section, backend);
            query.map(AuthSpec::Query)
        }
        Mode::Scram => {
            if !section.has("verifiers") {
                let spot = section.child("auth");
                let help = "name a file with a line per user, as pg_authid has them: \
                            \"alice\" \"SCRAM-SHA-256$4096:...\"; or set auth_query";
                let message = "auth = \"scram\" needs verifiers, or auth_query";
                section.reader.refuse_with(&spot, message, help);
            }
            verifiers.map(AuthSpec::Scram)
        }
    }
}

/// Refuses `auth = "certificate"` where nothing proves to the gate who the client is, or to the backend
/// who the gate is.
fn refuse_unproved(
    section: &mut Section<'_, '_>,
    (backend, clients): (Option<&BackendSpec>, Option<&ClientCertificateSpec>),
) {
    let spot = section.child("auth");
    if clients.is_some_and(|clients| !clients.proves_user()) {
        let message = "auth = \"certificate\" lets in by the client's certificate alone, and nothing \
                       says that it must name the user";
        let help = "set client_certificate to \"required\", and user to \"cn\" or \"san\"";
        section.reader.refuse_with(&spot, message, help);
    }
    let Some(backend) = backend else { return };
    let has_socket = |addr: &BackendAddr| addr.socket_path().is_some();
    if !backend.sslmode.verifies() || backend.addresses.iter().any(has_socket) {
        let message = "auth = \"certificate\" needs TLS to the server, verified";
        let help = "set sslmode to \"verify-full\" with sslrootcert, and backend to TCP addresses";
        section.reader.refuse_with(&spot, message, help);
    }
    if backend.client_certificate.is_some() {
        let spot = section.child("sslcert");
        let message = "not used by auth = \"certificate\", which makes one for each user";
        section
            .reader
            .refuse_with(&spot, message, "remove sslcert and sslkey");
    }
}

fn refuse_password_in_clear(section: &mut Section<'_, '_>, backend: Option<&BackendSpec>) {
    let is_in_clear = |spec: &BackendSpec| {
        let mut addresses = spec.addresses.iter();
        spec.sslmode == SslMode::Disable && addresses.any(|addr| addr.socket_path().is_none())
    };
    if !backend.is_some_and(is_in_clear) {
        return;
    }
    let spot = section.child("auth");
    let message = "auth = \"password\" would carry passwords over TCP without TLS";
    let help = "set sslmode to \"verify-full\" with sslrootcert, or backend to the directory of the \
                server's Unix socket";
    section.reader.refuse_with(&spot, message, help);
}
