//! Hostile backends where the gate has a password to prove: the service account's of `auth_query`, and
//! the user's own with `auth = "password"` (T20, T34).

use std::io::{Read as _, Write};

use super::hostile::{PENCIL, nonce_of};
use super::site::by_query;
use crate::support::authority::Authority;
use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, Peer};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::{Message, error_response, message, ready_for_query, welcome};
use crate::support::postgres::PASSWORD;
use crate::support::tls_peer::{SecuredPeer, secured};

/// What a backend does with the connection of the service account, from its StartupMessage on.
type Script = fn(&mut Peer);

/// What a backend says in place of a server-first-message or a server-final-message.
type Words = fn(&str) -> String;

fn ask_for_scram(to: &mut impl Write) {
    to.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
        .unwrap();
}

/// Sends AuthenticationSASLContinue or -Final.
fn say(to: &mut impl Write, kind: u8, words: &str) {
    let body = [&[0, 0, 0, kind], words.as_bytes()].concat();
    to.write_all(&message(b'R', &body)).unwrap();
}

fn first(nonce: &str, iterations: u32) -> String {
    format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}")
}

/// Lets the service account in and reads its question.
fn questioned(peer: &mut Peer) {
    peer.send(&welcome());
    while peer.message().tag != b'S' {}
}

fn row(columns: &[&[u8]]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for column in columns {
        body.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
        body.extend_from_slice(column);
    }
    message(b'D', &body)
}

/// What psql reads, and the gate's log, where a backend treats the service account so.
fn asking_by(script: Script) -> (String, String) {
    let backend = FakeBackend::serving(move |mut peer| {
        let startup = peer.packet();
        let is_service = startup.windows(10).any(|part| part == b"user\0gate\0");
        if is_service {
            return script(&mut peer);
        }
        ask_for_scram(&mut peer.stream);
        let nonce = nonce_of(&peer.message());
        say(&mut peer.stream, 11, &first(&nonce, 4096));
        assert_eq!(peer.rest().unwrap_or_default(), b"", "a proof");
    });
    let acme = by_query(Project::new("acme", &backend.url()));
    let directory = directory_of(&[("auth.password", PASSWORD)]);
    let gate = Gate::within(directory, &Settings::new(&[acme]));
    let psql = Client::psql(&conninfo(&gate, "acme")).env("PGPASSWORD", PENCIL);
    let said = psql.args(["-c", "select 1"]).fails();
    gate.log().wait("the refusal", |line| {
        line.to_string().contains("\"no_verifier\"")
    });
    (said, gate.log().raw())
}

/// Nobody is let in, the client reads so, and the log says why; nothing of what was sent is shown (T34).
#[track_caller]
fn assert_refused(script: Script, why: &str) {
    let (said, log) = asking_by(script);
    let words = "the password can't be checked now";
    assert!(said.contains(words), "{why}: {said}");
    assert!(log.contains(why), "{why}: {log}");
    for shown in [&said, &log] {
        let is_shown = shown.contains("hush") || shown.contains(PASSWORD);
        assert!(!is_shown, "{shown}");
    }
}

/// Answers the service account's question.
fn answer(peer: &mut Peer, answer: &[u8]) {
    questioned(peer);
    peer.send(answer);
    peer.rest().unwrap_or_default();
}

#[test]
fn t20_an_answer_to_the_service_account_that_is_none_lets_nobody_in() {
    let cases: [(Script, &str); 6] = [
        (
            |peer| {
                questioned(peer);
                // Until the gate has had enough.
                while peer.stream.write_all(&row(&[b"hush"])).is_ok() {}
            },
            "the server does not come to an end",
        ),
        (
            |peer| {
                answer(
                    peer,
                    &[row(&[b"hush"]), row(&[b"hush"]), ready_for_query()].concat(),
                )
            },
            "at most one row",
        ),
        (
            |peer| answer(peer, &[row(&[&b"hush"[..]; 3]), ready_for_query()].concat()),
            "at most one row",
        ),
        (
            |peer| {
                let row = message(b'D', b"\0\x01\0\0\xff\xffhush");
                answer(peer, &[row, ready_for_query()].concat());
            },
            "the server broke the protocol",
        ),
        (
            |peer| answer(peer, b"D\x7f\xff\xff\xff"),
            "the server broke the protocol",
        ),
        (
            |peer| {
                let fields = [(b'S', "ERROR"), (b'C', "42501"), (b'M', "hush")];
                answer(peer, &error_response(&fields));
            },
            "auth_query was refused with SQLSTATE 42501",
        ),
    ];
    for (script, why) in cases {
        assert_refused(script, why);
    }
}

#[test]
fn t20_a_backend_that_has_not_proved_itself_to_the_service_account_is_not_asked() {
    let cases: [(Script, &str); 3] = [
        (
            |peer| {
                ask_for_scram(&mut peer.stream);
                peer.message();
                peer.send(&welcome());
                assert_eq!(peer.rest().unwrap_or_default(), b"", "a question");
            },
            "AuthenticationOk before it had proved",
        ),
        (
            |peer| {
                ask_for_scram(&mut peer.stream);
                let nonce = nonce_of(&peer.message());
                say(&mut peer.stream, 11, &first(&nonce, 2_147_483_647));
                assert_eq!(peer.rest().unwrap_or_default(), b"", "a proof");
            },
            "iteration count exceeds 1000000",
        ),
        (
            |peer| {
                ask_for_scram(&mut peer.stream);
                let nonce = nonce_of(&peer.message());
                say(&mut peer.stream, 11, &first(&nonce, 1));
                peer.message();
                say(&mut peer.stream, 12, &format!("v={}=", "A".repeat(43)));
                assert_eq!(peer.rest().unwrap_or_default(), b"", "a question");
            },
            "incorrect server signature",
        ),
    ];
    for (script, why) in cases {
        assert_refused(script, why);
    }
}

/// What psql reads with `auth = "password"` where a backend goes on so behind SASLInitialResponse.
fn by_password(go_on: impl Fn(&mut SecuredPeer, &str) + Send + Sync + 'static) -> String {
    let leaf = Authority::new().leaf("127.0.0.1");
    let backend = FakeBackend::serving(move |peer| {
        let mut peer = secured(peer, &leaf);
        crate::support::message::read_packet(&mut peer).unwrap();
        // PLUS is not on the list, so that the gate's nonce is all that there is to know.
        ask_for_scram(&mut peer);
        let nonce = nonce_of(&Message::read(&mut peer).unwrap());
        go_on(&mut peer, &nonce);
    });
    let acme = Project::new("acme", &backend.url())
        .text("sslmode", "require")
        .text("auth", "password");
    let gate = Gate::start(&[acme]);
    let psql = Client::psql(&conninfo(&gate, "acme")).env("PGPASSWORD", PENCIL);
    psql.args(["-c", "select 1"]).fails()
}

/// What the gate says until it ends its side, or anything cuts that short.
fn rest(peer: &mut SecuredPeer) -> Vec<u8> {
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).ok();
    rest
}

#[test]
fn t20_a_password_is_proved_to_no_backend_that_asks_too_much_or_talks_nonsense() {
    let cases: [(Words, &str); 4] = [
        (|nonce| first(nonce, 2_147_483_647), "broke the protocol"),
        (|nonce| first(nonce, 1_000_001), "broke the protocol"),
        (
            |nonce| format!("r={nonce}x,s=,i=4096"),
            "broke the protocol",
        ),
        (|_| first("other", 4096), "can't be trusted"),
    ];
    for (forge, words) in cases {
        let said = by_password(move |peer, nonce| {
            say(peer, 11, &forge(nonce));
            assert_eq!(rest(peer), b"", "a proof");
        });
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn t20_a_password_logs_in_nowhere_where_the_backend_has_not_proved_itself() {
    let cases: [(Words, &str); 6] = [
        (|_| String::new(), "broke the protocol"),
        (|_| "v=".to_owned(), "broke the protocol"),
        (|_| "v=!!!!".to_owned(), "broke the protocol"),
        (|_| format!("v={}=,x", "A".repeat(43)), "broke the protocol"),
        (|_| "e=invalid-proof".to_owned(), "broke the protocol"),
        (|_| format!("v={}=", "A".repeat(43)), "can't be trusted"),
    ];
    for (forge, words) in cases {
        let said = by_password(move |peer, nonce| {
            say(peer, 11, &first(nonce, 4096));
            assert_eq!(Message::read(peer).unwrap().tag, b'p');
            say(peer, 12, &forge(nonce));
            // The gate may have ended by now.
            peer.write_all(&welcome()).ok();
            assert_eq!(rest(peer), b"");
        });
        assert!(said.contains(words), "{words}: {said}");
    }
}
