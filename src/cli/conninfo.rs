//! `portcullis conninfo`: how a client connects to a project, ready to paste.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{EXIT_USAGE, config_path, shown};
use crate::address::Host;
use crate::config::{Config, ProjectSpec};
use crate::id::ProjectName;

/// What `conninfo` takes.
#[derive(Debug, Args)]
pub struct ConninfoArgs {
    /// The project
    project: ProjectName,
    /// The form in which it is printed
    #[arg(short, long, value_enum, default_value_t = Format::Psql)]
    format: Format,
    /// The role to log in as
    #[arg(short, long, default_value = "postgres")]
    user: String,
    /// The database
    #[arg(short, long, default_value = "postgres")]
    dbname: String,
    /// The port, if clients reach the gate on another than it listens on
    #[arg(short, long)]
    port: Option<u16>,
    /// The configuration file [default: proxy.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a connection is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A URL, as most drivers take it
    Url,
    /// A psql command
    Psql,
    /// Environment variables, as libpq reads them
    Env,
    /// A URL for pgjdbc
    Jdbc,
}

pub(super) fn main(args: &ConninfoArgs) -> ExitCode {
    let path = config_path(args.config.as_ref());
    let Some(config) = shown(Config::load_for(&path, &args.project)) else {
        return ExitCode::from(EXIT_USAGE);
    };
    let Some(project) = config.projects.get(&args.project) else {
        let known: Vec<&str> = config.projects.keys().map(ProjectName::as_str).collect();
        eprintln!(
            "error: no project is named \"{}\"; there is {}",
            args.project,
            known.join(", ")
        );
        return ExitCode::from(EXIT_USAGE);
    };
    let conninfo = Conninfo::new(args, &config, project);
    if let RootCert::File(path) = &conninfo.root_cert
        && !path.exists()
    {
        eprintln!(
            "note: {} is made when the gate first starts",
            path.display()
        );
    }
    println!("{conninfo}");
    ExitCode::SUCCESS
}

/// A connection that verifies whom it talks to.
struct Conninfo<'a> {
    format: Format,
    host: String,
    port: u16,
    user: &'a str,
    dbname: &'a str,
    root_cert: RootCert,
}

enum RootCert {
    /// The project's own CA.
    File(PathBuf),
    /// A chain of the user's own: whatever the client's system trusts.
    System,
}

impl<'a> Conninfo<'a> {
    fn new(args: &'a ConninfoArgs, config: &Config, project: &ProjectSpec) -> Self {
        let root_cert = if project.certificate.is_some() {
            RootCert::System
        } else {
            RootCert::File(absolute(
                &config.certs.join(args.project.as_str()).join("ca.crt"),
            ))
        };
        Self {
            format: args.format,
            host: project
                .hosts
                .first()
                .map_or_else(String::new, Host::to_string),
            port: args.port.unwrap_or_else(|| port_of(config, &args.project)),
            user: &args.user,
            dbname: &args.dbname,
            root_cert,
        }
    }

    fn root_cert(&self) -> String {
        match &self.root_cert {
            RootCert::File(path) => path.display().to_string(),
            RootCert::System => "system".to_owned(),
        }
    }
}

impl fmt::Display for Conninfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self.format {
            Format::Url => self.url(),
            Format::Psql => self.psql(),
            Format::Env => self.env(),
            Format::Jdbc => self.jdbc(),
        })
    }
}

impl Conninfo<'_> {
    fn url(&self) -> String {
        let (user, authority, root_cert) = (percent(self.user), self.authority(), self.root_cert());
        let root_cert = percent(&root_cert);
        format!("postgresql://{user}@{authority}?sslmode=verify-full&sslrootcert={root_cert}")
    }

    fn psql(&self) -> String {
        let word = |(_, key, value): (_, &str, String)| format!("{key}={}", quoted(&value));
        let words: Vec<String> = self.parameters().map(word).into();
        format!("psql \"{}\"", shell_escaped(&words.join(" ")))
    }

    fn env(&self) -> String {
        let line = |(name, _, value): (&str, _, String)| {
            format!("export {name}=\"{}\"", shell_escaped(&value))
        };
        let lines: Vec<String> = self.parameters().map(line).into();
        lines.join("\n")
    }

    fn jdbc(&self) -> String {
        let (user, authority) = (percent(self.user), self.authority());
        let root = match &self.root_cert {
            RootCert::File(_) => format!("sslrootcert={}", percent(&self.root_cert())),
            // pgjdbc's word for the JVM's own trust store.
            RootCert::System => "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory".to_owned(),
        };
        format!("jdbc:postgresql://{authority}?user={user}&sslmode=verify-full&{root}")
    }

    /// The host, the port and the database, as they stand in a URL.
    fn authority(&self) -> String {
        format!(
            "{}:{}/{}",
            bracketed(&self.host),
            self.port,
            percent(self.dbname)
        )
    }

    /// Each parameter with its name in libpq's environment and in its connection strings.
    fn parameters(&self) -> [(&'static str, &'static str, String); 6] {
        [
            ("PGHOST", "host", self.host.clone()),
            ("PGPORT", "port", self.port.to_string()),
            ("PGDATABASE", "dbname", self.dbname.to_owned()),
            ("PGUSER", "user", self.user.to_owned()),
            ("PGSSLMODE", "sslmode", "verify-full".to_owned()),
            ("PGSSLROOTCERT", "sslrootcert", self.root_cert()),
        ]
    }
}

/// The port of the listener that serves the project.
fn port_of(config: &Config, project: &ProjectName) -> u16 {
    let serves = |pinned: &Option<ProjectName>| pinned.as_ref().is_none_or(|name| name == project);
    let listener = config
        .listeners
        .iter()
        .find(|listener| serves(&listener.project));
    listener.map_or(crate::address::BackendAddr::DEFAULT_PORT, |listener| {
        listener.address.port()
    })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An IPv6 address stands in brackets in a URL (RFC 3986 section 3.2.2).
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Percent-encoding of all but what is safe anywhere in a URL (RFC 3986 section 2.3), and `/`.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// A value of a libpq connection string: quoted if it is empty or has spaces, quotes, backslashes.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A text that stands between double quotes in a shell.
fn shell_escaped(text: &str) -> String {
    let escape = |c: char| matches!(c, '"' | '\\' | '$' | '`').then_some('\\');
    text.chars()
        .flat_map(|c| escape(c).into_iter().chain([c]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Format, host: &str, root_cert: RootCert) -> String {
        let (user, dbname) = ("al ice", "app");
        Conninfo {
            format,
            host: host.to_owned(),
            port: 6432,
            user,
            dbname,
            root_cert,
        }
        .to_string()
    }

    #[test]
    fn every_format_verifies_the_gate_and_is_quoted_for_where_it_is_pasted() {
        let file = || RootCert::File("/etc/por $cullis/ca.crt".into());
        assert_eq!(
            shown(Format::Url, "db.example.com", file()),
            "postgresql://al%20ice@db.example.com:6432/app\
             ?sslmode=verify-full&sslrootcert=/etc/por%20%24cullis/ca.crt"
        );
        assert_eq!(
            shown(Format::Psql, "db.example.com", file()),
            "psql \"host=db.example.com port=6432 dbname=app user='al ice' sslmode=verify-full \
             sslrootcert='/etc/por \\$cullis/ca.crt'\""
        );
        assert_eq!(
            shown(Format::Jdbc, "2001:db8::1", RootCert::System),
            "jdbc:postgresql://[2001:db8::1]:6432/app?user=al%20ice&sslmode=verify-full\
             &sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory"
        );
        let env = shown(Format::Env, "db.example.com", RootCert::System);
        assert_eq!(env.lines().count(), 6);
        assert!(env.contains("export PGSSLROOTCERT=\"system\""), "{env}");
    }
}
