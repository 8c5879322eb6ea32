//! Bytes arrive whole, in order, in bounded memory (T12, T15, T17).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::runtime::{Builder, Runtime};

use super::fixture::{KINDS, Kind, Legs, Session, TLS12, TLS13, let_others_run, pattern};

const MIB: usize = 1024 * 1024;

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[tokio::test]
async fn t12_records_towards_the_client_carry_at_most_8_kib() {
    for (version, overhead) in [(TLS12, 8 + 16), (TLS13, 1 + 16)] {
        let Session {
            mut client,
            mut backend,
            closed,
            ..
        } = Session::new(version, Kind::Tcp).await;
        let sent = pattern(3, MIB);
        let received = async {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            client.shutdown().await.unwrap();
            received
        };
        let (received, ()) = tokio::join!(received, async {
            backend.write_all(&sent).await.unwrap();
            backend.shutdown().await.unwrap();
        });
        assert!(received == sent);
        assert_eq!(client.get_ref().0.largest, 8192 + overhead, "{version:?}");
        assert_eq!(closed.await.unwrap().backend_to_client, MIB as u64);
    }
}

#[tokio::test]
async fn t15_what_was_decrypted_before_the_relay_began_is_relayed() {
    for version in [TLS12, TLS13] {
        let mut legs = Legs::new(version, Kind::Tcp).await;
        for record in ["one", "two", "three"] {
            legs.client.write_all(record.as_bytes()).await.unwrap();
        }
        assert!(
            legs.client_leg
                .plaintext_to_come()
                .await
                .unwrap()
                .starts_with(b"one")
        );
        let mut session = legs.relay();
        let mut received = [0; 11];
        session.backend.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"onetwothree");
    }
}

#[tokio::test]
async fn t15_the_tail_of_a_burst_arrives_although_nothing_follows_it() {
    for kind in KINDS {
        let legs = Legs::with_socket_buffers(TLS13, kind, Some(SOCKET_BUFFERS)).await;
        let session = legs.relay();
        let (mut client, mut backend) = (session.client, session.backend);
        // Some of these are more than the sockets take by themselves, and no more than TLS holds.
        for length in (64..512).step_by(16) {
            let sent = pattern(7, length * 1024);
            burst(&mut client, &mut backend, &sent).await;
            burst(&mut backend, &mut client, &sent).await;
        }
    }
}

/// One end writes all of it, and no more; the other one reads late.
async fn burst<W, R>(from: &mut W, to: &mut R, sent: &[u8])
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let mut received = vec![0; sent.len()];
    let writing = async {
        from.write_all(sent).await.unwrap();
        from.flush().await.unwrap();
    };
    let reading = async {
        let_others_run().await;
        to.read_exact(&mut received).await.unwrap();
    };
    tokio::join!(writing, reading);
    assert!(received == sent);
}

#[tokio::test]
async fn key_updates_amid_a_transfer_lose_nothing() {
    for kind in KINDS {
        let Session {
            mut client,
            backend,
            closed,
            ..
        } = Session::new(TLS13, kind).await;
        let (mut backend_in, mut backend_out) = split(backend);
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut backend_in, &mut backend_out)
                .await
                .unwrap();
            backend_out.shutdown().await.unwrap();
        });
        client.get_mut().0.dribble = 1_000;
        for round in 0..40 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            let sent = pattern(round, 30_000);
            client.write_all(&sent).await.unwrap();
            client.flush().await.unwrap();
            let mut received = vec![0; sent.len()];
            client.read_exact(&mut received).await.unwrap();
            assert!(received == sent, "round {round}");
        }
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        echo.await.unwrap();
        assert_eq!(closed.await.unwrap().backend_to_client, 40 * 30_000);
    }
}

#[test]
fn t17_an_echo_with_both_pipes_full_never_deadlocks() {
    let sent = pattern(4, 40 * MIB);
    for (version, kind) in [(TLS13, Kind::Tcp), (TLS12, Kind::Unix), (TLS13, Kind::Tls)] {
        runtime().block_on(async {
            let Session {
                client,
                backend,
                closed,
                ..
            } = Session::new(version, kind).await;
            let (mut backend_in, mut backend_out) = split(backend);
            let echo = tokio::spawn(async move {
                tokio::io::copy(&mut backend_in, &mut backend_out)
                    .await
                    .unwrap();
                backend_out.shutdown().await.unwrap();
            });
            let (mut client_in, mut client_out) = split(client);
            let upload = async {
                client_out.write_all(&sent).await.unwrap();
                client_out.shutdown().await.unwrap();
            };
            let mut received = Vec::with_capacity(sent.len());
            let ((), count) = tokio::join!(upload, client_in.read_to_end(&mut received));
            assert_eq!(count.unwrap(), sent.len());
            assert!(received == sent);
            echo.await.unwrap();
            assert_eq!(closed.await.unwrap().client_to_backend, sent.len() as u64);
        });
    }
}

/// What Linux lets two sockets of this buffer size hold: it doubles both sizes, and a sender may
/// overshoot by a segment.
const SOCKET_BUFFERS: usize = 64 * 1024;
const HELD_AT_MOST: u64 = (2 * 2 * SOCKET_BUFFERS + 64 * 1024 + 2 * 32 * 1024) as u64;

#[tokio::test]
async fn t17_a_client_that_does_not_read_stops_the_reading_from_the_backend() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let legs = Legs::with_socket_buffers(TLS13, kind, Some(SOCKET_BUFFERS)).await;
        let Session {
            mut client,
            mut backend,
            control,
            closed,
        } = legs.relay();
        let sent = pattern(5, 8 * MIB);
        let writing = async {
            backend.write_all(&sent).await.unwrap();
            backend.shutdown().await.unwrap();
        };
        let reading = async {
            let_others_run().await;
            let taken = control.backend_to_client();
            assert!(taken > 0 && taken <= HELD_AT_MOST, "{taken} bytes taken");
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            client.shutdown().await.unwrap();
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert!(received == sent);
        closed.await.unwrap();
    }
}

#[tokio::test]
async fn t17_a_backend_that_does_not_read_stops_the_reading_from_the_client() {
    for kind in [Kind::Tcp, Kind::Tls] {
        let legs = Legs::with_socket_buffers(TLS13, kind, Some(SOCKET_BUFFERS)).await;
        let Session {
            mut client,
            mut backend,
            control,
            closed,
        } = legs.relay();
        let sent = pattern(6, 8 * MIB);
        let writing = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let reading = async {
            let_others_run().await;
            let taken = control.client_to_backend();
            assert!(taken > 0 && taken <= HELD_AT_MOST, "{taken} bytes taken");
            let mut received = Vec::new();
            backend.read_to_end(&mut received).await.unwrap();
            backend.shutdown().await.unwrap();
            received
        };
        let ((), received) = tokio::join!(writing, reading);
        assert!(received == sent);
        closed.await.unwrap();
    }
}
