//! Every ending of one side reaches the other one as what it is (T16).

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::Instant;

use super::fixture::{Backend, KINDS, Kind, Session, TLS12, TLS13, let_others_run, pattern};
use crate::relay::patience::LINGER;
use crate::relay::{Closed, ClosedBy, Why};

/// Who ended it and how.
fn ending(closed: Closed) -> (ClosedBy, Why) {
    (closed.by, closed.why)
}

#[tokio::test]
async fn t16_a_client_that_ended_still_gets_the_whole_answer() {
    for version in [TLS12, TLS13] {
        for kind in KINDS {
            let Session {
                client,
                backend,
                closed,
                ..
            } = Session::new(version, kind).await;
            let (question, answer) = (pattern(1, 3_000_000), pattern(2, 3_000_000));
            let (mut client_in, mut client_out) = split(client);
            let (mut backend_in, mut backend_out) = split(backend);
            tokio::join!(
                async {
                    client_out.write_all(&question).await.unwrap();
                    client_out.shutdown().await.unwrap();
                    let mut received = Vec::new();
                    client_in.read_to_end(&mut received).await.unwrap();
                    assert!(received == answer);
                },
                async {
                    let mut received = Vec::new();
                    backend_in.read_to_end(&mut received).await.unwrap();
                    assert!(received == question);
                    backend_out.write_all(&answer).await.unwrap();
                    backend_out.shutdown().await.unwrap();
                }
            );
            assert_eq!(
                ending(closed.await.unwrap()),
                (ClosedBy::Client, Why::Ended)
            );
        }
    }
}

#[tokio::test]
async fn t16_a_backend_that_ended_still_gets_what_the_client_sends() {
    for kind in KINDS {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        backend.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(b"the rest").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        backend.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"the rest");
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Backend, Why::Ended)
        );
    }
}

#[tokio::test]
async fn t16_a_client_that_drops_tcp_without_close_notify_closes_the_backend() {
    for kind in KINDS {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        client.write_all(b"Terminate").await.unwrap();
        client.flush().await.unwrap();
        drop(client.into_inner());
        let mut received = [0; 9];
        backend.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"Terminate");
        // Over TLS it is an error, for no close_notify comes (T16).
        assert_eq!(backend.read(&mut [0]).await.is_err(), kind == Kind::Tls);
        drop(backend);
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Client, Why::Dropped)
        );
    }
}

#[tokio::test]
async fn t16_a_reset_by_the_client_resets_the_backend() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        client.write_all(b"half a mess").await.unwrap();
        backend.read_exact(&mut [0; 11]).await.unwrap();
        client.get_ref().0.tcp.set_zero_linger().unwrap();
        drop(client);
        let error = backend.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Client, Why::Reset)
        );
    }
}

#[tokio::test]
async fn t16_a_reset_by_the_client_amid_a_download_resets_the_backend() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        let writing = async {
            loop {
                if let Err(error) = backend.write_all(&[7; 65_536]).await {
                    break error.kind();
                }
            }
        };
        let leaving = async {
            client.read_exact(&mut vec![0; 1_000_000]).await.unwrap();
            client.get_ref().0.tcp.set_zero_linger().unwrap();
            drop(client);
        };
        let (error, ()) = tokio::join!(writing, leaving);
        assert!(
            matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Client, Why::Reset)
        );
    }
}

#[tokio::test]
async fn t16_a_reset_by_the_backend_reaches_the_client_behind_its_last_words() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let Session {
            mut client,
            mut backend,
            closed,
            control,
        } = Session::new(TLS13, kind).await;
        backend.write_all(b"FATAL").await.unwrap();
        backend.flush().await.unwrap();
        while control.backend_to_client() < 5 {
            tokio::task::yield_now().await;
        }
        backend.reset();
        let mut received = [0; 5];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"FATAL");
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Backend, Why::Reset)
        );
    }
}

#[tokio::test]
async fn a_backends_last_words_arrive_although_it_took_no_more_of_the_clients() {
    let Session {
        mut client,
        mut backend,
        closed,
        ..
    } = Session::new(TLS13, Kind::Unix).await;
    // Closing a Unix socket over unread bytes is its kind of reset: the relay's writes fail.
    backend.write_all(b"FATAL").await.unwrap();
    client.write_all(b"Query").await.unwrap();
    drop(backend);
    let mut received = [0; 5];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"FATAL");
    drop(client);
    assert_eq!(closed.await.unwrap().by, ClosedBy::Backend);
}

#[tokio::test]
async fn a_record_that_is_not_authentic_is_answered_by_an_alert_and_resets_the_backend() {
    for version in [TLS12, TLS13] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(version, Kind::Tcp).await;
        let (tap, _) = client.get_mut();
        tap.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
        tap.write_all(&[0xA5; 32]).await.unwrap();
        let error = client.read(&mut [0]).await.unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        let error = backend.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let expected = (ClosedBy::Client, Why::Failed(ErrorKind::InvalidData));
        assert_eq!(ending(closed.await.unwrap()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_after_its_backend_has_ended_is_let_go_after_a_while() {
    for kind in KINDS {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        let began = Instant::now();
        backend.write_all(b"bye").await.unwrap();
        backend.shutdown().await.unwrap();
        drop(backend);
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Backend, Why::Ended)
        );
        assert!(began.elapsed() >= LINGER && began.elapsed() < LINGER + Duration::from_secs(1));
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"bye");
    }
}

#[tokio::test]
async fn an_idle_session_keeps_no_timer_and_stays() {
    let Session {
        mut client,
        mut backend,
        closed,
        ..
    } = Session::new(TLS13, Kind::Tcp).await;
    let_others_run().await;
    assert!(!closed.is_finished());
    client.write_all(b"x").await.unwrap();
    backend.read_exact(&mut [0]).await.unwrap();
}

/// Whoever is between the gate and a backend can forge a FIN, and no close_notify.
#[tokio::test]
async fn t16_a_fin_alone_of_a_backend_over_tls_reaches_the_client_as_a_fin_alone() {
    for version in [TLS12, TLS13] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(version, Kind::Tls).await;
        backend.write_all(b"half an answer").await.unwrap();
        backend.flush().await.unwrap();
        let Backend::Tls(tls) = backend else {
            panic!("not over TLS")
        };
        drop(tls.into_inner());
        let mut received = Vec::new();
        let error = client.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(received, b"half an answer");
        client.shutdown().await.unwrap();
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Backend, Why::Dropped)
        );
    }
}

#[tokio::test]
async fn t16_a_fin_alone_of_the_client_reaches_a_backend_over_tls_as_a_fin_alone() {
    for version in [TLS12, TLS13] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(version, Kind::Tls).await;
        client.write_all(b"half a COPY").await.unwrap();
        client.flush().await.unwrap();
        drop(client.into_inner());
        let mut received = Vec::new();
        let error = backend.read_to_end(&mut received).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(received, b"half a COPY");
        drop(backend);
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Client, Why::Dropped)
        );
    }
}

/// In clear FIN is all there is.
#[tokio::test]
async fn t16_the_fin_of_a_backend_in_clear_reaches_the_client_as_close_notify() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let Session {
            mut client,
            backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        drop(backend);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.shutdown().await.unwrap();
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Backend, Why::Ended)
        );
    }
}

#[tokio::test]
async fn t16_a_reset_by_a_client_that_had_ended_reaches_its_backend_with_its_next_words() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        client.write_all(b"Terminate").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        backend.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"Terminate");
        client.get_ref().0.tcp.set_zero_linger().unwrap();
        drop(client);
        // Nobody reads a client that has ended, so it is found out by the backend's next words.
        let error = loop {
            let written = backend.write_all(&[7; 65_536]).await;
            if let Err(error) = written.and(backend.flush().await) {
                break error.kind();
            }
        };
        assert!(
            matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
        assert_eq!(
            ending(closed.await.unwrap()),
            (ClosedBy::Client, Why::Ended)
        );
    }
}
