//! TLS 1.2 has keys for so many records; TLS 1.3 renews them.

use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::cipher_suite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{
    Configs, KINDS, Kind, Legs, Session, TLS12, TLS13, configs, configs_by, let_others_run,
};
use crate::relay::{Closed, ClosedBy, Control, Why, relay};
use crate::tls::testing::short_lived;

const ANSWER: &[u8] = b"C\0\0\0\x05TZ\0\0\0\x05I";

/// How many records the gate's keys last for.
const RECORDS: u64 = 160;

/// Which of a leg's two ends is the gate.
#[derive(Clone, Copy)]
enum Gate {
    Server,
    Client,
}

/// A leg on which the gate's keys are soon used up.
fn worn(version: &'static SupportedProtocolVersion, gate: Gate) -> Configs {
    let long = if version == TLS13 {
        cipher_suite::TLS13_AES_128_GCM_SHA256
    } else {
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    };
    configs_by(version, |server, client| {
        let (short, other) = match gate {
            Gate::Server => (server, client),
            Gate::Client => (client, server),
        };
        short.cipher_suites = vec![short_lived(long, RECORDS)];
        other.cipher_suites = vec![long];
    })
}

/// A query and its answer; what the client reads instead of it at the session's end.
async fn ask(session: &mut Session) -> Option<Vec<u8>> {
    let mut received = vec![0; ANSWER.len()];
    let asked = async {
        session.client.write_all(b"Q\0\0\0\x04").await?;
        session.client.flush().await?;
        session.backend.read_exact(&mut [0; 5]).await?;
        session.backend.write_all(ANSWER).await?;
        session.backend.flush().await
    };
    let asked = asked.await;
    let_others_run().await;
    if asked.is_ok() {
        session.client.read_exact(&mut received).await.unwrap();
        assert_eq!(received, ANSWER);
        return None;
    }
    received.clear();
    session.client.read_to_end(&mut received).await.unwrap();
    Some(received)
}

#[track_caller]
fn assert_worn(closed: &Closed) {
    let ended = (closed.by, closed.why);
    assert_eq!(ended, (ClosedBy::Gate, Why::Cut("keys_used_up")));
}

#[tokio::test]
async fn a_session_whose_tls_1_2_keys_are_nearly_used_up_ends_between_messages_and_says_so() {
    let legs = [
        (
            [worn(TLS12, Gate::Server), configs(TLS13)],
            Kind::Tcp,
            "this TLS 1.2 connection",
        ),
        (
            [configs(TLS13), worn(TLS12, Gate::Client)],
            Kind::Tls,
            "to the server",
        ),
    ];
    for (configs, kind, which) in legs {
        let mut session = Legs::speaking(configs, kind, None).await.relay();
        let mut answered = 0;
        let last = loop {
            match ask(&mut session).await {
                None => answered += 1,
                Some(last) => break String::from_utf8_lossy(&last).into_owned(),
            }
        };
        // A sixteenth of them is left.
        assert_eq!(answered, RECORDS * 15 / 16);
        assert!(
            last.starts_with('E') && last.contains("C57P01\0"),
            "{last:?}"
        );
        assert!(last.contains(which) && last.contains("TLS 1.3"), "{last:?}");
        session.client.shutdown().await.unwrap();
        let closed = session.closed.await.unwrap();
        assert_worn(&closed);
    }
}

#[tokio::test]
async fn tls_1_2_keys_that_are_used_up_amid_a_message_end_the_session_by_the_gate() {
    let legs = [worn(TLS12, Gate::Server), configs(TLS13)];
    let mut session = Legs::speaking(legs, Kind::Tcp, None).await.relay();
    let row = async { while session.backend.write_all(&[7; 65_536]).await.is_ok() {} };
    let mut received = Vec::new();
    let reading = async {
        session.client.read_to_end(&mut received).await.unwrap();
        session.client.shutdown().await.unwrap();
    };
    tokio::join!(row, reading);
    assert!(received.len() > 64 * 8192 && received.iter().all(|byte| *byte == 7));
    let closed = session.closed.await.unwrap();
    assert_worn(&closed);
}

#[tokio::test]
async fn a_session_over_tls_1_3_outlives_any_number_of_keys() {
    let legs = [worn(TLS13, Gate::Server), worn(TLS13, Gate::Client)];
    let mut session = Legs::speaking(legs, Kind::Tls, None).await.relay();
    for _ in 0..3 * RECORDS {
        assert_eq!(ask(&mut session).await, None);
    }
    assert!(!session.closed.is_finished());
}

#[tokio::test]
async fn what_was_sent_with_the_login_counts_as_work_until_it_is_answered() {
    for kind in KINDS {
        let legs = Legs::new(TLS13, kind).await;
        let control = std::sync::Arc::new(Control::default());
        let (mut client, mut backend) = (legs.client, legs.backend);
        let session = relay(legs.client_leg, legs.backend_leg, control.clone());
        let _running = tokio::spawn(session.behind(5, b"N"));
        assert!(control.is_at_work());
        assert_eq!(
            (control.client_to_backend(), control.backend_to_client()),
            (5, 1)
        );
        backend.write_all(ANSWER).await.unwrap();
        backend.flush().await.unwrap();
        client.read_exact(&mut [0; ANSWER.len()]).await.unwrap();
        assert!(!control.is_at_work());
    }
    let legs = Legs::new(TLS13, Kind::Tcp).await;
    let control = std::sync::Arc::new(Control::default());
    let answered = relay(legs.client_leg, legs.backend_leg, control.clone()).behind(5, ANSWER);
    assert!(!control.is_at_work());
    drop(answered);
}
