//! The session itself: bytes as they are, backpressure, endings, record sizes (T12, T15-T17).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop};
use proptest::proptest;

use crate::support::fake_backend::{FakeBackend, Peer, reset};
use crate::support::gate::{Gate, Project, text};
use crate::support::message::{
    alice, authentication_ok, message, query, ready_for_query, terminate,
};
use crate::support::raw::Secured;

/// A session whose backend runs `script` once the login is done.
fn session(script: impl Fn(Peer) + Send + Sync + 'static) -> (FakeBackend, Gate, Secured) {
    let backend = FakeBackend::serving(move |mut peer| {
        peer.login();
        script(peer);
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    client.login(&alice());
    (backend, gate, client)
}

/// A script, and a channel on which it tells what it saw.
fn telling<T: Send + 'static>(
    script: impl Fn(Peer) -> T + Send + Sync + 'static,
) -> (impl Fn(Peer) + Send + Sync + 'static, Receiver<T>) {
    let (tell, told) = channel();
    (
        move |peer: Peer| tell.send(script(peer)).expect("the test listens"),
        told,
    )
}

/// Bytes with no short period, so that a lost or doubled piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| u8::try_from((n / 251 + n) % 256).unwrap())
        .collect()
}

#[test]
fn t12_no_tls_record_to_a_client_carries_more_than_8_kib() {
    const TOTAL: usize = 1 << 20;
    let (_backend, _gate, mut client) = session(|mut peer| {
        peer.send(&pattern(TOTAL));
        peer.finish();
        peer.rest().unwrap();
    });
    assert_eq!(client.rest().unwrap(), pattern(TOTAL));
    let records = client.records();
    // A record is the plaintext, its type byte and the tag of the cipher (RFC 8446 section 5.2).
    let largest = records.iter().max().unwrap();
    assert!(*largest <= 8192 + 1 + 16, "{largest}");
    assert!(records.len() >= TOTAL / 8192);
}

#[test]
fn what_a_backend_says_at_once_when_it_has_let_a_client_in_reaches_it_in_one_record() {
    let backend = FakeBackend::serving(|mut peer| {
        peer.login();
        peer.rest().unwrap();
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    client.handshake().unwrap();
    let before = client.records().len();
    assert!(client.login(&alice()).len() >= 3);
    assert_eq!(client.records().len(), before + 1);
    client.send(&terminate());
}

#[test]
fn t15_everything_that_one_burst_decrypts_is_handed_over_at_once() {
    // Many messages in one write; the backend waits for the last before it says anything.
    for count in [1, 2, 50, 2000] {
        let (_backend, _gate, mut client) = session(move |mut peer| {
            for _ in 0..count {
                assert_eq!(peer.message().tag, b'Q');
            }
            peer.send(&ready_for_query());
            peer.rest().unwrap();
        });
        let burst: Vec<u8> = std::iter::repeat_n(query("select 1"), count)
            .flatten()
            .collect();
        client.send(&burst);
        assert_eq!(client.message().tag, b'Z');
    }
}

#[test]
fn t16_a_client_that_ends_its_side_still_receives_what_is_outstanding() {
    let (_backend, _gate, mut client) = session(|mut peer| {
        assert_eq!(peer.message().tag, b'Q');
        assert_eq!(peer.rest().unwrap(), terminate());
        peer.send(&pattern(1 << 20));
        peer.finish();
    });
    client.send(&[query("copy t to stdout"), terminate()].concat());
    client.finish();
    assert_eq!(client.rest().unwrap(), pattern(1 << 20));
}

#[test]
fn t16_a_backend_that_ends_its_side_still_receives_what_is_outstanding() {
    let (script, told) = telling(|mut peer| {
        peer.finish();
        peer.rest().unwrap()
    });
    let (_backend, _gate, mut client) = session(script);
    assert_eq!(client.rest().unwrap(), b"");
    client.send(&pattern(1 << 20));
    client.finish();
    assert_eq!(told.recv().unwrap(), pattern(1 << 20));
}

#[test]
fn t16_a_client_that_drops_tcp_without_close_notify_ends_the_backends_connection() {
    let (script, told) = telling(|mut peer| peer.rest().unwrap());
    let (_backend, gate, mut client) = session(script);
    client.send(&query("select 1"));
    drop::<TcpStream>(client.into_tcp());
    assert_eq!(told.recv().unwrap(), query("select 1"));
    let line = gate
        .log()
        .wait("the end", |line| text(line, "message") == "session ended");
    assert_eq!(text(&line, "level"), "INFO", "{line}");
}

#[test]
fn t16_a_reset_by_the_client_is_a_reset_to_the_backend() {
    let (script, told) = telling(|mut peer| peer.rest().map_err(|error| error.kind()));
    let (_backend, _gate, client) = session(script);
    reset(client.into_tcp());
    assert_eq!(told.recv().unwrap(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn t16_a_reset_by_the_backend_is_not_a_clean_end_to_the_client() {
    let (_backend, _gate, mut client) = session(Peer::reset);
    let error = client.rest().unwrap_err();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
    assert!(kinds.contains(&error.kind()), "{error:?}");
}

#[test]
fn t16_a_clean_end_is_close_notify() {
    let (_backend, _gate, mut client) = session(|mut peer| {
        assert_eq!(peer.message().tag, b'X');
    });
    client.send(&terminate());
    assert_eq!(client.rest().unwrap(), b"");
}

/// More than every buffer on the way can hold.
const TOO_MUCH: usize = 256 << 20;
/// What the buffers on the way may hold: mostly the kernel's.
const ENOUGH: usize = 64 << 20;

/// Writes until nothing more is taken; how much was.
fn flood(stream: &mut TcpStream) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let piece = vec![0; 1 << 16];
    let mut written = 0;
    while written < TOO_MUCH {
        match stream.write(&piece) {
            Ok(count) => written += count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    written
}

#[test]
fn t17_a_client_that_does_not_read_stops_the_backend() {
    let (script, told) = telling(|mut peer| flood(&mut peer.stream));
    let (_backend, _gate, client) = session(script);
    assert!(told.recv().unwrap() < ENOUGH);
    drop(client);
}

#[test]
fn t17_a_backend_that_does_not_read_stops_the_client() {
    let (end, may_end) = channel::<()>();
    let may_end = std::sync::Mutex::new(may_end);
    let (_backend, _gate, mut client) = session(move |_peer| {
        may_end.lock().unwrap().recv().unwrap_err();
    });
    client.stream.sock.write_timeout(Duration::from_secs(1));
    let piece = vec![0; 1 << 16];
    let mut written = 0;
    while written < TOO_MUCH && client.stream.write_all(&piece).is_ok() {
        written += piece.len();
    }
    assert!(written < ENOUGH, "{written}");
    drop(end);
}

#[test]
fn t17_both_directions_at_once_do_not_deadlock() {
    const EACH: usize = 32 << 20;
    let (script, told) = telling(|peer| {
        let mut writer = peer.stream.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&pattern(EACH)).unwrap());
        let mut received = vec![0; EACH];
        (&peer.stream).read_exact(&mut received).unwrap();
        writing.join().unwrap();
        peer.finish();
        received == pattern(EACH)
    });
    let (_backend, _gate, mut client) = session(script);
    // One thread that writes a piece, then reads a piece, is all that a client needs to be.
    let sent = pattern(EACH);
    let mut received = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    for piece in sent.chunks(1 << 16) {
        client.stream.write_all(piece).unwrap();
        let count = client.stream.read(&mut buffer).unwrap();
        received.extend_from_slice(&buffer[..count]);
    }
    received.extend(client.rest().unwrap());
    assert!(received == pattern(EACH), "not what was sent");
    assert!(told.recv().unwrap(), "not what was sent");
}

#[test]
fn a_session_survives_an_idle_while_longer_than_the_login_may_take() {
    let backend = FakeBackend::welcoming();
    let settings = crate::support::gate::Settings::new(&[Project::new("acme", &backend.url())]);
    let gate = Gate::with(&settings.top("login_timeout = \"1s\""));
    let mut client = gate.connect("acme");
    client.login(&alice());
    let mut other = crate::support::raw::Raw::connect(gate.addr());
    assert_eq!(other.until_closed(), b"", "a second has passed");
    client.is_alive();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_and_in_order_whatever_the_pieces(
        to_backend in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..12),
        to_client in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..12),
    ) {
        let sent = to_client.clone();
        let (script, told) = telling(move |mut peer| {
            for piece in &sent {
                peer.send(piece);
            }
            peer.finish();
            peer.rest().unwrap()
        });
        let (_backend, _gate, mut client) = session(script);
        for piece in &to_backend {
            client.send(piece);
        }
        client.finish();
        assert!(client.rest().unwrap() == to_client.concat());
        assert!(told.recv().unwrap() == to_backend.concat());
    }
}

#[test]
fn messages_of_types_that_nobody_knows_pass_through() {
    let (_backend, _gate, mut client) = session(|mut peer| {
        let unknown = peer.message();
        assert_eq!(
            (unknown.tag, unknown.body.as_slice()),
            (b'~', &b"\x00\xff"[..])
        );
        peer.send(&message(b'~', b"\xff\x00"));
        peer.finish();
        // The client leaves without reading to the end, which may make its end a reset.
        drop(peer.rest());
    });
    client.send(&message(b'~', b"\x00\xff"));
    assert_eq!(
        client.message(),
        crate::support::message::Message {
            tag: b'~',
            body: vec![0xff, 0]
        }
    );
}

#[test]
fn a_notice_of_a_login_trigger_is_as_long_as_its_author_likes() {
    let notice = message(
        b'N',
        &[b"SNOTICE\0M".as_slice(), &[b'x'; 300_000], b"\0\0"].concat(),
    );
    let welcome = [authentication_ok(), notice.clone(), ready_for_query()].concat();
    let backend = FakeBackend::serving(move |mut peer: Peer| {
        peer.packet();
        peer.send(&welcome);
        peer.serve_queries();
    });
    let gate = Gate::start(&[Project::new("acme", &backend.url())]);
    let mut client = gate.connect("acme");
    let said = client.login(&alice());
    let arrived = said.iter().find(|message| message.tag == b'N');
    assert_eq!(arrived.expect("the notice").body, notice[5..]);
    client.is_alive();
}
