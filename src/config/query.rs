//! `auth_query` of a project, and what belongs to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::backend::BackendSpec;
use super::reader::Item;
use super::section::Section;
use super::value::{Value, quoted, show_path};
use crate::address::BackendAddr;
use crate::auth::query::{Account, DEFAULT_QUERY};
use crate::backend::SslMode;
use crate::pki::check_secret;

/// How a project asks its backend for verifiers.
#[derive(Debug, Clone)]
pub struct QuerySpec {
    /// By whom; without a password if that is lost.
    pub account: Account,
    /// The file of its password, if that can't be used: see [`Config::vanished`](super::Config::vanished).
    pub lost: Option<PathBuf>,
}

/// Every key that says something about `auth_query`.
pub(super) const KEYS: [&str; 5] = [
    "auth_query",
    "auth_user",
    "auth_password_file",
    "auth_dbname",
    "auth_query_cache",
];

/// The largest password file, in bytes.
const MAX_FILE: u64 = 4096;

/// A text that goes into a string of the protocol.
struct Text(String);

impl Value for Text {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let text = item.text("a string")?;
        if text.is_empty() || text.contains('\0') {
            return item.refuse("it can't be empty, nor hold a NUL");
        }
        Some(Self(text))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// A file whose first line is a password.
struct PasswordFile {
    path: PathBuf,
    /// None if it can't be used.
    password: Option<Zeroizing<Vec<u8>>>,
}

impl Value for PasswordFile {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let path = PathBuf::read(item)?;
        let password = read_password(item, &path);
        if let Err(error) = &password {
            item.reader.vanish(&item.spot, error);
        }
        Some(Self {
            path,
            password: password.ok(),
        })
    }

    fn show(&self) -> String {
        show_path(&self.path)
    }
}

fn read_password(item: &mut Item<'_, '_>, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = item.reader.read_file(path, MAX_FILE);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let text = Zeroizing::new(text);
    check_secret(path).map_err(|error| error.to_string())?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.as_bytes().to_vec()))
}

/// Reads the keys; none if they are not all there.
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<QuerySpec> {
    let query: Option<Text> = section.optional("auth_query");
    let user: Option<Text> = section.optional("auth_user");
    let password: Option<PasswordFile> = section.optional("auth_password_file");
    let database: Option<Text> = section.optional("auth_dbname");
    let lasting: Option<Duration> = section.optional("auth_query_cache");
    let lasting = lasting.unwrap_or(Duration::from_secs(30));
    if lasting > Duration::from_secs(3600) {
        let spot = section.child("auth_query_cache");
        let message = "it is not within \"0s\" to \"1h\"";
        section.reader.refuse(&spot, message);
    }
    let Text(query) = query?;
    let PasswordFile { path, password } = password?;
    let lost = password.is_none().then_some(path);
    let account = Account {
        user: user?.0,
        password: password.unwrap_or_default(),
        database: database.map_or_else(|| "postgres".to_owned(), |Text(name)| name),
        query: if query == "default" {
            DEFAULT_QUERY.to_owned()
        } else {
            query
        },
        lasting,
    };
    Some(QuerySpec { account, lost })
}

/// Refuses what doesn't go together with `auth_query`, and misses what it needs.
pub(super) fn refuse_contradictions(section: &mut Section<'_, '_>, backend: Option<&BackendSpec>) {
    let spot = section.child("auth_query");
    if section.has("verifiers") {
        let message = "\"verifiers\" and \"auth_query\" can't both be";
        let help = "remove one of them";
        section.reader.refuse_with(&spot, message, help);
    }
    for key in ["auth_user", "auth_password_file"] {
        if !section.has(key) {
            let message = format!("auth_query needs {key}");
            let help = "name a role that may run the query, and a file with its password, 0600";
            section.reader.refuse_with(&spot, message, help);
        }
    }
    if backend.is_some_and(is_exposed) {
        let message = "auth_query would carry verifiers where somebody could listen in";
        let help = "set sslmode to \"verify-full\" with sslrootcert, or backend to the directory of \
                    the server's Unix socket";
        section.reader.refuse_with(&spot, message, help);
    }
}

/// Whether what is said there could be heard by others, or by another than the server.
fn is_exposed(spec: &BackendSpec) -> bool {
    match spec.sslmode {
        SslMode::VerifyCa | SslMode::VerifyFull => false,
        SslMode::Disable | SslMode::Require => !spec.addresses.iter().all(BackendAddr::is_local),
    }
}
