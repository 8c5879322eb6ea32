//! Servers, and gates in front of them.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portcullis::cli::demo::cluster::Cluster;
use portcullis::pki::Keystore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::cells::{AUTHS, Auth, BINDINGS, Binding, LEGS, Leg, Outcome, outcome};
use crate::support::authority::{Authority, Leaf};
use crate::support::client_ca::{ClientCa, ClientLeaf};
use crate::support::gate::{Gate, Project, Settings, check, directory_of};
use crate::support::postgres::{PASSWORD, Server};

/// A server that shows the gate's own leaf, one that shows another, and a gate with a project for
/// every leg and mode, `LEG-MODE.acme.localhost` each.
pub(super) struct Site {
    pub(super) shared: Cluster,
    pub(super) gate: Gate,
    pub(super) alice: ClientLeaf,
    _other: Cluster,
}

impl Site {
    pub(super) fn of(server: Server) -> Self {
        let authority = Authority::new();
        let own = authority.leaf("*.acme.localhost");
        let clients = ClientCa::new("clients");
        let alice = clients.leaf("alice");
        let directory = directory_of(&[
            ("root.crt", authority.root()),
            ("own.crt", &own.chain),
            ("own.key", &own.key),
            ("clients-ca.crt", clients.pem()),
            ("alice.crt", &alice.chain),
            ("alice.key", &alice.key),
            ("auth.password", PASSWORD),
        ]);
        // As pgjdbc takes it.
        let key = PrivatePkcs8KeyDer::from_pem_slice(alice.key.as_bytes()).unwrap();
        fs::write(directory.path().join("alice.pk8"), key.secret_pkcs8_der()).unwrap();
        let cas = cas_in(directory.path());
        let shared = with_tls(server, (&own, &cas));
        let other = with_tls(server, (&authority.leaf("127.0.0.1"), &cas));
        for (name, cluster) in [("shared.txt", &shared), ("other.txt", &other)] {
            super::write_private(&directory.path().join(name), &userlist(cluster));
        }
        let projects: Vec<_> = pairs()
            .map(|(leg, auth)| project(leg, auth, [&shared, &other]))
            .collect();
        Self {
            gate: Gate::within(directory, &settings(&projects)),
            shared,
            alice,
            _other: other,
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.file("root.crt")
    }

    /// A file of the gate's directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.gate.directory().join(name)
    }

    /// Of alice, with her certificate.
    pub(super) fn conninfo(&self, leg: Leg, auth: Auth, rest: &str) -> String {
        format!(
            "host={}.acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname={} \
             sslmode=verify-full sslrootcert={} sslcert={} sslkey={} {rest}",
            name(leg, auth),
            self.gate.port(),
            auth.database(),
            self.root().display(),
            self.file("alice.crt").display(),
            self.file("alice.key").display(),
        )
    }
}

/// Whoever sends no server_name is shown the default project's certificate, the same as everybody
/// else's, and asked for one that any project would.
fn settings(projects: &[Project]) -> Settings {
    Settings::new(projects)
        .log_level("debug")
        .top("default_project = \"plaintext-passthrough\"")
}

/// The CAs of the projects by certificate, which sign what the gate shows to the servers.
fn cas_in(directory: &Path) -> String {
    let keystore = Keystore::open(directory.join("certs")).unwrap();
    let by_certificate = pairs().filter(|(_, auth)| *auth == Auth::Certificate);
    let ca = |(leg, auth)| {
        let project = keystore.project(&name(leg, auth).parse().unwrap());
        project.client_issuer(Timestamp::now()).unwrap();
        fs::read_to_string(project.ca_certificate()).unwrap()
    };
    by_certificate.map(ca).collect()
}

/// What `portcullis check` says of a project with this leg and this mode.
pub(super) fn checked(leg: Leg, auth: Auth) -> String {
    let directory = directory_of(&[("root.crt", Authority::new().root())]);
    let backend = match leg {
        Leg::Socket => "/run/postgresql",
        Leg::Plaintext | Leg::SharedLeaf | Leg::OtherLeaf => "postgres://127.0.0.1",
    };
    let clients = ClientCa::new("clients");
    super::write_private(&directory.path().join("clients-ca.crt"), clients.pem());
    let own = Authority::new().leaf("*.acme.localhost");
    super::write_private(&directory.path().join("own.crt"), &own.chain);
    super::write_private(&directory.path().join("own.key"), &own.key);
    let settings = Settings::new(&[in_front_of(leg, auth, backend)]);
    check(directory.path(), &settings).err
}

/// Every leg with every mode that can be configured for it.
pub(super) fn pairs() -> impl Iterator<Item = (Leg, Auth)> {
    let all = LEGS.iter().flat_map(|leg| AUTHS.map(|auth| (*leg, auth)));
    all.filter(|(leg, auth)| {
        let outcome = outcome(*leg, *auth, Binding::Prefer);
        !matches!(outcome, Outcome::NoConfiguration(_))
    })
}

/// Every login that can be tried, with what comes of it.
pub(super) fn logins() -> impl Iterator<Item = (Leg, Auth, Binding, Outcome)> {
    pairs().flat_map(|(leg, auth)| {
        BINDINGS.map(|binding| (leg, auth, binding, outcome(leg, auth, binding)))
    })
}

pub(super) fn name(leg: Leg, auth: Auth) -> &'static str {
    // A project's name lives as long as the tests do.
    Box::leak(format!("{}-{}", leg.word(), auth.slug()).into_boxed_str())
}

fn project(leg: Leg, auth: Auth, [shared, other]: [&Cluster; 2]) -> Project {
    let cluster = if leg == Leg::OtherLeaf { other } else { shared };
    let backend = match leg {
        Leg::Socket => socket(cluster),
        Leg::Plaintext | Leg::SharedLeaf | Leg::OtherLeaf => {
            format!("postgres://127.0.0.1:{}", cluster.port())
        }
    };
    in_front_of(leg, auth, &backend)
}

fn in_front_of(leg: Leg, auth: Auth, backend: &str) -> Project {
    let host = format!("{}.acme.localhost", name(leg, auth));
    let project = Project::new(name(leg, auth), backend)
        .hosts(&[&host])
        .text("certificate", "own.crt")
        .text("key", "own.key")
        .text("auth", auth.word());
    let project = match leg {
        Leg::Plaintext | Leg::Socket => project,
        Leg::SharedLeaf | Leg::OtherLeaf => project
            .text("sslmode", "verify-ca")
            .text("sslrootcert", "root.crt"),
    };
    match (auth, leg) {
        (Auth::Passthrough, Leg::Plaintext) => asking("optional", project),
        (Auth::Certificate, _) => asking("required", project),
        (Auth::Passthrough | Auth::Password, _) => project,
        (Auth::Query, _) => by_query(project),
        (Auth::Scram, Leg::OtherLeaf) => project.text("verifiers", "other.txt"),
        (Auth::Scram, Leg::Plaintext | Leg::Socket | Leg::SharedLeaf) => {
            project.text("verifiers", "shared.txt")
        }
    }
}

fn asking(mode: &str, project: Project) -> Project {
    project
        .text("client_certificate", mode)
        .text("client_ca", "clients-ca.crt")
}

/// With `auth_query`, by the role that [`may_ask`] makes.
pub(super) fn by_query(project: Project) -> Project {
    project
        .text("auth", "scram")
        .text("auth_query", "default")
        .text("auth_user", "gate")
        .text("auth_password_file", "auth.password")
}

/// Makes a role of the server's that may read verifiers.
pub(super) fn may_ask(cluster: &Cluster) {
    let role = format!("create role gate login password '{PASSWORD}'");
    cluster.sql(&role).unwrap();
    cluster.sql("grant select on pg_authid to gate").unwrap();
}

pub(super) fn socket(cluster: &Cluster) -> String {
    format!(
        "{}:{}",
        cluster.socket_directory().display(),
        cluster.port()
    )
}

/// A server that asks everybody for SCRAM, and for a certificate by `cas` where the database is
/// "certified"; it can do TLS with `leaf`.
fn with_tls(server: Server, (leaf, cas): (&Leaf, &str)) -> Cluster {
    let cluster = server.start(|plan| {
        let ssl = ["ssl = on", "ssl_ca_file = 'cas.crt'"];
        plan.settings.extend(ssl.map(str::to_owned));
        plan.files.push(("cas.crt", cas.to_owned()));
        plan.files.push(("server.crt", leaf.chain.clone()));
        plan.files.push(("server.key", leaf.key.clone()));
        plan.hba = vec![
            "hostssl certified all 127.0.0.1/32 cert".to_owned(),
            "local all alice scram-sha-256".to_owned(),
            "host all all 127.0.0.1/32 scram-sha-256".to_owned(),
        ];
    });
    may_ask(&cluster);
    cluster
        .sql("create database certified owner alice")
        .unwrap();
    cluster
}

/// The server's verifiers, as the documentation says to print them.
pub(super) fn userlist(cluster: &Cluster) -> String {
    let lines = cluster.sql(
        "select format('\"%s\" \"%s\"', replace(rolname, '\"', '\"\"'), rolpassword) from pg_authid
         where rolcanlogin and rolpassword like 'SCRAM-SHA-256$%'
           and coalesce(rolvaliduntil > now(), true)",
    );
    lines.unwrap()
}

/// A server, and a gate with the one project `acme`, whose users are those of the server.
pub(super) fn scram_in_front_of(cluster: &Cluster) -> Gate {
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let acme = Project::new("acme", &backend)
        .hosts(&["acme.localhost", "localhost"])
        .text("auth", "scram")
        .text("verifiers", "users.txt");
    let directory = directory_of(&[("users.txt", &userlist(cluster))]);
    Gate::within(directory, &Settings::new(&[acme]).log_level("debug"))
}
