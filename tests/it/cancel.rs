//! CancelRequest: by key alone, in clear and inside TLS (T9, T10).

use std::io::Write as _;
use std::sync::mpsc::channel;

use crate::support::authority::Authority;
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, Peer};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::{
    Message, V3_0, V3_2, alice, authentication_ok, backend_key_data, cancel_request, message,
    query, read_packet, ready_for_query, startup, welcome,
};
use crate::support::postgres::{Server, wait_for};
use crate::support::raw::{Raw, Secured};
use crate::support::tls_peer::secured;

const PROCESS: u32 = 4711;

/// A backend that hands out `key`, and expects exactly one CancelRequest with it. It closes its side
/// of the cancel connection only when told to.
struct Cancelled {
    backend: FakeBackend,
    close: std::sync::mpsc::Sender<()>,
}

fn cancelled(key: &'static [u8]) -> Cancelled {
    let (close, may_close) = channel();
    let may_close = std::sync::Mutex::new(may_close);
    let backend = FakeBackend::serving(move |mut peer: Peer| {
        let first = peer.packet();
        if first[4..8] == 80_877_102_u32.to_be_bytes() {
            assert_eq!(first, cancel_request(PROCESS, key));
            may_close.lock().unwrap().recv().expect("the test closes");
        } else {
            let welcome = [
                authentication_ok(),
                backend_key_data(PROCESS, key),
                ready_for_query(),
            ]
            .concat();
            peer.send(&welcome);
            peer.serve_queries();
        }
    });
    Cancelled { backend, close }
}

fn log_in(gate: &Gate) -> Secured {
    let mut client = gate.connect("acme");
    client.login(&startup(V3_2, &[(b"user", b"alice")]));
    client
}

/// A pause long enough that a gate which closes early is caught at it; never waited out otherwise.
fn is_open(raw: &Raw) -> bool {
    raw.stream
        .set_read_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    let open = raw.stream.peek(&mut [0]).is_err();
    raw.stream
        .set_read_timeout(Some(crate::support::PATIENCE))
        .unwrap();
    open
}

#[test]
fn t9_a_cancelrequest_in_clear_reaches_its_backend_and_is_held_until_that_closes() {
    let cancelled = cancelled(b"\xde\xad\xbe\xef");
    let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
    let mut session = log_in(&gate);
    let mut raw = Raw::connect(gate.addr());
    raw.send(&cancel_request(PROCESS, b"\xde\xad\xbe\xef"));
    assert!(is_open(&raw), "a late cancel would hit the next statement");
    cancelled.close.send(()).unwrap();
    assert_eq!(raw.until_closed(), b"", "a CancelRequest is never answered");
    session.is_alive();
}

#[test]
fn t9_a_cancelrequest_inside_tls_reaches_its_backend() {
    for direct in [false, true] {
        let cancelled = cancelled(b"\xde\xad\xbe\xef");
        let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
        let mut session = log_in(&gate);
        let raw = Raw::connect(gate.addr());
        let raw = if direct { raw } else { raw.ask_for_tls() };
        let mut client = raw.begin_tls(&gate.tls("acme"));
        cancelled.close.send(()).unwrap();
        client.send(&cancel_request(PROCESS, b"\xde\xad\xbe\xef"));
        assert_eq!(client.rest().unwrap(), b"");
        session.is_alive();
    }
}

#[test]
fn t9_a_cancelrequest_goes_by_its_key_to_the_right_project() {
    let acme = cancelled(b"acme");
    let globex = cancelled(b"glob");
    let gate = Gate::start(&[
        Project::new("acme", &acme.backend.url()),
        Project::new("globex", &globex.backend.url()),
    ]);
    let mut in_acme = log_in(&gate);
    let mut in_globex = gate.connect("globex");
    in_globex.login(&alice());
    // Each backend refuses the other's key; the process id is the same in both.
    for (cancelled, key) in [(&globex, b"glob"), (&acme, b"acme")] {
        cancelled.close.send(()).unwrap();
        let mut raw = Raw::connect(gate.addr());
        raw.send(&cancel_request(PROCESS, key));
        assert_eq!(raw.until_closed(), b"");
    }
    in_acme.is_alive();
    in_globex.is_alive();
}

#[test]
fn t9_a_key_that_is_nobodys_reaches_nobody() {
    let cancelled = cancelled(b"\xde\xad\xbe\xef");
    let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
    let mut session = log_in(&gate);
    for (process, key) in [
        (PROCESS, &b"\xde\xad\xbe\xee"[..]),
        (PROCESS + 1, b"\xde\xad\xbe\xef"),
        (PROCESS, b"\xde\xad\xbe"),
        (PROCESS, b"\xde\xad\xbe\xef\x00"),
        (PROCESS, b""),
    ] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&cancel_request(process, key));
        assert_eq!(raw.until_closed(), b"");
    }
    session.is_alive();
}

#[test]
fn t9_the_key_of_a_session_that_ended_reaches_nobody() {
    let cancelled = cancelled(b"\xde\xad\xbe\xef");
    let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
    let mut session = log_in(&gate);
    session.finish();
    session.rest().unwrap();
    gate.log().wait("the session's end", |line| {
        line.to_string().contains("session ended")
    });
    let mut raw = Raw::connect(gate.addr());
    raw.send(&cancel_request(PROCESS, b"\xde\xad\xbe\xef"));
    assert_eq!(raw.until_closed(), b"");
}

#[test]
fn t9_a_cancelrequest_is_not_exempt_from_the_allow_list() {
    let cancelled = cancelled(b"\xde\xad\xbe\xef");
    let acme = Project::new("acme", &cancelled.backend.url());
    let gate = Gate::start(&[acme.clone().text("on_revoke", "keep")]);
    let mut session = log_in(&gate);
    // From now on this address may not come in, but who is in may stay.
    let closed = acme.allow(&["nowhere"]).text("on_revoke", "keep");
    gate.rewrite(&Settings::new(&[closed]));
    gate.signal("HUP");
    gate.log()
        .wait("the reload", |line| line.to_string().contains("reloaded"));
    let mut raw = Raw::connect(gate.addr());
    raw.send(&cancel_request(PROCESS, b"\xde\xad\xbe\xef"));
    assert_eq!(raw.until_closed(), b"");
    session.is_alive();
}

#[test]
fn t10_a_key_of_any_length_passes_through_and_cancels() {
    static LONG: [u8; 256] = [0x5a; 256];
    for key in [&LONG[..4], &LONG[..5], &LONG[..32], &LONG[..]] {
        let cancelled = cancelled(key);
        let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
        let mut client = gate.connect("acme");
        let messages = client.login(&startup(V3_2, &[(b"user", b"alice")]));
        let told = messages.iter().find(|message| message.tag == b'K').unwrap();
        assert_eq!(told.body, [&PROCESS.to_be_bytes()[..], key].concat());
        cancelled.close.send(()).unwrap();
        let mut raw = Raw::connect(gate.addr());
        raw.send(&cancel_request(PROCESS, key));
        assert_eq!(raw.until_closed(), b"");
        client.is_alive();
    }
}

#[test]
fn t10_a_backend_without_a_key_is_a_session_like_any_other() {
    let backend = FakeBackend::serving(|mut peer| {
        peer.packet();
        peer.send(&[authentication_ok(), ready_for_query()].concat());
        peer.serve_queries();
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    let messages = client.login(&startup(V3_0, &[(b"user", b"alice")]));
    assert_eq!(messages.len(), 2);
    client.is_alive();
}

#[test]
fn t9_a_cancelrequest_out_of_bounds_is_nobodys() {
    let cancelled = cancelled(b"\xde\xad\xbe\xef");
    let gate = Gate::start(&[Project::new("acme", &cancelled.backend.url())]);
    let mut session = log_in(&gate);
    for key in [vec![0xde; 257], vec![0xde; 9000]] {
        let mut raw = Raw::connect(gate.addr());
        raw.send(&cancel_request(PROCESS, &key));
        let answer = raw.until_closed();
        assert!(answer.is_empty() || answer[0] == b'E', "{answer:x?}");
    }
    session.is_alive();
}

#[test]
fn ctrl_c_in_psql_cancels_the_statement_and_not_the_session() {
    for server in [Server::System, Server::Eighteen] {
        let cluster = server.plain();
        let backend = format!("postgres://127.0.0.1:{}", cluster.port());
        let gate = Gate::start(&[Project::new("acme", &backend)]);
        let psql = Client::postgresql("psql")
            .args(["-X", "-A", "-t", "-d", &conninfo(&gate, "acme")])
            .args(["-c", "select pg_sleep(600)"])
            .start();
        let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        wait_for(&cluster, sleeping, "1");
        psql.signal("INT");
        let ran = psql.finish();
        assert!(
            ran.stderr
                .contains("canceling statement due to user request"),
            "{ran}"
        );
        // psql ends of its own accord: the session was not ended for it.
        let ended = gate.log().wait("the end of the session", |line| {
            line["message"] == "session ended"
        });
        assert_eq!(ended["closed_by"], "client");
    }
}

#[test]
fn t10_the_process_id_that_the_client_is_told_is_the_servers_own() {
    let cluster = Server::System.plain();
    let gate = Gate::start(&[Project::new(
        "acme",
        &format!(
            "{}:{}",
            cluster.socket_directory().display(),
            cluster.port()
        ),
    )]);
    let mut client = gate.connect("acme");
    let messages = client.login(&alice());
    let told = messages.iter().find(|message| message.tag == b'K').unwrap();
    let process = u32::from_be_bytes(told.body[..4].try_into().unwrap());
    client.send(&query("select pg_backend_pid()"));
    let rows = std::iter::repeat_with(|| client.message())
        .find(|row| row.tag == b'D')
        .unwrap();
    let text = process.to_string();
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    let expected = message(
        b'D',
        &[&1_u16.to_be_bytes(), &length[..], text.as_bytes()].concat(),
    );
    assert_eq!(message(b'D', &rows.body), expected);
}

/// The session goes on by the certificate of its day; a new connection to the same address can't.
#[test]
fn t9_a_cancel_goes_by_the_ca_that_is_in_force_not_by_that_of_its_sessions_login() {
    let (before, after) = (Authority::new(), Authority::new());
    let leaves = [before.leaf("127.0.0.1"), after.leaf("127.0.0.1")];
    let leaves = std::sync::Mutex::new(leaves.into_iter());
    let (carry, carried) = channel();
    let backend = FakeBackend::serving(move |peer: Peer| {
        let leaf = leaves.lock().unwrap().next().unwrap();
        let mut peer = secured(peer, &leaf);
        let first = read_packet(&mut peer).unwrap();
        if first[4..8] == 80_877_102_u32.to_be_bytes() {
            carry.send(first).unwrap();
        } else {
            peer.write_all(&welcome()).unwrap();
            while Message::read(&mut peer).is_ok_and(|message| message.tag == b'Q') {
                peer.write_all(&ready_for_query()).unwrap();
            }
        }
    });
    let acme = Project::new("acme", &backend.url())
        .text("sslmode", "verify-full")
        .text("sslrootcert", "root.crt");
    let directory = directory_of(&[("root.crt", before.root())]);
    let gate = Gate::within(directory, &Settings::new(&[acme]));
    let mut session = log_in(&gate);
    let before = gate.log().len();
    std::fs::write(gate.directory().join("root.crt"), after.root()).unwrap();
    gate.log().wait_after(before, "the reload", |line| {
        line.to_string().contains("configuration reloaded")
    });
    let request = cancel_request(4711, b"\xde\xad\xbe\xef");
    let mut raw = Raw::connect(gate.addr());
    raw.send(&request);
    assert_eq!(raw.until_closed(), b"");
    assert_eq!(carried.recv().unwrap(), request);
    session.is_alive();
}
