//! `backend` of a project, and how it is dialled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::SourceFile;
use super::project::{ProjectSpec, check_file};
use super::reader::{Item, Reader};
use super::section::Section;
use super::tcp;
use super::value::{At, Value, Word, Words, quoted, show_path};
use crate::address::{BackendAddr, Host};
use crate::backend::{Balance, NameCaching, SslMode, SslNegotiation};
use crate::pki::{Keystore, check_secret};
use crate::relay::TcpTuning;

/// A backend and how it is dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendSpec {
    /// Where it listens: at least one, none twice.
    pub addresses: Vec<BackendAddr>,
    /// Which of them a session goes to.
    pub balance: Balance,
    /// What TLS must prove; never anything but `Disable` if there are only Unix sockets.
    pub sslmode: SslMode,
    /// The roots: there exactly if `sslmode` verifies.
    pub sslrootcert: Option<RootCert>,
    /// How TLS begins; by SSLRequest if there is none.
    pub sslnegotiation: SslNegotiation,
    /// The project's client certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// How long one attempt to connect may take, 100 ms to 1 minute.
    pub connect_timeout: Duration,
    /// For how long what a name resolves to is kept: 0 to 1 hour, and 0 to 7 days longer.
    pub names: NameCaching,
    /// When a server that has vanished is found out.
    pub tcp: TcpTuning,
}

/// Whence the roots come by which a backend is verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RootCert {
    /// `"system"`: this system's own.
    System,
    /// `"project"`: the project's own CA.
    Project,
    /// A PEM bundle.
    File(PathBuf),
}

/// A client certificate towards a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificate {
    /// The chain, leaf first, PEM.
    pub chain: PathBuf,
    /// The leaf's private key, PEM.
    pub key: PathBuf,
}

impl Words for Balance {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("order", Self::Order),
        ("random", Self::Random),
        ("least-sessions", Self::LeastSessions),
    ];
}

impl Words for SslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl Words for SslNegotiation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("postgres", Self::Postgres), ("direct", Self::Direct)];
}

impl Value for RootCert {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        match item.value.as_str() {
            Some("system") => Some(Self::System),
            Some("project") => Some(Self::Project),
            Some(_) | None => PathBuf::read(item).map(Self::File),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::System => quoted("system"),
            Self::Project => quoted("project"),
            Self::File(path) => show_path(path),
        }
    }
}

/// One address, or several.
struct Addresses(Vec<BackendAddr>);

impl Value for Addresses {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        if item.value.as_array().is_none() {
            return BackendAddr::read(item).map(|addr| Self(vec![addr]));
        }
        let all: Vec<At<BackendAddr>> = item.elements()?;
        if all.is_empty() {
            return item.refuse("a backend has at least one address");
        }
        let mut seen = Vec::with_capacity(all.len());
        for At { value, spot } in all {
            match spot {
                Some(spot) if seen.contains(&value) => {
                    item.reader.refuse(&spot, "the address is there already");
                }
                Some(_) | None => seen.push(value),
            }
        }
        Some(Self(seen))
    }

    fn show(&self) -> String {
        match self.0.as_slice() {
            [lone] => lone.show(),
            all => all.to_vec().show(),
        }
    }
}

/// Reads `backend` and what belongs to it; none if it isn't all there.
pub(super) fn read(section: &mut Section<'_, '_>, default: TcpTuning) -> Option<BackendSpec> {
    let help = "the server behind the gate: backend = \"postgres://10.0.0.5:5432\"";
    let addresses = section.required("backend", help);
    let addresses = addresses.map(|Addresses(addresses)| addresses);
    let Word(balance) = section.or("balance", Word(Balance::Order));
    let sslrootcert: Option<At<RootCert>> = section.optional("sslrootcert");
    let sslrootcert = sslrootcert.map(|at| check_root(section, at));
    let is_local = addresses
        .as_ref()
        .is_none_or(|all| all.iter().all(BackendAddr::is_local));
    let default_mode = if is_local && sslrootcert != Some(RootCert::System) {
        SslMode::Disable
    } else {
        SslMode::VerifyFull
    };
    let Word(sslmode) = section.or("sslmode", Word(default_mode));
    let Word(sslnegotiation) = section.or("sslnegotiation", Word(SslNegotiation::Postgres));
    let client_certificate = read_client_certificate(section);
    refuse_contradiction(section, addresses.as_deref(), sslmode);
    if sslmode == SslMode::Disable {
        refuse_idle_keys(section, sslnegotiation);
    }
    refuse_weak_roots(section, sslmode, sslrootcert.as_ref());
    let within = Duration::from_millis(100)..=Duration::from_secs(60);
    let connect_timeout = section.or_within("connect_timeout", Duration::from_secs(5), &within);
    let names = read_caching(section);
    let tcp = tcp::read(section, default);
    Some(BackendSpec {
        addresses: addresses?,
        balance,
        sslmode,
        sslrootcert,
        sslnegotiation,
        client_certificate,
        connect_timeout,
        names,
        tcp,
    })
}

fn read_caching(section: &mut Section<'_, '_>) -> NameCaching {
    let NameCaching { fresh, stale } = NameCaching::default();
    let up_to = |most| Duration::ZERO..=Duration::from_secs(most);
    NameCaching {
        fresh: section.or_within("dns_cache", fresh, &up_to(3600)),
        stale: section.or_within("dns_cache_stale", stale, &up_to(7 * 86_400)),
    }
}

/// Watches the certificate of the project's CA and what it has revoked, if the backend is verified by
/// it.
pub(super) fn watch_project_root(reader: &mut Reader<'_>, certs: &Path, spec: &ProjectSpec) {
    if spec.backend.sslrootcert == Some(RootCert::Project) {
        let certificate = Keystore::ca_certificate_in(certs, &spec.name);
        let revoked = certificate.with_file_name("ca.crl");
        let files = [certificate, revoked].map(|file| SourceFile::look(&file));
        reader.files.extend(files);
    }
}

/// Refuses a bundle that isn't there.
fn check_root(section: &mut Section<'_, '_>, At { value, spot }: At<RootCert>) -> RootCert {
    match value {
        RootCert::File(path) => {
            let at = At { value: path, spot };
            check_file(section, Some(&at));
            RootCert::File(at.value)
        }
        RootCert::Project if section.has("certificate") => {
            let spot = section.child("sslrootcert");
            let message =
                "there is no CA of the project's own where \"certificate\" takes its place";
            let help = "name the file of the CA that signs the server's certificate";
            section.reader.refuse_with(&spot, message, help);
            RootCert::Project
        }
        other @ (RootCert::System | RootCert::Project) => other,
    }
}

fn read_client_certificate(section: &mut Section<'_, '_>) -> Option<ClientCertificate> {
    let chain: Option<At<PathBuf>> = section.optional("sslcert");
    let key: Option<At<PathBuf>> = section.optional("sslkey");
    for (one, path, other) in [("sslcert", &chain, "sslkey"), ("sslkey", &key, "sslcert")] {
        if section.has(one) && !section.has(other) {
            let spot = section.child(one);
            let message = format!("\"{one}\" without \"{other}\"");
            let help = "set both, or none of them";
            section.reader.refuse_with(&spot, message, help);
        }
        check_file(section, path.as_ref());
    }
    if let Some(At {
        value,
        spot: Some(spot),
    }) = &key
        && let Err(error) = check_secret(value)
        && value.is_file()
    {
        section.reader.refuse(spot, error);
    }
    Some(ClientCertificate {
        chain: chain?.value,
        key: key?.value,
    })
}

fn refuse_contradiction(
    section: &mut Section<'_, '_>,
    addresses: Option<&[BackendAddr]>,
    sslmode: SslMode,
) {
    let word = Word(sslmode).show();
    let is_unix = addresses.is_some_and(|all| all.iter().all(|addr| addr.socket_path().is_some()));
    if is_unix && sslmode != SslMode::Disable {
        let spot = section.child("sslmode");
        let message = format!("sslmode = {word} over a Unix socket, where PostgreSQL has no TLS");
        section.reader.refuse(&spot, message);
    }
    let has_root = section.has("sslrootcert");
    if sslmode.verifies() && !has_root {
        let is_written = section.has("sslmode");
        let (key, default) = if is_written {
            ("sslmode", "")
        } else {
            ("backend", ", the default for this backend,")
        };
        let spot = section.child(key);
        section.reader.refuse_with(
            &spot,
            format!("sslmode = {word}{default} needs sslrootcert"),
            "set sslrootcert to the file of the server's CA, or sslmode to what the network between \
             the gate and the server calls for",
        );
    }
    if !sslmode.verifies() && has_root {
        let spot = section.child("sslrootcert");
        let help = "set sslmode to \"verify-full\" or \"verify-ca\", or remove this";
        section
            .reader
            .refuse_with(&spot, format!("not used by sslmode = {word}"), help);
    }
}

/// Refuses what would be of use with TLS only.
fn refuse_idle_keys(section: &mut Section<'_, '_>, negotiation: SslNegotiation) {
    let is_direct = negotiation == SslNegotiation::Direct;
    for (key, is_idle) in [
        ("sslnegotiation", is_direct),
        ("sslcert", section.has("sslcert")),
        ("sslkey", section.has("sslkey")),
    ] {
        if is_idle {
            let spot = section.child(key);
            let message = "not used by sslmode = \"disable\"";
            let help =
                "set sslmode to \"verify-full\", \"verify-ca\" or \"require\", or remove this";
            section.reader.refuse_with(&spot, message, help);
        }
    }
}

/// Anybody can have a certificate of a public CA: without the host's name it proves nothing.
fn refuse_weak_roots(section: &mut Section<'_, '_>, sslmode: SslMode, root: Option<&RootCert>) {
    if root == Some(&RootCert::System) && sslmode == SslMode::VerifyCa {
        let spot = section.child("sslmode");
        let message = "sslrootcert = \"system\" goes with sslmode = \"verify-full\" only";
        let help = "anybody can have a certificate of a public CA; what counts is the host's name";
        section.reader.refuse_with(&spot, message, help);
    }
}

impl BackendAddr {
    /// Whether what is sent there stays on this machine, as far as its writing tells.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp {
                host: Host::Address(ip),
                ..
            } => ip.to_canonical().is_loopback(),
            Self::Tcp {
                host: Host::Name(name),
                ..
            } => name.as_str() == "localhost",
        }
    }
}
