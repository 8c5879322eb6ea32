//! The fixtures themselves: a fixture that can't fail proves nothing.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::clients::Client;
use crate::support::fake_backend::FakeBackend;
use crate::support::postgres::Server;

#[test]
fn an_untouchable_backend_fails_the_test_that_touches_it() {
    let touch = || {
        let backend = FakeBackend::untouchable();
        let addr = backend.url().replace("postgres://", "");
        drop(TcpStream::connect(addr).unwrap());
    };
    catch_unwind(AssertUnwindSafe(touch)).unwrap_err();
    drop(FakeBackend::untouchable());
}

#[test]
fn each_server_is_the_one_that_it_says_and_each_client_reaches_it_without_a_gate() {
    let cluster = Server::Eighteen.plain();
    assert!(
        cluster
            .sql("show server_version")
            .unwrap()
            .starts_with("18.")
    );
    let conninfo = format!(
        "host=127.0.0.1 port={} user=alice dbname=app",
        cluster.port()
    );
    assert_eq!(
        Client::psql(&conninfo).args(["-c", "select 1"]).prints(),
        "1"
    );
    let wrong = Client::psql(&conninfo)
        .env("PGPASSWORD", "")
        .args(["-c", "select 1"])
        .fails();
    assert!(wrong.contains("no password supplied"), "{wrong}");
    let system = Server::System.plain();
    assert_ne!(system.sql("select 1").unwrap(), "");
}
