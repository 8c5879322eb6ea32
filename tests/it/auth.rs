//! Who proves what to whom: `auth = "passthrough"`, `"scram"`, `"password"` and `"certificate"`, with
//! real clients at real servers (T19, T20, T21, T29, T34).

mod binding;
mod cells;
mod certificate;
mod hostile;
mod middle;
mod peers;
mod query;
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use portcullis::cli::demo::cluster::Cluster;
use tokio::runtime::Runtime;
use tokio_postgres::config::ChannelBinding;

use crate::support::PATIENCE;
use crate::support::authority::Authority;
use crate::support::client_ca::Showing;
use crate::support::clients::Client;
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::postgres::{PASSWORD, Server};
use crate::support::raw::TlsClient;
use crate::support::tokio_tls::Rustls;
use cells::{Auth, Binding, Leg, Outcome};
use site::{Site, logins, name, pairs, scram_in_front_of, socket, userlist};

/// Runs `test` in front of each server.
fn at_each_server(test: impl Fn(&Site)) {
    for server in [Server::System, Server::Eighteen] {
        test(&Site::of(server));
    }
}

/// Runs `test` with each server as it comes.
fn at_each_server_plain(test: impl Fn(&Cluster)) {
    for server in [Server::System, Server::Eighteen] {
        test(&server.plain());
    }
}

/// Whether a client reads what to do where passthrough can't bind SCRAM.
fn names_the_ways_out(said: &str) -> bool {
    let ways = [
        "auth = \"scram\"",
        "own server.crt and server.key",
        "Unix socket",
    ];
    ways.iter().all(|way| said.contains(way))
}

/// That each line of `said` is what comes of the login that it stands for.
#[track_caller]
fn assert_outcomes(said: &str, logins: &[(Leg, Auth, Binding, Outcome)]) {
    assert_eq!(said.lines().count(), logins.len(), "{said}");
    for (line, login) in said.lines().zip(logins) {
        match login.3 {
            Outcome::Works => assert_eq!(line, "ok", "{login:?}"),
            Outcome::Fails(text) => assert!(line.contains(text), "{login:?}: {line}"),
            Outcome::NoConfiguration(_) => unreachable!(),
        }
    }
}

#[test]
fn t19_every_cell_of_the_table_holds_with_psql() {
    at_each_server(|site| {
        for (leg, auth, binding, outcome) in logins() {
            let binding = format!("channel_binding={}", binding.word());
            let psql = Client::psql(&site.conninfo(leg, auth, &binding));
            let psql = psql.args(["-c", "select current_user"]);
            match outcome {
                Outcome::Works => assert_eq!(psql.prints(), "alice", "{leg:?} {auth:?} {binding}"),
                Outcome::Fails(text) => {
                    let said = psql.fails();
                    assert!(said.contains(text), "{leg:?} {auth:?} {binding}: {said}");
                    if (leg, auth) == (Leg::OtherLeaf, Auth::Passthrough) {
                        assert!(names_the_ways_out(&said), "{said}");
                    }
                }
                Outcome::NoConfiguration(_) => unreachable!(),
            }
        }
    });
}

#[test]
fn t19_every_cell_of_the_table_holds_with_psycopg() {
    at_each_server(|site| {
        let all: Vec<_> = logins().collect();
        let conninfos = all.iter().map(|(leg, auth, binding, _)| {
            let binding = format!("channel_binding={}", binding.word());
            site.conninfo(*leg, *auth, &binding)
        });
        let said = Client::python("psycopg_logins.py").args(conninfos).prints();
        assert_outcomes(&said, &all);
    });
}

/// For a client that knows no channel binding, and takes its key in the file `key`.
fn rows_hold_with(key: &str, client: impl Fn() -> Client) {
    at_each_server(|site| {
        let all: Vec<_> = logins()
            .filter(|(_, _, binding, _)| *binding == Binding::Disable)
            .collect();
        let projects = all.iter().map(|(leg, auth, ..)| name(*leg, *auth));
        let client = client().arg(site.gate.port());
        let said = client
            .args([site.root(), site.file("alice.crt"), site.file(key)])
            .arg(PASSWORD)
            .args(projects)
            .prints();
        assert_outcomes(&said, &all);
    });
}

/// asyncpg knows no channel binding, as if it were disabled.
#[test]
fn t19_every_row_of_the_table_holds_with_asyncpg() {
    rows_hold_with("alice.key", || Client::python("asyncpg_logins.py"));
}

/// Debian's pgjdbc, 42.5, knows no channel binding, as if it were disabled.
#[test]
fn t19_every_row_of_the_table_holds_with_pgjdbc() {
    rows_hold_with("alice.pk8", || Client::java("JdbcLogins.java"));
}

/// node-postgres binds if it is told to and can, as libpq does with `prefer`.
#[test]
fn t19_every_row_of_the_table_holds_with_node_postgres() {
    at_each_server(|site| {
        let all: Vec<_> = logins()
            .filter(|(_, _, binding, _)| *binding != Binding::Require)
            .collect();
        let projects = all
            .iter()
            .map(|(leg, auth, binding, _)| format!("{}/{}", name(*leg, *auth), binding.word()));
        let client = Client::node("node_logins.cjs").arg(site.gate.port());
        let said = client
            .args([site.root(), site.file("alice.crt"), site.file("alice.key")])
            .arg(PASSWORD)
            .args(projects)
            .prints();
        assert_outcomes(&said, &all);
    });
}

#[test]
fn t19_every_cell_of_the_table_holds_with_tokio_postgres() {
    at_each_server(|site| {
        for (leg, auth, binding, outcome) in logins() {
            let said = with_tokio_postgres(site, (leg, auth, binding));
            match outcome.with_tokio_postgres() {
                Outcome::Works => assert_eq!(said, "ok", "{leg:?} {auth:?} {binding:?}"),
                Outcome::Fails(text) => {
                    assert!(said.contains(text), "{leg:?} {auth:?} {binding:?}: {said}");
                }
                Outcome::NoConfiguration(_) => unreachable!(),
            }
        }
    });
}

/// "ok", or why it says that it can't log in.
fn with_tokio_postgres(site: &Site, (leg, auth, binding): (Leg, Auth, Binding)) -> String {
    let project = name(leg, auth);
    let conninfo = format!(
        "host={project}.acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname={} \
         sslmode=require",
        site.gate.port(),
        auth.database()
    );
    let mut config: tokio_postgres::Config = conninfo.parse().unwrap();
    config.password(PASSWORD).channel_binding(match binding {
        Binding::Disable => ChannelBinding::Disable,
        Binding::Prefer => ChannelBinding::Prefer,
        Binding::Require => ChannelBinding::Require,
    });
    let tls = TlsClient::new(&site.root(), "acme.localhost").showing(Showing::leaf(&site.alice));
    let connect = config.connect(Rustls(tls.config));
    match Runtime::new().unwrap().block_on(connect) {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.into_source().unwrap().to_string(),
    }
}

#[test]
fn what_the_table_says_cant_be_configured_is_refused_in_its_words() {
    let mut refused = 0;
    for leg in cells::LEGS {
        for auth in cells::AUTHS {
            let Outcome::NoConfiguration(text) = cells::outcome(leg, auth, Binding::Prefer) else {
                continue;
            };
            let said = site::checked(leg, auth);
            assert!(said.contains(text), "{leg:?} {auth:?}: {said}");
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
}

#[test]
fn t34_no_login_of_any_mode_leaves_a_secret_in_the_log_at_any_level() {
    let site = Site::of(Server::System);
    for (leg, auth) in pairs() {
        let conninfo = site.conninfo(leg, auth, "channel_binding=disable");
        for password in [PASSWORD, "wrong-w3k9"] {
            let psql = Client::psql(&conninfo).env("PGPASSWORD", password);
            let ran = psql.args(["-c", "select 1"]).run();
            assert_eq!(
                ran.succeeded,
                password == PASSWORD || auth == Auth::Certificate,
                "{leg:?} {auth:?}: {ran}"
            );
        }
    }
    let verifier = site
        .shared
        .sql("select rolpassword from pg_authid where rolname = 'alice'")
        .unwrap();
    let [salt, stored_key, server_key] = secrets_of(&verifier);
    let log = site.gate.log().raw();
    assert!(log.contains("wrong_password"), "{log}");
    let marks = [
        PASSWORD,
        "wrong-w3k9",
        salt,
        stored_key,
        server_key,
        "r=",
        ",p=",
        "v=",
    ];
    for mark in marks {
        assert!(!log.contains(mark), "{mark}:\n{log}");
    }
}

/// Salt, StoredKey and ServerKey of `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
fn secrets_of(verifier: &str) -> [&str; 3] {
    let (start, keys) = verifier.rsplit_once('$').unwrap();
    let (stored_key, server_key) = keys.split_once(':').unwrap();
    [start.rsplit_once(':').unwrap().1, stored_key, server_key]
}

/// A client without server_name is shown the default project's leaf, before it says where it goes.
#[test]
fn t19_scram_is_bound_to_the_leaf_that_was_shown_and_not_to_the_projects_own() {
    let cluster = Server::System.plain();
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let projects = [
        Project::new("acme", &backend),
        Project::new("globex", &backend)
            .text("auth", "scram")
            .text("verifiers", "users.txt"),
    ];
    let settings = Settings::new(&projects).top("default_project = \"acme\"");
    let gate = Gate::within(
        directory_of(&[("users.txt", &userlist(&cluster))]),
        &settings,
    );
    let conninfo = crate::support::clients::conninfo(&gate, "acme")
        + " sslsni=0 channel_binding=require options='-c portcullis.project=globex'";
    let psql = Client::psql(&conninfo).args(["-c", "select current_user"]);
    assert_eq!(psql.prints(), "alice");
}

/// All that a session does, cancel and the key's process id (T10) among it.
#[test]
fn t10_a_session_logged_in_by_the_gate_is_like_any_other() {
    let cluster = Server::Eighteen.plain();
    let gate = scram_in_front_of(&cluster);
    let conninfo = crate::support::clients::conninfo(&gate, "acme") + " channel_binding=require";
    let session = Client::python("psycopg_session.py").args([&conninfo, "18"]);
    assert_eq!(session.prints(), "ok");
}

#[test]
fn t29_a_wrong_password_and_an_unknown_user_read_alike() {
    let cluster = Server::System.plain();
    let gate = scram_in_front_of(&cluster);
    let conninfo = crate::support::clients::conninfo(&gate, "acme");
    for (user, password) in [("alice", "wrong"), ("mallory", PASSWORD)] {
        let conninfo = conninfo.replace("user=alice", &format!("user={user}"));
        let psql = Client::psql(&conninfo).env("PGPASSWORD", password);
        let said = psql.args(["-c", "select 1"]).fails();
        let words = format!("FATAL:  password authentication failed for user \"{user}\"\n");
        assert!(said.ends_with(&words), "{said}");
    }
}

/// Puts a file that its owner alone can read in the place of another.
pub(crate) fn write_private(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

#[test]
fn a_changed_password_is_told_and_a_changed_file_is_in_force_without_a_restart() {
    let cluster = Server::System.plain();
    let gate = scram_in_front_of(&cluster);
    let conninfo = crate::support::clients::conninfo(&gate, "acme");
    let psql = |password: &str| {
        let psql = Client::psql(&conninfo).env("PGPASSWORD", password);
        psql.args(["-c", "select current_user"])
    };
    assert_eq!(psql(PASSWORD).prints(), "alice");
    cluster.sql("alter role alice password 'new one'").unwrap();
    let said = psql(PASSWORD).fails();
    assert!(
        said.contains("password authentication failed for user \"alice\""),
        "{said}"
    );
    assert!(said.contains("update the project's verifiers"), "{said}");
    let before = gate.log().len();
    write_private(&gate.directory().join("users.txt"), &userlist(&cluster));
    gate.log().wait_after(before, "the reload", |line| {
        line.to_string().contains("configuration reloaded")
    });
    assert_eq!(psql("new one").prints(), "alice");
    let said = psql(PASSWORD).fails();
    assert!(!said.contains("verifiers"), "{said}");
}

#[test]
fn t31_verifiers_that_vanish_or_go_bad_keep_no_change_from_other_projects() {
    let cluster = Server::System.plain();
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let acme = Project::new("acme", &backend)
        .text("auth", "scram")
        .text("verifiers", "users.txt");
    let globex = Project::new("globex", &backend);
    let users = userlist(&cluster);
    let settings = |projects: &[Project]| Settings::new(projects).with_admin();
    let gate = Gate::within(
        directory_of(&[("users.txt", &users)]),
        &settings(&[acme.clone(), globex.clone()]),
    );
    let conninfo = crate::support::clients::conninfo(&gate, "acme");
    let psql = || Client::psql(&conninfo).args(["-c", "select current_user"]);
    let file = gate.directory().join("users.txt");
    let reloaded = |before: usize| {
        gate.log().wait_after(before, "the reload", |line| {
            line.to_string().contains("configuration reloaded")
        });
    };
    let before = gate.log().len();
    write_private(&file, "\"alice\" \"what?\"\n");
    reloaded(before);
    assert_eq!(psql().prints(), "alice");
    // What is told follows what is in force.
    let wait_for_note = |is_it: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !is_it(&gate.admin("/readyz")) {
            assert!(Instant::now() < deadline, "{}", gate.admin("/readyz"));
        }
    };
    wait_for_note(&|body| body.contains("users.txt, line 1"));
    let before = gate.log().len();
    fs::remove_file(&file).unwrap();
    gate.rewrite(&settings(&[acme, globex.allow(&["nowhere"])]));
    gate.log().wait_after(before, "a warning", |line| {
        let message = text(line, "message");
        message.contains("users.txt") && message.contains("goes on with what was read")
    });
    reloaded(before);
    assert_eq!(psql().prints(), "alice");
    let refused = crate::support::clients::conninfo(&gate, "globex");
    let said = Client::psql(&refused).args(["-c", "select 1"]).fails();
    assert!(said.contains("are not allowed"), "{said}");
    wait_for_note(&|body| body.contains("users.txt: No such file"));
    // When it is back it counts, and nothing more is said.
    let before = gate.log().len();
    write_private(&file, &users.replace("alice", "carol"));
    reloaded(before);
    assert!(psql().fails().contains("password authentication failed"));
    wait_for_note(&|body| !body.contains("users.txt"));
}

/// The verifiers of users that don't exist outlive the process.
#[test]
fn t29_a_user_that_does_not_exist_has_one_salt_and_what_it_is_made_of_is_kept() {
    let cluster = Server::System.plain();
    let gate = scram_in_front_of(&cluster);
    let seed = gate.file("acme", "scram.seed");
    let mode = fs::metadata(&seed).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let first = hostile::salt_of(&gate, "mallory");
    assert_eq!(hostile::salt_of(&gate, "mallory"), first);
    assert_ne!(hostile::salt_of(&gate, "trent"), first);
    assert_eq!(hostile::salt_of(&gate, "alice").len(), first.len());
}

/// A gate with `auth = "password"`, and `backend` as it is.
fn by_password(backend: &str, lines: &[(&str, &str)]) -> Gate {
    let project = Project::new("acme", backend).text("auth", "password");
    let project = lines
        .iter()
        .fold(project, |project, (key, value)| project.text(key, value));
    Gate::start(&[project])
}

#[test]
fn a_password_logs_in_by_whatever_the_backend_asks_for_where_it_can_be_trusted() {
    let leaf = Authority::new().leaf("127.0.0.1");
    let ways = ["trust", "password", "md5", "scram-sha-256"];
    let cluster = Server::System.start(|plan| {
        plan.settings.push("ssl = on".to_owned());
        plan.files.push(("server.crt", leaf.chain.clone()));
        plan.files.push(("server.key", leaf.key.clone()));
        let rules = ways.iter().flat_map(|way| {
            [
                format!("local all {way} {way}"),
                format!("host all {way} 127.0.0.1/32 {way}"),
            ]
        });
        plan.hba = rules.collect();
    });
    for way in ways {
        let kind = if way == "md5" { "md5" } else { "scram-sha-256" };
        let role = format!("create role \"{way}\" login superuser password '{PASSWORD}'");
        cluster
            .sql(&format!("set password_encryption = '{kind}'; {role}"))
            .unwrap();
    }
    let trusted = by_password(&socket(&cluster), &[]);
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let unverified = by_password(&backend, &[("sslmode", "require")]);
    for way in ways {
        let psql = |gate: &Gate| {
            let conninfo = crate::support::clients::conninfo(gate, "acme");
            let conninfo = conninfo.replace("user=alice", &format!("user={way}"));
            Client::psql(&conninfo).args(["-c", "select current_user"])
        };
        assert_eq!(psql(&trusted).prints(), way);
        if ["md5", "password"].contains(&way) {
            let said = psql(&unverified).fails();
            assert!(said.contains("only over TLS that is verified"), "{said}");
        } else {
            assert_eq!(psql(&unverified).prints(), way);
        }
    }
    let wrong = crate::support::clients::conninfo(&trusted, "acme");
    let wrong = wrong.replace("user=alice", "user=md5");
    let said = Client::psql(&wrong).env("PGPASSWORD", "wrong").fails();
    // T21: the backend's own words.
    assert!(
        said.contains("password authentication failed for user \"md5\""),
        "{said}"
    );
}

#[test]
fn a_password_with_many_iterations_logs_in() {
    let cluster = Server::Eighteen.start(|plan| {
        plan.hba = vec!["local all alice scram-sha-256".to_owned()];
    });
    let strong = format!("set scram_iterations = 60000; alter role alice password '{PASSWORD}'");
    cluster.sql(&strong).unwrap();
    let gate = by_password(&socket(&cluster), &[]);
    let psql = Client::psql(&crate::support::clients::conninfo(&gate, "acme"));
    assert_eq!(psql.args(["-c", "select current_user"]).prints(), "alice");
}
