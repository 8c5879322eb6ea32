//! A session that may no longer go on ends at once, and says why where it can be read (T27).

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::fixture::{KINDS, Kind, Legs, Session, TLS12, TLS13, cut, let_others_run};
use crate::relay::{ClosedBy, Control, Why, relay};

const READY_FOR_QUERY: &[u8] = b"Z\0\0\0\x05I";

/// Sends `bytes` through to the client, which reads them.
async fn deliver(session: &mut Session, bytes: &[u8]) {
    session.backend.write_all(bytes).await.unwrap();
    session.backend.flush().await.unwrap();
    let mut received = vec![0; bytes.len()];
    session.client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, bytes);
}

#[tokio::test]
async fn t27_a_cut_between_messages_ends_with_its_message_and_close_notify() {
    for version in [TLS12, TLS13] {
        for kind in KINDS {
            let mut session = Session::new(version, kind).await;
            deliver(&mut session, b"C\0\0\0\x05T").await;
            deliver(&mut session, &READY_FOR_QUERY[..3]).await;
            deliver(&mut session, &READY_FOR_QUERY[3..]).await;
            session.control.cut(cut());
            let mut received = Vec::new();
            // Without close_notify this would be an error.
            session.client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, cut().message);
            assert_eq!(session.backend.read(&mut [0]).await.unwrap(), 0);
            session.client.shutdown().await.unwrap();
            let closed = session.closed.await.unwrap();
            assert_eq!(
                (closed.by, closed.why),
                (ClosedBy::Gate, Why::Cut("rule removed"))
            );
        }
    }
}

#[tokio::test]
async fn t27_a_cut_right_after_the_login_is_between_messages() {
    let mut session = Session::new(TLS13, Kind::Tcp).await;
    session.control.cut(cut());
    let mut received = Vec::new();
    session.client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, cut().message);
}

#[tokio::test]
async fn t27_a_cut_amid_a_message_ends_with_close_notify_alone() {
    for version in [TLS12, TLS13] {
        for kind in KINDS {
            let mut session = Session::new(version, kind).await;
            deliver(&mut session, READY_FOR_QUERY).await;
            deliver(&mut session, b"D\0\0\x10\0half a row").await;
            session.control.cut(cut());
            let mut received = Vec::new();
            session.client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"");
            assert_eq!(session.backend.read(&mut [0]).await.unwrap(), 0);
            session.client.shutdown().await.unwrap();
            assert_eq!(session.closed.await.unwrap().by, ClosedBy::Gate);
        }
    }
}

#[tokio::test]
async fn t27_after_a_cut_nothing_of_the_client_reaches_the_backend() {
    let mut session = Session::new(TLS13, Kind::Tcp).await;
    session.control.cut(cut());
    session.client.write_all(b"DROP TABLE").await.unwrap();
    let mut received = Vec::new();
    session.backend.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"");
}

#[tokio::test]
async fn a_cut_before_the_relay_begins_counts() {
    let legs = Legs::new(TLS13, Kind::Tcp).await;
    let control = std::sync::Arc::new(Control::default());
    control.cut(cut());
    drop(legs.client);
    let closed = relay(legs.client_leg, legs.backend_leg, control).await;
    assert_eq!(closed.by, ClosedBy::Gate);
}

#[tokio::test]
async fn only_the_first_cut_counts() {
    let session = Session::new(TLS13, Kind::Tcp).await;
    session.control.cut(cut());
    session.control.cut(crate::relay::Cut {
        reason: "drain",
        ..cut()
    });
    drop(session.client);
    assert_eq!(session.closed.await.unwrap().why, Why::Cut("rule removed"));
}

/// Fills the client leg's sockets, so that the relay will get rid of nothing.
async fn clog(legs: &Legs) {
    let tcp = legs.client_leg.socket();
    while tcp.try_write(&[0; 65_536]).is_ok() {
        while tcp.try_write(&[0; 65_536]).is_ok() {}
        let_others_run().await;
    }
}

#[tokio::test(start_paused = true)]
async fn t27_a_cut_client_that_neither_reads_nor_closes_is_gone_after_the_grace() {
    for kind in KINDS {
        let legs = Legs::new(TLS13, kind).await;
        clog(&legs).await;
        let mut session = legs.relay();
        let stuck = async {
            drop(session.backend.write_all(&vec![0; 16_000_000]).await);
        };
        let cutting = async {
            while session.control.backend_to_client() == 0 {
                tokio::task::yield_now().await;
            }
            let began = Instant::now();
            session.control.cut(cut());
            let closed = session.closed.await.unwrap();
            assert_eq!(closed.by, ClosedBy::Gate);
            assert!(began.elapsed() >= cut().grace && began.elapsed() < 2 * cut().grace);
            // It must not take what it got for the whole.
            let tcp = &mut session.client.get_mut().0.tcp;
            let error = tcp.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        };
        tokio::join!(stuck, cutting);
    }
}

#[tokio::test]
async fn t27_many_cuts_at_once_stall_nobody() {
    let mut kept = Session::new(TLS13, Kind::Tcp).await;
    let mut sessions = Vec::new();
    for _ in 0..150 {
        sessions.push(Session::new(TLS13, Kind::Tcp).await);
    }
    // No await in this loop: a cut waits for nothing.
    for session in &sessions {
        session.control.cut(cut());
    }
    deliver(&mut kept, b"still here").await;
    for mut session in sessions {
        let mut received = Vec::new();
        session.client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, cut().message);
        drop(session.client);
        assert_eq!(session.closed.await.unwrap().by, ClosedBy::Gate);
    }
    assert!(!kept.closed.is_finished());
}
