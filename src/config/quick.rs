//! One project without a file, from the command line.

use std::path::PathBuf;

use super::value::{Value, quoted, show_path};

/// What the command line says in place of `proxy.toml`: a project named `default`, reached as
/// `localhost` and `127.0.0.1`. Each text is what the key of the same name would be set to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuickSpec {
    /// Addresses to listen on; the default if there is none.
    pub listen: Vec<String>,
    /// The server behind the gate.
    pub backend: String,
    /// Whom to let in.
    pub allow: Vec<String>,
    /// The directory of the project's CA.
    pub certs: Option<PathBuf>,
    /// What TLS towards the backend must prove.
    pub sslmode: Option<String>,
    /// The roots for it.
    pub sslrootcert: Option<PathBuf>,
}

impl QuickSpec {
    /// The same as a file would say it, so that it is read, checked and shown by the same code.
    pub(super) fn to_toml(&self) -> String {
        let listen = Some(&self.listen).filter(|listen| !listen.is_empty());
        let lines = [
            line("listen", listen.map(Value::show)),
            line("certs", self.certs.as_deref().map(show_path)),
            "[project.default]\nhosts = [\"localhost\", \"127.0.0.1\"]\n".to_owned(),
            line("allow", Some(self.allow.show())),
            line("backend", Some(quoted(&self.backend))),
            line("sslmode", self.sslmode.as_deref().map(quoted)),
            line("sslrootcert", self.sslrootcert.as_deref().map(show_path)),
        ];
        lines.concat()
    }
}

fn line(key: &str, value: Option<String>) -> String {
    value.map_or_else(String::new, |value| format!("{key} = {value}\n"))
}
