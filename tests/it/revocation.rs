//! Live sessions obey a change (T27): of rules, tags, files, the clock and the project.

use std::fs;

use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::FakeBackend;
use crate::support::gate::{Gate, Project, Settings, text};
use crate::support::message::{
    V3_0, alice, authentication_ok, backend_key_data, cancel_request, message, query,
    ready_for_query, startup,
};
use crate::support::postgres::{Server, wait_for};
use crate::support::raw::Secured;

/// The code of a CancelRequest.
const CANCEL: [u8; 4] = 80_877_102_u32.to_be_bytes();

fn acme(backend: &FakeBackend) -> Project {
    Project::new("acme", &backend.url())
}

fn session(gate: &Gate) -> Secured {
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.is_alive();
    client
}

fn reload(gate: &Gate, settings: &Settings) {
    let before = gate.log().len();
    gate.rewrite(settings);
    let is_done = |line: &serde_json::Value| text(line, "message") == "configuration reloaded";
    gate.log()
        .wait_after(before, "configuration reloaded", is_done);
}

/// Reads why the session was cut, and that nothing follows.
#[track_caller]
fn is_cut(mut client: Secured) {
    let fatal = client.message().error();
    fatal.assert_fatal("57P01");
    assert!(fatal.message().contains("127.0.0.1"), "{fatal:?}");
    assert_eq!(client.rest().unwrap(), b"");
}

/// A moment some time from now, as proxy.toml writes it.
fn in_seconds(seconds: i64) -> String {
    let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    format!("[{{ source = \"127.0.0.1\", expires = {moment:.3} }}]")
}

#[test]
fn t27_a_rule_that_expires_cuts_without_a_reload_and_its_backend_connection_closes() {
    let (closed, is_closed) = std::sync::mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let backend = FakeBackend::serving(move |mut peer| {
        peer.login();
        peer.serve_queries();
        closed.lock().unwrap().send(()).unwrap();
    });
    let gate = Gate::start(&[acme(&backend)]);
    let client = session(&gate);
    reload(
        &gate,
        &Settings::new(&[acme(&backend).set("allow", &in_seconds(2))]),
    );
    is_cut(client);
    is_closed.recv_timeout(crate::support::PATIENCE).unwrap();
    gate.connect("acme").refused(&alice()).assert_fatal("28000");
}

#[test]
fn t27_a_rule_expires_on_time_after_a_reload_that_failed() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend)]);
    let client = session(&gate);
    reload(
        &gate,
        &Settings::new(&[acme(&backend).set("allow", &in_seconds(3))]),
    );
    let before = gate.log().len();
    gate.rewrite_text("what?");
    gate.log().wait_after(before, "not reloaded", |line| {
        text(line, "message") == "configuration not reloaded"
    });
    is_cut(client);
    let cut = gate.log().wait("cut", |line| {
        text(line, "message").starts_with("cut sessions")
    });
    assert_eq!(text(&cut, "sessions"), "1");
}

#[test]
fn t27_a_change_of_a_tags_file_cuts() {
    let backend = FakeBackend::welcoming();
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("office.txt"),
        "127.0.0.0/8 # all of us\n",
    )
    .unwrap();
    let settings = Settings::new(&[acme(&backend).allow(&["tag:office"])])
        .table("[tags]\noffice = [{ file = \"office.txt\" }]\n");
    let gate = Gate::within(directory, &settings);
    let client = session(&gate);
    fs::write(gate.directory().join("office.txt"), "192.0.2.0/24\n").unwrap();
    is_cut(client);
}

#[test]
fn t27_a_tag_is_kept_once_and_its_change_is_in_force_in_every_project_that_names_it() {
    let backend = FakeBackend::welcoming();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("office.txt");
    fs::write(&file, "127.0.0.0/8\n").unwrap();
    let projects = ["acme", "globex"].map(|name| {
        let project = Project::new(name, &backend.url());
        // A list may hold a tag that is about something else besides.
        project.allow(&["tag:home", "tag:office"])
    });
    let tags = "[tags]\noffice = { file = \"office.txt\" }\nhome = [\"192.0.2.7\"]\n";
    let gate = Gate::within(directory, &Settings::new(&projects).table(tags));
    let mut clients = ["acme", "globex"].map(|name| gate.connect(name));
    for client in &mut clients {
        client.login(&alice());
        client.is_alive();
    }
    fs::write(gate.directory().join("office.txt"), "192.0.2.0/24\n").unwrap();
    for client in clients {
        is_cut(client);
    }
}

#[test]
fn t27_an_address_put_on_the_deny_list_is_cut() {
    let backend = FakeBackend::welcoming();
    let settings = Settings::new(&[acme(&backend)]);
    let gate = Gate::with(&settings);
    let client = session(&gate);
    reload(&gate, &settings.top("deny = [\"127.0.0.0/8\"]"));
    is_cut(client);
}

#[test]
fn t27_a_removal_by_the_command_line_cuts() {
    let backend = FakeBackend::welcoming();
    let gate = Gate::start(&[acme(&backend).allow(&["127.0.0.1", "192.0.2.1"])]);
    let client = session(&gate);
    let removed = gate.rules(&["remove", "acme", "127.0.0.1"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(removed.err.contains("cuts 1 of 1"), "{removed:?}");
    is_cut(client);
}

#[test]
fn t27_observe_cuts_nobody_and_its_end_does() {
    let backend = FakeBackend::welcoming();
    let observing = acme(&backend).set("observe", "true");
    let gate = Gate::start(std::slice::from_ref(&observing));
    let mut client = session(&gate);
    let closed = observing.allow(&["nowhere"]);
    reload(&gate, &Settings::new(std::slice::from_ref(&closed)));
    client.is_alive();
    reload(&gate, &Settings::new(&[closed.set("observe", "false")]));
    is_cut(client);
}

#[test]
fn t27_sessions_kept_by_on_revoke_are_cut_when_it_says_cut() {
    let backend = FakeBackend::welcoming();
    let keeping = acme(&backend).text("on_revoke", "keep");
    let gate = Gate::start(std::slice::from_ref(&keeping));
    let mut client = session(&gate);
    let closed = keeping.allow(&["nowhere"]);
    reload(&gate, &Settings::new(std::slice::from_ref(&closed)));
    client.is_alive();
    reload(&gate, &Settings::new(&[closed.text("on_revoke", "cut")]));
    is_cut(client);
}

/// Half a DataRow: an ErrorResponse behind it would be read as the row's other half.
#[test]
fn t27_in_the_middle_of_a_message_the_end_is_close_notify_alone() {
    let half = message(b'D', &[0; 64])[..20].to_vec();
    let sent = half.clone();
    let backend = FakeBackend::serving(move |mut peer| {
        if peer.login()[4..8] == CANCEL {
            return;
        }
        assert_eq!(peer.message().tag, b'Q');
        peer.send(&sent);
        peer.rest().unwrap();
    });
    let gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    client.send(&query("select"));
    let mut got = vec![0; half.len()];
    std::io::Read::read_exact(&mut client.stream, &mut got).unwrap();
    assert_eq!(got, half);
    reload(&gate, &Settings::new(&[acme(&backend).allow(&["nowhere"])]));
    assert_eq!(
        client.rest().unwrap(),
        b"",
        "close_notify, and nothing before it"
    );
}

#[test]
fn t27_the_statement_of_a_cut_session_is_gone_from_the_server() {
    let sleeping = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    for server in [Server::System, Server::Eighteen] {
        let cluster = server.plain();
        let acme = Project::new("acme", &format!("postgres://127.0.0.1:{}", cluster.port()));
        let gate = Gate::start(std::slice::from_ref(&acme));
        let psql = Client::psql(&conninfo(&gate, "acme"))
            .args(["-c", "select pg_sleep(600)"])
            .start();
        wait_for(&cluster, sleeping, "1");
        reload(&gate, &Settings::new(&[acme.allow(&["nowhere"])]));
        wait_for(&cluster, sleeping, "0");
        let ran = psql.finish();
        assert!(!ran.succeeded, "{ran}");
    }
}

/// A backend that never answers a query, and tells of each connection that closes and each
/// CancelRequest that comes, which it holds for as long as it is told to.
fn working(
    tell: std::sync::mpsc::Sender<&'static str>,
    hold: impl Fn() + Send + Sync + 'static,
) -> FakeBackend {
    let tell = std::sync::Mutex::new(tell);
    FakeBackend::serving(move |mut peer| {
        let told = |what| tell.lock().unwrap().send(what).unwrap();
        let first = peer.packet();
        if first[4..8] == CANCEL {
            assert_eq!(first, cancel_request(7, b"key!"));
            told("cancelled");
            hold();
            return;
        }
        peer.send(
            &[
                authentication_ok(),
                backend_key_data(7, b"key!"),
                ready_for_query(),
            ]
            .concat(),
        );
        peer.rest().unwrap();
        told("closed");
    })
}

/// Has a session cut that works on a statement.
fn cut_amid_a_statement(backend: &FakeBackend) -> Gate {
    let gate = Gate::start(&[acme(backend)]);
    let mut client = gate.connect("acme");
    client.login(&startup(V3_0, &[(b"user", b"alice")]));
    client.send(&query("select for ever"));
    reload(&gate, &Settings::new(&[acme(backend).allow(&["nowhere"])]));
    is_cut(client);
    gate
}

#[test]
fn t27_a_statement_is_cancelled_before_its_connection_closes_and_the_client_reads_why() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = working(tell, || ());
    let _gate = cut_amid_a_statement(&backend);
    let told = [(); 2].map(|()| told.recv_timeout(crate::support::PATIENCE).unwrap());
    assert_eq!(told, ["cancelled", "closed"]);
}

#[test]
fn t27_a_statement_that_was_sent_before_the_login_had_ended_is_cancelled_too() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = FakeBackend::serving(move |mut peer| {
        let told = |what| tell.lock().unwrap().send(what).unwrap();
        if peer.packet()[4..8] == CANCEL {
            return told("cancelled");
        }
        peer.send(&[authentication_ok(), backend_key_data(7, b"key!")].concat());
        // It is ready only once it has the statement, which it never answers.
        assert_eq!(peer.message().tag, b'Q');
        peer.send(&ready_for_query());
        peer.rest().unwrap();
        told("closed");
    });
    let gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.send(&startup(V3_0, &[(b"user", b"alice")]));
    assert_eq!(client.message().tag, b'R');
    client.send(&query("select for ever"));
    while client.message().tag != b'Z' {}
    reload(&gate, &Settings::new(&[acme(&backend).allow(&["nowhere"])]));
    is_cut(client);
    let told = [(); 2].map(|()| told.recv_timeout(crate::support::PATIENCE).unwrap());
    assert_eq!(told, ["cancelled", "closed"]);
}

#[test]
fn t27_a_cancel_that_the_backend_does_not_take_keeps_no_session_from_its_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    // It takes the cancel, and doesn't close until the test is over.
    let backend = working(tell, move || {
        held.lock().unwrap().recv().ok();
    });
    let _gate = cut_amid_a_statement(&backend);
    let told = [(); 2].map(|()| told.recv_timeout(crate::support::PATIENCE).unwrap());
    assert_eq!(told, ["cancelled", "closed"]);
    drop(release);
}

#[test]
fn t27_an_idle_session_is_cut_without_a_cancel() {
    let (tell, told) = std::sync::mpsc::channel();
    let backend = working(tell, || ());
    let gate = Gate::start(&[acme(&backend)]);
    let mut client = gate.connect("acme");
    client.login(&startup(V3_0, &[(b"user", b"alice")]));
    reload(&gate, &Settings::new(&[acme(&backend).allow(&["nowhere"])]));
    is_cut(client);
    drop((gate, backend));
    assert_eq!(told.iter().collect::<Vec<_>>(), ["closed"]);
}
