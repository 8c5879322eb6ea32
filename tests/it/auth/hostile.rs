//! Peers that mean ill: hostile clients, hostile backends (T19, T20).

use crate::support::clients::{Client, conninfo};
use crate::support::fake_backend::{FakeBackend, Peer};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::message::{
    Fields, Message, V3_0, authentication_ok, message, startup, welcome,
};
use crate::support::raw::Secured;

/// PostgreSQL's verifier of `PASSWORD`'s like: any genuine one will do where no proof is to succeed.
pub(super) const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// Makes a message of a nonce.
type Forge<'a> = &'a dyn Fn(&str) -> String;

/// The same, for a backend's own thread.
type Reply = fn(&str) -> String;

/// The password of it (RFC 7677 section 3).
pub(super) const PENCIL: &str = "pencil";

/// A client as far as AuthenticationSASL.
fn greeted(gate: &Gate, user: &str) -> Secured {
    let mut client = gate.connect("acme");
    client.send(&startup(V3_0, &[(b"user", user.as_bytes())]));
    let offer = client.message();
    assert_eq!(offer.tag, b'R');
    assert_eq!(
        offer.body,
        b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    );
    client
}

fn initial_response(mechanism: &str, first: &[u8]) -> Vec<u8> {
    let length = u32::try_from(first.len()).unwrap().to_be_bytes();
    message(
        b'p',
        &[mechanism.as_bytes(), b"\0", &length, first].concat(),
    )
}

/// The server-first-message that answers a good client-first-message.
fn server_first(client: &mut Secured) -> String {
    client.send(&initial_response("SCRAM-SHA-256", b"n,,n=,r=nonce"));
    let answer = client.message();
    assert_eq!(answer.body[..4], [0, 0, 0, 11]);
    String::from_utf8(answer.body[4..].to_vec()).unwrap()
}

/// The salt that a user who says who it is sees.
pub(super) fn salt_of(gate: &Gate, user: &str) -> String {
    let first = server_first(&mut greeted(gate, user));
    let (_, salt) = first.split_once(",s=").unwrap();
    salt.split_once(',').unwrap().0.to_owned()
}

/// A server that asks for SCRAM, then serves `script`.
fn asking(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> FakeBackend {
    FakeBackend::serving(move |mut peer| {
        peer.packet();
        peer.send(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"));
        script(&mut peer);
    })
}

fn scram(backend: &FakeBackend) -> Gate {
    let acme = Project::new("acme", &backend.url())
        .text("auth", "scram")
        .text("verifiers", "users.txt");
    let users = format!("\"alice\" \"{VERIFIER}\"\n");
    Gate::within(
        directory_of(&[("users.txt", &users)]),
        &Settings::new(&[acme]),
    )
}

#[test]
fn t20_a_client_that_breaks_scram_reads_postgresqls_own_words_and_the_backend_hears_nothing() {
    let backend = asking(|peer| assert_eq!(peer.rest().unwrap_or_default(), b""));
    let gate = scram(&backend);
    let first = |bytes: &[u8]| initial_response("SCRAM-SHA-256", bytes);
    let cases = [
        (
            initial_response("PLAIN", b"n,,"),
            "08P01",
            "client selected an invalid SASL authentication mechanism",
        ),
        (first(b""), "08P01", "malformed SCRAM message"),
        (first(b"n,,n=,r=n\0nce"), "08P01", "malformed SCRAM message"),
        (
            first(b"n,,n=,r=\x07"),
            "08P01",
            "non-printable characters in SCRAM nonce",
        ),
        (
            first(b"n,a=bob,n=,r=nonce"),
            "0A000",
            "client uses authorization identity, but it is not supported",
        ),
        (
            first(b"n,,m=x,n=,r=nonce"),
            "0A000",
            "client requires an unsupported SCRAM extension",
        ),
        (
            first(b"y,,n=,r=nonce"),
            "28000",
            "SCRAM channel binding negotiation error",
        ),
        (
            initial_response("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=nonce"),
            "08P01",
            "unsupported SCRAM channel-binding type",
        ),
        (
            message(b'p', b"SCRAM-SHA-256\0\0\0\0\xffn,,"),
            "08P01",
            "a message of type 'p' is malformed",
        ),
        (
            message(b'Q', b"select 1\0"),
            "08P01",
            "a message of type 'Q' is not expected here",
        ),
        (
            message(b'p', &[b'x'; 2000]),
            "08P01",
            "a message of type 'p' has an invalid length: 2004 bytes",
        ),
    ];
    for (said, code, words) in cases {
        let mut client = greeted(&gate, "alice");
        client.send(&said);
        let refusal = client.message().error();
        refusal.assert_fatal(code);
        assert_eq!(refusal.message(), words);
    }
}

#[test]
fn t20_a_bad_client_final_message_is_refused_as_postgresql_does() {
    let backend = asking(|peer| assert_eq!(peer.rest().unwrap_or_default(), b""));
    let gate = scram(&backend);
    let proof = format!("{}=", "A".repeat(43));
    let refused = |last: Forge<'_>, user: &str| -> Fields {
        let mut client = greeted(&gate, user);
        let first = server_first(&mut client);
        let nonce = first[2..].split_once(',').unwrap().0;
        client.send(&message(b'p', last(nonce).as_bytes()));
        client.message().error()
    };
    let cases: [(Forge<'_>, &str, &str); 6] = [
        (&|_| String::new(), "08P01", "malformed SCRAM message"),
        (
            &|r| format!("c=biws,r={r}"),
            "08P01",
            "malformed SCRAM message",
        ),
        (
            &|r| format!("c=biws,r={r},p=AAAA"),
            "08P01",
            "malformed SCRAM message",
        ),
        (
            &|r| format!("c=biws,r={r}x,p={proof}"),
            "08P01",
            "invalid SCRAM response",
        ),
        (
            &|r| format!("c=eSws,r={r},p={proof}"),
            "08P01",
            "unexpected SCRAM channel-binding attribute in client-final-message",
        ),
        (
            &|r| format!("c=biws,r={r},p={proof}"),
            "28P01",
            "password authentication failed for user \"alice\"",
        ),
    ];
    for (last, code, words) in cases {
        let refusal = refused(last, "alice");
        refusal.assert_fatal(code);
        assert_eq!(refusal.message(), words);
    }
    // Who doesn't exist reads the same, at the same point.
    let refusal = refused(&|r| format!("c=biws,r={r},p={proof}"), "mallory");
    refusal.assert_fatal("28P01");
}

/// The client nonce of the gate's own SASLInitialResponse.
pub(super) fn nonce_of(message: &Message) -> String {
    let text = String::from_utf8_lossy(&message.body).into_owned();
    text.rsplit_once("r=").unwrap().1.to_owned()
}

/// What alice's psql reads when the backend goes on like this.
fn psql_says(backend: &FakeBackend) -> String {
    let gate = scram(backend);
    let psql = Client::psql(&conninfo(&gate, "acme")).env("PGPASSWORD", PENCIL);
    psql.args(["-c", "select 1"]).fails()
}

#[test]
fn t20_a_backend_that_lets_in_before_it_has_proved_itself_is_not_believed() {
    let at_once = asking(|peer| {
        peer.message();
        peer.send(&welcome());
        peer.rest().unwrap_or_default();
    });
    let said = psql_says(&at_once);
    assert!(
        said.contains("the database server can't be trusted"),
        "{said}"
    );

    let after_the_proof = asking(|peer| {
        let nonce = nonce_of(&peer.message());
        let first = format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        peer.send(&message(b'R', &[b"\0\0\0\x0b", first.as_bytes()].concat()));
        assert_eq!(peer.message().tag, b'p');
        peer.send(&welcome());
        peer.rest().unwrap_or_default();
    });
    let said = psql_says(&after_the_proof);
    assert!(
        said.contains("the database server can't be trusted"),
        "{said}"
    );
}

#[test]
fn t20_a_hostile_backend_gets_no_proof_and_lets_nobody_in() {
    let cases: [(Reply, &str); 5] = [
        (
            |_| "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_owned(),
            "can't be trusted",
        ),
        (|r| format!("r={r}x,s=!,i=4096"), "broke the protocol"),
        (
            |r| format!("r={r}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0"),
            "broke the protocol",
        ),
        (
            |r| format!("r={r}x,s=W22ZaJ0SNY7soEsUEjb6gQ=="),
            "broke the protocol",
        ),
        // Another salt or count than the user's would make the proof one for somebody else's use.
        (
            |r| format!("r={r}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1"),
            "password authentication failed",
        ),
    ];
    for (forge, words) in cases {
        let backend = asking(move |peer| {
            let first = forge(&nonce_of(&peer.message()));
            peer.send(&message(b'R', &[b"\0\0\0\x0b", first.as_bytes()].concat()));
            assert_eq!(peer.rest().unwrap_or_default(), b"", "a proof");
        });
        let said = psql_says(&backend);
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn t20_a_backend_with_a_wrong_signature_is_not_believed() {
    let backend = asking(|peer| {
        let nonce = nonce_of(&peer.message());
        let first = format!("r={nonce}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        peer.send(&message(b'R', &[b"\0\0\0\x0b", first.as_bytes()].concat()));
        assert_eq!(peer.message().tag, b'p');
        let last = format!("v={}=", "A".repeat(43));
        peer.send(&message(b'R', &[b"\0\0\0\x0c", last.as_bytes()].concat()));
        peer.send(&welcome());
        peer.rest().unwrap_or_default();
    });
    let said = psql_says(&backend);
    assert!(
        said.contains("the database server can't be trusted"),
        "{said}"
    );
}

#[test]
fn t20_a_backend_that_asks_again_after_it_let_in_is_not_passed_on() {
    let backend = FakeBackend::serving(|mut peer| {
        peer.packet();
        let asks = message(b'R', &3_u32.to_be_bytes());
        peer.send(&[authentication_ok(), asks].concat());
        peer.rest().unwrap_or_default();
    });
    let acme = Project::new("acme", &backend.url());
    let gate = Gate::start(&[acme]);
    let mut client = gate.connect("acme");
    client.send(&crate::support::message::alice());
    assert_eq!(client.message().tag, b'R');
    client.message().error().assert_fatal("08P01");
}

#[test]
fn t20_a_backend_that_asks_for_a_password_is_told_to_nobody_with_scram() {
    for (ask, words) in [
        (&b"\0\0\0\x03"[..], "asks for the password in clear"),
        (b"\0\0\0\x05salt", "asks for an MD5 hash of the password"),
        (
            b"\0\0\0\x07",
            "a kind of authentication that the gate doesn't know",
        ),
        (b"\0\0\0\x0aOAUTHBEARER\0\0", ""),
    ] {
        let backend = FakeBackend::serving(move |mut peer| {
            peer.packet();
            peer.send(&message(b'R', ask));
            assert_eq!(peer.rest().unwrap_or_default(), b"", "an answer");
        });
        let said = psql_says(&backend);
        assert!(said.contains(words) && said.contains("FATAL"), "{said}");
    }
}
