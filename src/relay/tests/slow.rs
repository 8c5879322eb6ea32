//! A client that takes its time loses nothing by it (T16, T17).

use std::future::pending;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, copy, sink, split};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use super::fixture::{
    Backend, Client, KINDS, Kind, Legs, Session, TLS12, TLS13, let_others_run, pattern,
};
use crate::relay::patience::STALL;
use crate::relay::{ClosedBy, Why};

/// Does nothing, and keeps the runtime from being idle: a paused clock would go on by itself.
async fn stay_busy() -> ! {
    loop {
        yield_now().await;
    }
}

/// Reads 32 KiB a minute to the end, or to what went wrong.
async fn sip(client: &mut ReadHalf<Client>) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut received = Vec::new();
    loop {
        let before = received.len();
        match client.take(32 * 1024).read_to_end(&mut received).await {
            Ok(_) if received.len() == before => return (received, Ok(())),
            Ok(_) => advance(Duration::from_secs(60)).await,
            Err(error) => return (received, Err(error.kind())),
        }
        let_others_run().await;
    }
}

/// Says something every other minute. Who has read no end yet may go on; at the very last it can be
/// told otherwise.
async fn talk(client: &mut WriteHalf<Client>) -> ! {
    while client.write_all(b"Query").await.is_ok() && client.flush().await.is_ok() {
        let later = Instant::now() + Duration::from_secs(120);
        while Instant::now() < later {
            yield_now().await;
        }
    }
    stay_busy().await
}

/// Sends it all and ends, and takes what comes: unread bytes would make its own close an RST.
async fn send_and_end(backend: Backend, sent: &[u8]) -> ! {
    let (mut backend_in, mut backend_out) = split(backend);
    let sending = async {
        backend_out.write_all(sent).await.unwrap();
        backend_out.shutdown().await.unwrap();
    };
    let mut nowhere = sink();
    let ((), taken) = tokio::join!(sending, copy(&mut backend_in, &mut nowhere));
    taken.unwrap();
    pending().await
}

#[tokio::test(start_paused = true)]
async fn t16_a_slow_client_gets_all_of_a_backend_that_has_ended_whatever_it_sends_meanwhile() {
    for (kind, version) in KINDS.into_iter().zip([TLS12, TLS13, TLS13]) {
        let legs = Legs::with_socket_buffers(version, kind, Some(64 * 1024)).await;
        let session = legs.relay();
        let sent = pattern(8, 1 << 20);
        let (mut client_in, mut client_out) = split(session.client);
        let began = Instant::now();
        let (received, end) = tokio::select! {
            read = sip(&mut client_in) => read,
            never = talk(&mut client_out) => never,
            never = send_and_end(session.backend, &sent) => never,
        };
        assert_eq!(end, Ok(()), "{kind:?}: after {} bytes", received.len());
        assert!(received == sent);
        assert!(began.elapsed() > 2 * STALL);
        assert_eq!(session.closed.await.unwrap().by, ClosedBy::Backend);
    }
}

#[tokio::test(start_paused = true)]
async fn t16_a_slow_client_gets_the_last_words_of_a_backend_that_ends_by_rst() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let legs = Legs::with_socket_buffers(TLS13, kind, Some(64 * 1024)).await;
        let Session {
            client,
            mut backend,
            control,
            closed,
        } = legs.relay();
        let (mut client_in, _client_out) = split(client);
        // The kernel takes it all, and the relay has it all before the RST.
        let sent = pattern(10, 160 * 1024);
        let resetting = async {
            backend.write_all(&sent).await.unwrap();
            backend.flush().await.unwrap();
            while control.backend_to_client() < sent.len() as u64 {
                yield_now().await;
            }
            backend.reset();
            stay_busy().await
        };
        let (received, end) = tokio::select! {
            read = async { let_others_run().await; sip(&mut client_in).await } => read,
            never = resetting => never,
        };
        assert!(received == sent, "{kind:?}: {} bytes", received.len());
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        let closed = closed.await.unwrap();
        assert_eq!((closed.by, closed.why), (ClosedBy::Backend, Why::Reset));
    }
}

#[tokio::test(start_paused = true)]
async fn t16_a_slow_client_gets_all_of_a_backend_that_has_ended_and_takes_no_more() {
    let legs = Legs::with_socket_buffers(TLS13, Kind::Unix, Some(64 * 1024)).await;
    let Session {
        client,
        mut backend,
        control,
        closed,
    } = legs.relay();
    let (mut client_in, mut client_out) = split(client);
    let sent = pattern(9, 512 * 1024);
    let leaving = async {
        backend.write_all(&sent).await.unwrap();
        drop(backend);
        // The relay still has to read some of it when it finds out.
        assert!(control.backend_to_client() < sent.len() as u64);
        client_out.write_all(b"Query").await.unwrap();
        client_out.flush().await.unwrap();
        stay_busy().await
    };
    let (received, _) = tokio::select! {
        read = async { let_others_run().await; sip(&mut client_in).await } => read,
        never = leaving => never,
    };
    assert!(received == sent, "{} bytes", received.len());
    assert_eq!(closed.await.unwrap().by, ClosedBy::Backend);
}

#[tokio::test]
async fn t16_a_backend_that_has_ended_and_takes_no_more_resets_nobody() {
    for version in [TLS12, TLS13] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(version, Kind::Unix).await;
        backend.write_all(b"FATAL").await.unwrap();
        drop(backend);
        let_others_run().await;
        // A Unix socket says at once that nobody reads it.
        for _ in 0..3 {
            client.write_all(b"Query").await.unwrap();
            client.flush().await.unwrap();
            let_others_run().await;
        }
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"FATAL");
        client.shutdown().await.unwrap();
        let closed = closed.await.unwrap();
        assert_eq!((closed.by, closed.why), (ClosedBy::Backend, Why::Ended));
    }
}
