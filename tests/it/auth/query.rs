//! `auth_query`: the gate asks the server itself for verifiers (T20, T29, T34).

use portcullis::cli::demo::cluster::Cluster;

use super::at_each_server_plain;
use super::site::{by_query, may_ask, socket};
use crate::support::clients::{Client, conninfo};
use crate::support::gate::{Gate, Project, Settings, directory_of, text};
use crate::support::message::alice;
use crate::support::postgres::{PASSWORD, Server, wait_for};

/// A gate that asks `cluster`, with some keys of its own.
fn asking(cluster: &Cluster, keys: &[(&str, &str)]) -> Gate {
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let acme = by_query(Project::new("acme", &backend));
    let acme = keys
        .iter()
        .fold(acme, |acme, (key, value)| acme.text(key, value));
    let directory = directory_of(&[("auth.password", PASSWORD)]);
    Gate::within(directory, &Settings::new(&[acme]).log_level("debug"))
}

fn login(gate: &Gate, user: &str, password: &str) -> Client {
    let user = user.replace('\\', "\\\\").replace('\'', "\\'");
    let conninfo = conninfo(gate, "acme").replace("user=alice", &format!("user='{user}'"));
    let psql = Client::psql(&conninfo).env("PGPASSWORD", password);
    psql.args(["-c", "select current_user"])
}

#[track_caller]
fn assert_wrong(client: Client, user: &str) {
    let said = client.fails();
    let words = format!("FATAL:  password authentication failed for user \"{user}\"\n");
    assert!(said.ends_with(&words), "{said}");
}

#[test]
fn a_changed_password_is_in_force_at_once_and_the_old_one_is_not() {
    at_each_server_plain(|cluster| {
        may_ask(cluster);
        let gate = asking(cluster, &[("auth_query_cache", "1h")]);
        assert_eq!(login(&gate, "alice", PASSWORD).prints(), "alice");
        for new in ["one", "two"] {
            cluster
                .sql(&format!("alter role alice password '{new}'"))
                .unwrap();
            // Whatever was kept a moment ago may be asked for once more after a second.
            wait_for_login(&gate, "alice", new);
            assert_wrong(login(&gate, "alice", PASSWORD), "alice");
        }
    });
}

/// Logs in until it works, which takes a second at most: no more often is the server asked again.
#[track_caller]
fn wait_for_login(gate: &Gate, user: &str, password: &str) {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while !login(gate, user, password).run().succeeded {
        assert!(std::time::Instant::now() < deadline, "never let in");
    }
}

#[test]
fn who_may_not_log_in_or_has_expired_reads_the_same_as_who_does_not_exist() {
    at_each_server_plain(|cluster| {
        may_ask(cluster);
        let role = |name: &str, rest: &str| {
            let role = format!("create role {name} password '{PASSWORD}' {rest}");
            cluster.sql(&role).unwrap();
        };
        role("expired", "login valid until '2020-01-01'");
        role("nologin", "nologin");
        role("lasting", "login superuser valid until '2999-01-01'");
        let gate = asking(cluster, &[]);
        assert_eq!(login(&gate, "lasting", PASSWORD).prints(), "lasting");
        let injected = "alice' or rolname = 'alice";
        for user in ["expired", "nologin", "mallory", injected] {
            assert_wrong(login(&gate, user, PASSWORD), user);
        }
        cluster
            .sql("alter role expired superuser valid until 'infinity'")
            .unwrap();
        wait_for_login(&gate, "expired", PASSWORD);
    });
}

#[test]
fn an_md5_hash_is_a_wrong_password_to_the_client_and_a_clear_word_to_the_operator() {
    at_each_server_plain(|cluster| {
        may_ask(cluster);
        cluster
            .sql(&format!(
                "set password_encryption = 'md5'; create role old login password '{PASSWORD}'"
            ))
            .unwrap();
        let gate = asking(cluster, &[]);
        assert_wrong(login(&gate, "old", PASSWORD), "old");
        let line = gate.log().wait("the refusal", |line| {
            text(line, "reason") == "unusable_verifier"
        });
        assert!(
            text(&line, "why").contains("set the password again with password_encryption"),
            "{line}"
        );
    });
}

#[test]
fn the_query_runs_with_a_fixed_search_path_a_timeout_and_reads_only() {
    let cluster = Server::System.plain();
    may_ask(&cluster);
    cluster
        .sql("alter role gate set search_path = public")
        .unwrap();
    let own = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 \
               AND current_setting('search_path') = 'pg_catalog' \
               AND current_setting('statement_timeout') = '3s' \
               AND current_setting('transaction_read_only') = 'on'";
    let gate = asking(&cluster, &[("auth_query", own)]);
    assert_eq!(login(&gate, "alice", PASSWORD).prints(), "alice");
}

#[test]
fn an_answer_is_kept_and_asked_for_once() {
    let cluster = Server::System.start(|plan| plan.settings.push("log_connections = on".into()));
    may_ask(&cluster);
    let gate = asking(&cluster, &[("auth_query_cache", "1h")]);
    for _ in 0..5 {
        assert_eq!(login(&gate, "alice", PASSWORD).prints(), "alice");
    }
    let log = cluster.log().unwrap();
    let asked = log.matches("connection authorized: user=gate").count();
    assert_eq!(asked, 1, "{log}");
}

#[test]
fn once_nobody_waits_for_an_answer_no_connection_of_the_service_account_is_left() {
    let cluster = Server::System.plain();
    may_ask(&cluster);
    let gate = asking(&cluster, &[("auth_query_cache", "1h")]);
    let at_once: Vec<_> = (0..8)
        .map(|_| login(&gate, "alice", PASSWORD).start())
        .collect();
    for client in at_once {
        assert!(client.finish().succeeded);
    }
    let left = "select count(*) from pg_stat_activity where usename = 'gate'";
    wait_for(&cluster, left, "0");
}

#[test]
fn a_backend_that_lets_everybody_in_still_gets_only_whom_the_gate_has_proved() {
    let cluster = Server::System.plain();
    may_ask(&cluster);
    let gate = asking(&cluster, &[("backend", &socket(&cluster))]);
    assert_eq!(login(&gate, "alice", PASSWORD).prints(), "alice");
    assert_wrong(login(&gate, "alice", "wrong"), "alice");
}

#[test]
fn a_service_account_that_can_t_ask_is_a_clear_refusal_and_its_password_is_in_no_log() {
    let cluster = Server::System.plain();
    may_ask(&cluster);
    let mistakes: [(&[(&str, &str)], &str); 4] = [
        (&[("auth_user", "nobody")], "28P01"),
        (
            &[("auth_query", "select 1 from no_such_table where $1 = ''")],
            "42P01",
        ),
        (&[("auth_query", "select 'a', 'b', $1")], "at most one row"),
        (
            &[("auth_query", "select rolname from pg_roles where $1 <> ''")],
            "at most one row",
        ),
    ];
    for (keys, told) in mistakes {
        let gate = asking(&cluster, keys);
        let refusal = gate.connect("acme").refused(&alice());
        refusal.assert_fatal("58000");
        let line = gate
            .log()
            .wait("the refusal", |line| text(line, "reason") == "no_verifier");
        assert!(text(&line, "why").contains(told), "{line}");
        let log = gate.log().raw();
        assert!(
            !log.contains(PASSWORD) && !log.contains("no_such_table"),
            "{log}"
        );
    }
}

#[test]
fn t31_a_password_file_that_vanishes_keeps_no_change_from_other_projects() {
    let cluster = Server::System.plain();
    may_ask(&cluster);
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let acme = by_query(Project::new("acme", &backend)).text("auth_query_cache", "0s");
    let globex = Project::new("globex", &backend);
    let gate = Gate::within(
        directory_of(&[("auth.password", PASSWORD)]),
        &Settings::new(&[acme.clone(), globex.clone()]),
    );
    let before = gate.log().len();
    std::fs::remove_file(gate.directory().join("auth.password")).unwrap();
    gate.rewrite(&Settings::new(&[acme, globex.allow(&["nowhere"])]));
    gate.log().wait_after(before, "a warning", |line| {
        let message = text(line, "message");
        message.contains("auth.password") && message.contains("goes on with what was read")
    });
    gate.log().wait_after(before, "the reload", |line| {
        text(line, "message") == "configuration reloaded"
    });
    gate.connect("globex")
        .refused(&alice())
        .assert_fatal("28000");
    // The server is asked again for each login, by the account from before.
    assert_eq!(login(&gate, "alice", PASSWORD).prints(), "alice");
}
