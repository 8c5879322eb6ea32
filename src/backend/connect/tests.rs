//! Connecting to backends of the tests' own (T18, T21, T22).

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::backend::{BackendTls, Balance, Dialling, NameCaching};
use crate::relay::TcpTuning;
use crate::wire::encode::{FatalResponse, authentication_sasl, fatal};

const HELLO: Hello<'_> = Hello {
    startup: b"startup",
    identity: None,
};

fn backend(addresses: &[String], connect_timeout: Duration) -> Backend {
    let dialling = Dialling {
        tls: BackendTls::disable(),
        connect_timeout,
        names: NameCaching::default(),
        tcp: TcpTuning::default(),
    };
    let addresses = addresses.iter().map(|addr| addr.parse().unwrap());
    Backend::new(addresses.collect(), dialling.into(), Balance::Order).unwrap()
}

/// As long as a test waits for what must come.
const PATIENT: Duration = Duration::from_secs(60);

/// A deadline that is none for these tests.
fn far() -> Instant {
    Instant::now() + 2 * PATIENT
}

/// A server that answers each StartupMessage with `answer`, then keeps the connection for as long as
/// the gate does.
async fn answering(answer: &[u8]) -> (String, JoinHandle<()>) {
    let answer = answer.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("postgres://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_one(stream, answer.clone()));
        }
    });
    (addr, server)
}

async fn answer_one(mut stream: TcpStream, answer: Vec<u8>) {
    let mut startup = [0; 7];
    stream.read_exact(&mut startup).await.unwrap();
    assert_eq!(startup, *b"startup");
    stream.write_all(&answer).await.unwrap();
    if answer.is_empty() {
        return;
    }
    while stream.read(&mut startup).await.is_ok_and(|read| read > 0) {}
}

fn error(sqlstate: &str) -> Vec<u8> {
    let response = FatalResponse {
        sqlstate,
        message: "no",
        detail: None,
        hint: None,
    };
    fatal(&response).to_vec()
}

fn sasl() -> Vec<u8> {
    authentication_sasl(&["SCRAM-SHA-256"]).to_vec()
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("postgres://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn t22_a_refused_connection_and_57p03_and_an_end_without_a_word_go_on_to_the_next_address() {
    let good = answering(&sasl()).await.0;
    let negotiated = [b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0", &error("57P03")[..]].concat();
    for first in [
        nobody().await,
        answering(&error("57P03")).await.0,
        answering(&negotiated).await.0,
        answering(b"").await.0,
    ] {
        let backend = backend(&[first.clone(), good.clone()], PATIENT);
        let connected = backend.connect(HELLO, far()).await.unwrap();
        assert_eq!(connected.reached.addr().to_string(), good);
        assert_eq!(connected.heard, sasl());
        let passed_over = connected.passed_over().unwrap();
        assert!(
            passed_over.contains(&first["postgres://".len()..]),
            "{passed_over}"
        );
        // Set aside: the next login goes to the other at once.
        let connected = backend.connect(HELLO, far()).await.unwrap();
        assert_eq!(connected.reached.addr().to_string(), good);
        assert_eq!(connected.passed_over(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_says_nothing_costs_its_connect_timeout_once() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = format!("postgres://{}", silent.local_addr().unwrap());
    let good = answering(&sasl()).await.0;
    let backend = backend(&[first, good.clone()], Duration::from_secs(3));
    let connected = backend.connect(HELLO, far()).await.unwrap();
    let passed_over = connected.passed_over().unwrap();
    assert!(
        passed_over.ends_with("did not finish its answer to StartupMessage within 3s"),
        "{passed_over}"
    );
    assert_eq!(
        backend.connect(HELLO, far()).await.unwrap().passed_over(),
        None
    );
}

/// An address that takes connections and says nothing, for as long as the listener is there.
async fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = format!("postgres://{}", listener.local_addr().unwrap());
    (addr, listener)
}

/// An address at which no connection comes about, as if a firewall dropped its packets: the one that is
/// waiting to be accepted leaves no room for another.
async fn deaf() -> (String, (Socket, TcpStream)) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting = TcpStream::connect(addr).await.unwrap();
    (format!("postgres://{addr}"), (socket, waiting))
}

#[tokio::test(start_paused = true)]
async fn t6_an_address_that_never_answers_leaves_the_others_their_share_of_the_login() {
    let (silent, _listener) = silent().await;
    let (deaf, _held) = deaf().await;
    let good = answering(&sasl()).await.0;
    // No more time for the login than for one attempt.
    for (first, doing) in [
        (silent, "its answer to StartupMessage"),
        (deaf, "connecting"),
    ] {
        let backend = backend(&[first, good.clone()], Duration::from_secs(5));
        let deadline = Instant::now() + Duration::from_secs(5);
        let connected = backend.connect(HELLO, deadline).await.unwrap();
        assert_eq!(connected.reached.addr().to_string(), good);
        let passed_over = connected.passed_over().unwrap();
        assert!(
            passed_over.ends_with(&format!("did not finish {doing} within 2.5s")),
            "{passed_over}"
        );
        // Set aside: the next login goes to the other at once.
        let connected = backend.connect(HELLO, far()).await.unwrap();
        assert_eq!(connected.passed_over(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_had_less_than_a_second_is_passed_over_and_not_set_aside() {
    let (first, _listener) = silent().await;
    let good = answering(&sasl()).await.0;
    let backend = backend(&[first, good.clone()], PATIENT);
    for _ in 0..2 {
        let deadline = Instant::now() + Duration::from_secs(1);
        let connected = backend.connect(HELLO, deadline).await.unwrap();
        assert_eq!(connected.reached.addr().to_string(), good);
        let passed_over = connected.passed_over().unwrap();
        assert!(
            passed_over.contains("in the 500ms that were left"),
            "{passed_over}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_addresses_that_never_answer_the_login_ends_as_late_only_if_it_had_no_time_for_any() {
    let (first, _listener) = silent().await;
    let (second, _held) = deaf().await;
    for (seconds, is_late) in [(1, true), (2, false)] {
        let backend = backend(&[first.clone(), second.clone()], PATIENT);
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let failed = backend.connect(HELLO, deadline).await.unwrap_err();
        assert_eq!(failed.to_string().matches("did not finish").count(), 2);
        assert_eq!(failed.is_out_of_time(), is_late, "{failed}");
    }
    // A connect timeout below a second is somebody's measure of what is long.
    let backend = backend(&[second], Duration::from_millis(100));
    let failed = backend.connect(HELLO, far()).await.unwrap_err();
    assert!(!failed.is_out_of_time(), "{failed}");
}

#[tokio::test]
async fn t21_any_other_error_of_a_backend_is_its_answer() {
    for code in ["53300", "28000", "3D000"] {
        let (first, good) = (answering(&error(code)).await.0, answering(&sasl()).await.0);
        let backend = backend(&[first.clone(), good], PATIENT);
        let connected = backend.connect(HELLO, far()).await.unwrap();
        assert_eq!(connected.reached.addr().to_string(), first);
        assert_eq!(connected.heard, error(code));
    }
}

#[tokio::test]
async fn t21_where_there_is_no_other_address_57p03_is_said_in_the_backends_own_words() {
    let starting = answering(&error("57P03")).await.0;
    let lone = backend(std::slice::from_ref(&starting), PATIENT);
    let mut connected = lone.connect(HELLO, far()).await.unwrap();
    assert!(connected.heard.is_empty(), "nothing is read ahead");
    let mut answer = vec![0; error("57P03").len()];
    connected.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, error("57P03"));

    let both = backend(&[nobody().await, starting.clone()], PATIENT);
    for _ in 0..3 {
        match both.connect(HELLO, far()).await {
            Ok(connected) => assert_eq!(connected.heard, error("57P03")),
            Err(error) => assert!(!error.is_tls(), "{error}"),
        }
    }
}

#[tokio::test]
async fn when_all_addresses_are_set_aside_each_login_tries_one_and_no_more() {
    let backend = backend(&[nobody().await, nobody().await], PATIENT);
    let all = backend.connect(HELLO, far()).await.unwrap_err();
    assert_eq!(
        all.to_string().matches("cannot connect to").count(),
        2,
        "{all}"
    );
    let one = backend.connect(HELLO, far()).await.unwrap_err();
    assert_eq!(
        one.to_string().matches("cannot connect to").count(),
        1,
        "{one}"
    );
}

#[tokio::test]
async fn a_server_that_has_come_back_is_found_by_the_next_login() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let backend = backend(&[format!("postgres://{address}"), nobody().await], PATIENT);
    backend.connect(HELLO, far()).await.unwrap_err();
    let listener = TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer_one(stream, sasl()).await;
    });
    backend.connect(HELLO, far()).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_counts_at_its_address_until_it_is_dropped_and_over_a_reload() {
    let (first, second) = (answering(&sasl()).await.0, answering(&sasl()).await.0);
    let addresses = [first, second];
    let before = backend(&addresses, PATIENT);
    let connected = before.connect(HELLO, far()).await.unwrap();
    let live = |backend: &Backend| -> Vec<_> {
        let endpoints = backend.endpoints().iter();
        endpoints.map(|endpoint| endpoint.live()).collect()
    };
    assert_eq!(live(&before), [1, 0]);
    let after = backend(&addresses[..1], PATIENT).carrying_on_from(&before);
    assert_eq!(live(&after), [1]);
    drop(connected);
    assert_eq!((live(&before), live(&after)), (vec![0, 0], vec![0]));
}

#[tokio::test]
async fn t20_an_answer_that_is_no_message_is_left_to_the_login() {
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"E\0\0\0\x05C",
        b"E\x7f\xff\xff\xff",
    ] {
        let backend = backend(&[answering(answer).await.0, nobody().await], PATIENT);
        assert_eq!(backend.connect(HELLO, far()).await.unwrap().heard, answer);
    }
}

/// Both addresses swallow what is sent to them.
#[tokio::test(start_paused = true)]
async fn t22_when_all_are_down_one_login_waits_for_each_address_and_the_others_do_not() {
    let silent = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let addresses: Vec<_> = silent
        .iter()
        .map(|one| format!("postgres://{}", one.local_addr().unwrap()))
        .collect();
    let backend = backend(&addresses, Duration::from_secs(3));
    backend.connect(HELLO, far()).await.unwrap_err();
    let login = || Box::pin(backend.connect(HELLO, far()));
    let (mut first, mut second) = (login(), login());
    for _ in 0..3 {
        let refused = tokio::select! {
            biased;
            _ = &mut first => panic!("it waits for an address"),
            _ = &mut second => panic!("it waits for the other one"),
            refused = login() => refused.unwrap_err(),
        };
        assert!(!refused.is_tls() && !refused.is_out_of_time());
        let says = refused.to_string();
        assert!(says.contains("another login is trying it now"), "{says}");
    }
    // A login that is given up leaves its turn to the next.
    drop(first);
    let mut next = login();
    tokio::select! {
        biased;
        _ = &mut next => panic!("it waits for an address"),
        () = std::future::ready(()) => {}
    }
    second.await.unwrap_err();
    next.await.unwrap_err();
}
