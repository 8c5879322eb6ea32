//! What works straight at the server works through the gate: real clients in front of it, real
//! servers behind it.

use std::fs;

use portcullis::cli::demo::cluster::Cluster;
use tokio::runtime::Runtime;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::{AsyncMessage, SimpleQueryMessage};

use crate::support::clients::{Client, conninfo};
use crate::support::gate::{Gate, Project};
use crate::support::postgres::{PASSWORD, Server, wait_for};
use crate::support::tokio_tls::Rustls;

/// Runs `test` against each server.
fn on_each_server(test: impl Fn(&Gate, &Cluster, Server)) {
    for server in [Server::System, Server::Eighteen] {
        let cluster = server.plain();
        test(&in_front_of(&cluster), &cluster, server);
    }
}

fn in_front_of(cluster: &Cluster) -> Gate {
    let backend = format!("postgres://127.0.0.1:{}", cluster.port());
    let acme = Project::new("acme", &backend).hosts(&["acme.localhost", "localhost"]);
    Gate::start(&[acme])
}

fn psql(gate: &Gate) -> Client {
    Client::psql(&conninfo(gate, "acme"))
}

/// One of PostgreSQL's programs, connected by its environment.
fn program(name: &'static str, gate: &Gate) -> Client {
    Client::postgresql(name)
        .env("PGHOST", "acme.localhost")
        .env("PGHOSTADDR", "127.0.0.1")
        .env("PGPORT", gate.port())
        .env("PGUSER", "alice")
        .env("PGDATABASE", "app")
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", gate.file("acme", "ca.crt"))
}

#[test]
fn psql_works() {
    on_each_server(|gate, _cluster, _| {
        let numbers = psql(gate).args(["-c", "select sum(n) from generate_series(1, 100000) n"]);
        assert_eq!(numbers.prints(), "5000050000");
        let ssl = psql(gate).args(["-c", r"\conninfo"]).prints();
        assert!(ssl.contains("TLSv1.3"), "{ssl}");
        let words = psql(gate).args(["-c", "select no_such_column"]).fails();
        assert!(
            words.contains("column \"no_such_column\" does not exist"),
            "{words}"
        );
    });
}

#[test]
fn psql_copies_a_file_in_and_out_unchanged() {
    on_each_server(|gate, _cluster, _| {
        let (here, there) = (gate.directory().join("in"), gate.directory().join("out"));
        let rows: String = (0..200_000)
            .map(|n| format!("{n}\t{}\n", "y".repeat(n % 70)))
            .collect();
        fs::write(&here, &rows).unwrap();
        let copy_in = format!(r"\copy t from '{}'", here.display());
        let out = format!(
            r"\copy (select * from t order by id) to '{}'",
            there.display()
        );
        psql(gate)
            .args(["-c", "create table t (id int, pad text)"])
            .args(["-c", &copy_in, "-c", &out])
            .prints();
        assert!(
            fs::read_to_string(&there).unwrap() == rows,
            "not what was copied in"
        );
    });
}

#[test]
fn psql_stores_and_fetches_a_large_object() {
    on_each_server(|gate, _cluster, _| {
        let (here, there) = (gate.directory().join("in"), gate.directory().join("out"));
        let blob: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&here, &blob).unwrap();
        let import = format!(r"\lo_import '{}'", here.display());
        let imported = psql(gate).args(["-c", &import]).prints();
        let oid = imported
            .strip_prefix("lo_import ")
            .expect("an oid")
            .to_owned();
        let export = format!(r"\lo_export {oid} '{}'", there.display());
        psql(gate).args(["-c", &export]).prints();
        assert!(fs::read(&there).unwrap() == blob, "not what was stored");
    });
}

#[test]
fn psycopg_works() {
    on_each_server(|gate, _cluster, server| {
        let version = if server == Server::Eighteen {
            "18"
        } else {
            "0"
        };
        let session = Client::python("psycopg_session.py");
        assert_eq!(
            session.args([&conninfo(gate, "acme"), version]).prints(),
            "ok"
        );
    });
}

#[test]
fn asyncpg_works() {
    on_each_server(|gate, _cluster, _| {
        let session = Client::python("asyncpg_session.py").arg(gate.port());
        let session = session.arg(gate.file("acme", "ca.crt")).arg(PASSWORD);
        assert_eq!(session.prints(), "ok");
    });
}

#[test]
fn node_postgres_works() {
    on_each_server(|gate, _cluster, _| {
        let session = Client::node("node_session.cjs").arg(gate.port());
        let session = session.arg(gate.file("acme", "ca.crt")).arg(PASSWORD);
        assert_eq!(session.prints(), "ok");
    });
}

#[test]
fn tokio_postgres_works() {
    on_each_server(|gate, cluster, _| {
        for negotiation in [SslNegotiation::Postgres, SslNegotiation::Direct] {
            let mut config: tokio_postgres::Config = format!(
                "host=acme.localhost hostaddr=127.0.0.1 port={} user=alice dbname=app sslmode=require",
                gate.port()
            )
            .parse()
            .unwrap();
            config.password(PASSWORD).ssl_negotiation(negotiation);
            let tls = Rustls(gate.tls("acme").config.clone());
            Runtime::new()
                .unwrap()
                .block_on(tokio_postgres_session(&config, &tls, cluster));
        }
    });
}

async fn tokio_postgres_session(config: &tokio_postgres::Config, tls: &Rustls, cluster: &Cluster) {
    let (client, mut connection) = config.connect(tls.clone()).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let Ok(AsyncMessage::Notification(news)) = message {
                tell.send(news.payload().to_owned()).unwrap();
            }
        }
    });
    let row = client
        .query_one("select $1::int8 + 1", &[&41_i64])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 42);
    client
        .batch_execute("listen news; notify news, 'hello'")
        .await
        .unwrap();
    assert_eq!(told.recv().await.unwrap(), "hello");

    let cancel = client.cancel_token();
    let sleeping = tokio::spawn(async move {
        let error = client
            .simple_query("select pg_sleep(600)")
            .await
            .unwrap_err();
        (client, error)
    });
    let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    tokio::task::block_in_place(|| wait_for(cluster, asleep, "1"));
    cancel.cancel_query(tls.clone()).await.unwrap();
    let (client, error) = sleeping.await.unwrap();
    assert_eq!(error.code().unwrap().code(), "57014");
    let answer = client.simple_query("select 'still here'").await.unwrap();
    let row = answer.iter().find_map(|message| {
        if let SimpleQueryMessage::Row(row) = message {
            row.get(0)
        } else {
            None
        }
    });
    assert_eq!(row, Some("still here"));
}

#[test]
fn pg_dump_and_pg_restore_work_in_parallel() {
    let cluster = Server::System.plain();
    let gate = in_front_of(&cluster);
    let schema = "create table a as select n, md5(n::text) from generate_series(1, 50000) n;
        create table b as select * from a; create index on a (n); create view v as select * from b;
        select lo_from_bytea(0, 'large');";
    psql(&gate)
        .args(["-c", schema, "-c", "create database copy"])
        .prints();
    let dump = gate.directory().join("dump");
    program("pg_dump", &gate)
        .args(["-Fd", "-j", "2", "-f"])
        .arg(&dump)
        .prints();
    program("pg_restore", &gate)
        .args(["-j", "2", "-d", "copy"])
        .arg(&dump)
        .prints();
    let sum = "select sum(hashtext(v::text)) from v";
    let original = psql(&gate).args(["-c", sum]).prints();
    let copy = conninfo(&gate, "acme").replace("dbname=app", "dbname=copy");
    assert_eq!(Client::psql(&copy).args(["-c", sum]).prints(), original);
}

#[test]
fn pgbench_works_in_every_query_mode() {
    on_each_server(|gate, _cluster, _| {
        program("pgbench", gate).args(["-i", "-q"]).prints();
        for mode in ["simple", "extended", "prepared"] {
            let bench = program("pgbench", gate).args(["-M", mode, "-c", "4", "-t", "25"]);
            let report = bench.prints();
            assert!(
                report.contains("number of failed transactions: 0"),
                "{report}"
            );
            assert!(report.contains("actually processed: 100/100"), "{report}");
        }
        // A connection for every transaction.
        let report = program("pgbench", gate)
            .args(["-S", "-C", "-c", "2", "-t", "20"])
            .prints();
        assert!(report.contains("actually processed: 40/40"), "{report}");
    });
}

#[test]
fn pg_receivewal_streams_the_servers_own_wal() {
    let cluster = Server::System.start(|plan| {
        plan.hba = vec!["host replication alice 127.0.0.1/32 scram-sha-256".to_owned()];
    });
    let gate = in_front_of(&cluster);
    cluster
        .sql("select pg_create_physical_replication_slot('s', true)")
        .unwrap();
    cluster
        .sql("create table t as select n from generate_series(1, 10000) n")
        .unwrap();
    let segment = cluster
        .sql("select pg_walfile_name(pg_current_wal_lsn())")
        .unwrap();
    cluster.sql("select pg_switch_wal()").unwrap();
    let end = cluster.sql("select pg_current_wal_lsn()").unwrap();
    cluster
        .sql("create table u as select n from generate_series(1, 10000) n")
        .unwrap();
    let received = gate.directory().join("wal");
    fs::create_dir(&received).unwrap();
    program("pg_receivewal", &gate)
        .args(["--slot", "s", "--no-loop", "--endpos", &end, "-D"])
        .arg(&received)
        .prints();
    let original = cluster
        .socket_directory()
        .join("data/pg_wal")
        .join(&segment);
    let same = fs::read(received.join(&segment)).unwrap() == fs::read(original).unwrap();
    assert!(same, "{segment} is not what the server wrote");
}
