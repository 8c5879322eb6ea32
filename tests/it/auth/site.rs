//! Servers, and gates in front of them.

use std::path::PathBuf;

use portcullis::cli::demo::cluster::Cluster;

use super::cells::{AUTHS, Auth, BINDINGS, Binding, LEGS, Leg, Outcome, outcome};
use crate::support::authority::{Authority, Leaf};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::postgres::{PASSWORD, Server};

/// A server that shows the gate's own leaf, one that shows another, and a gate with a project for
/// every leg and mode, `LEG-MODE.acme.localhost` each.
pub(super) struct Site {
    pub(super) shared: Cluster,
    pub(super) gate: Gate,
    _other: Cluster,
}

impl Site {
    pub(super) fn of(server: Server) -> Self {
        let authority = Authority::new();
        let own = authority.leaf("*.acme.localhost");
        let shared = with_tls(server, &own);
        let other = with_tls(server, &authority.leaf("127.0.0.1"));
        let (shared_users, other_users) = (userlist(&shared), userlist(&other));
        let directory = directory_of(&[
            ("root.crt", authority.root()),
            ("own.crt", &own.chain),
            ("own.key", &own.key),
            ("shared.txt", &shared_users),
            ("other.txt", &other_users),
            ("auth.password", PASSWORD),
        ]);
        let projects: Vec<_> = pairs()
            .map(|(leg, auth)| project(leg, auth, [&shared, &other]))
            .collect();
        // Whoever sends no server_name is shown its certificate, the same as everybody else's.
        let settings = Settings::new(&projects)
            .log_level("debug")
            .top("default_project = \"plaintext-passthrough\"");
        Self {
            gate: Gate::within(directory, &settings),
            shared,
            _other: other,
        }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.gate.directory().join("root.crt")
    }

    pub(super) fn conninfo(&self, project: &str, rest: &str) -> String {
        format!(
            "host={project}.acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app \
             sslmode=verify-full sslrootcert={} {rest}",
            self.gate.port(),
            self.root().display()
        )
    }
}

/// Every leg with every mode that can be configured for it.
pub(super) fn pairs() -> impl Iterator<Item = (Leg, Auth)> {
    let all = LEGS.iter().flat_map(|leg| AUTHS.map(|auth| (*leg, auth)));
    all.filter(|(leg, auth)| outcome(*leg, *auth, Binding::Prefer) != Outcome::NoConfiguration)
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
    let host = format!("{}.acme.localhost", name(leg, auth));
    let project = Project::new(name(leg, auth), &backend)
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
        (Auth::Passthrough | Auth::Password, _) => project,
        (Auth::Query, _) => by_query(project),
        (Auth::Scram, Leg::OtherLeaf) => project.text("verifiers", "other.txt"),
        (Auth::Scram, Leg::Plaintext | Leg::Socket | Leg::SharedLeaf) => {
            project.text("verifiers", "shared.txt")
        }
    }
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

/// A server that asks everybody for SCRAM, and can do TLS with `leaf`.
fn with_tls(server: Server, leaf: &Leaf) -> Cluster {
    let cluster = server.start(|plan| {
        plan.settings.push("ssl = on".to_owned());
        plan.files.push(("server.crt", leaf.chain.clone()));
        plan.files.push(("server.key", leaf.key.clone()));
        plan.hba = vec![
            "local all alice scram-sha-256".to_owned(),
            "host all all 127.0.0.1/32 scram-sha-256".to_owned(),
        ];
    });
    may_ask(&cluster);
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
