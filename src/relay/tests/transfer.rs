//! Bytes arrive whole, in order, in bounded memory (T12, T15, T17).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

use super::fixture::{Client, KINDS, Kind, Legs, Session, TLS12, TLS13, let_others_run, pattern};
use crate::relay::{ClosedBy, Why};

const MIB: usize = 1024 * 1024;

/// What one end does: sends `length` bytes in writes of these sizes and reads in those, with so
/// many turns lost in between, and ends its side, at once or when it has seen the other's end.
#[derive(Debug, Clone)]
struct Script {
    length: usize,
    writes: Vec<usize>,
    reads: Vec<usize>,
    stalls: Vec<usize>,
}

/// What the client's TLS does beside: renews its keys at every so many writes, which take so many
/// bytes at most.
#[derive(Debug, Clone, Copy)]
struct Habits {
    rekey: Option<usize>,
    dribble: Option<usize>,
}

fn habits() -> impl Strategy<Value = Habits> {
    let dribble = proptest::option::of(prop_oneof![1_usize..40, 40_usize..5_000]);
    (proptest::option::of(1_usize..6), dribble)
        .prop_map(|(rekey, dribble)| Habits { rekey, dribble })
}

fn script() -> impl Strategy<Value = Script> {
    let size = || prop_oneof![1_usize..64, 64_usize..9_000, 9_000_usize..70_000];
    let length = prop_oneof![Just(0), 1_usize..100, 1_usize..600_000];
    let sizes = move || proptest::collection::vec(size(), 1..8);
    let stalls = proptest::collection::vec(prop_oneof![3 => Just(0_usize), 1 => 1_usize..40], 1..8);
    (length, sizes(), sizes(), stalls).prop_map(|(length, writes, reads, stalls)| Script {
        length,
        writes,
        reads,
        stalls,
    })
}

/// Which end waits for the other one's end before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Neither,
    Client,
    Backend,
}

async fn stall(turns: usize) {
    for _ in 0..turns {
        yield_now().await;
    }
}

/// Writes that can't go on are tiny ones: a cycle of sizes as small as one byte ends after some.
fn sizes(of: &[usize]) -> impl Iterator<Item = usize> {
    of.iter()
        .copied()
        .cycle()
        .take(64)
        .chain(std::iter::repeat(16 * 1024))
}

async fn send<W: AsyncWrite + Unpin>(end: &mut W, script: &Script, bytes: &[u8]) {
    let mut rest = bytes;
    let mut stalls = script.stalls.iter().cycle();
    for size in sizes(&script.writes) {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.min(rest.len()));
        end.write_all(now).await.unwrap();
        end.flush().await.unwrap();
        stall(*stalls.next().unwrap()).await;
        rest = later;
    }
}

async fn receive<R: AsyncRead + Unpin>(end: &mut R, script: &Script) -> Vec<u8> {
    let mut received = Vec::new();
    let mut stalls = script.stalls.iter().rev().cycle();
    for size in sizes(&script.reads) {
        let mut chunk = vec![0; size];
        let count = end.read(&mut chunk).await.unwrap();
        if count == 0 {
            break;
        }
        received.extend_from_slice(&chunk[..count]);
        stall(*stalls.next().unwrap()).await;
    }
    received
}

/// Plays both scripts through a relay and checks every byte.
async fn play(session: Session<Restless>, client: Script, backend: Script, waits: Waits) {
    let (up, down) = (pattern(1, client.length), pattern(2, backend.length));
    let (mut client_in, mut client_out) = split(session.client);
    let (mut backend_in, mut backend_out) = split(session.backend);
    let (client_done, client_saw_end) = tokio::sync::oneshot::channel::<()>();
    let (backend_done, backend_saw_end) = tokio::sync::oneshot::channel::<()>();
    let (_, _, got_down, got_up) = tokio::join!(
        async {
            send(&mut client_out, &client, &up).await;
            if waits == Waits::Client {
                client_saw_end.await.unwrap();
            }
            client_out.shutdown().await.unwrap();
        },
        async {
            send(&mut backend_out, &backend, &down).await;
            if waits == Waits::Backend {
                backend_saw_end.await.unwrap();
            }
            backend_out.shutdown().await.unwrap();
        },
        async {
            let received = receive(&mut client_in, &client).await;
            client_done.send(()).unwrap_or_default();
            received
        },
        async {
            let received = receive(&mut backend_in, &backend).await;
            backend_done.send(()).unwrap_or_default();
            received
        },
    );
    assert!(
        got_up == up,
        "{} of {} bytes went up",
        got_up.len(),
        up.len()
    );
    assert!(
        got_down == down,
        "{} of {} bytes came down",
        got_down.len(),
        down.len()
    );
    let closed = session.closed.await.unwrap();
    assert_eq!(closed.client_to_backend, up.len() as u64);
    assert_eq!(closed.backend_to_client, down.len() as u64);
    assert_eq!(closed.why, Why::Ended);
    match waits {
        Waits::Neither => assert_ne!(closed.by, ClosedBy::Gate),
        Waits::Client => assert_eq!(closed.by, ClosedBy::Backend),
        Waits::Backend => assert_eq!(closed.by, ClosedBy::Client),
    }
}

/// A client with habits.
struct Restless {
    tls: Client,
    habits: Habits,
    writes: usize,
}

impl Restless {
    fn new(mut tls: Client, habits: Habits) -> Self {
        tls.get_mut().0.dribble = habits.dribble.unwrap_or(usize::MAX);
        Self {
            tls,
            habits,
            writes: 0,
        }
    }
}

impl AsyncRead for Restless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Restless {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        if self
            .habits
            .rekey
            .is_some_and(|every| self.writes.is_multiple_of(every))
        {
            self.tls.get_mut().1.refresh_traffic_keys().unwrap();
        }
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn t16_t17_every_byte_arrives_whatever_the_segments_stalls_and_half_closes(
        client in script(),
        backend in script(),
        habits in habits(),
        waits in prop_oneof![Just(Waits::Neither), Just(Waits::Client), Just(Waits::Backend)],
        kind in proptest::sample::select(&KINDS[..]),
        is_tls13 in any::<bool>(),
    ) {
        runtime().block_on(async {
            let session = Session::new(if is_tls13 { TLS13 } else { TLS12 }, kind).await;
            // TLS 1.2 has no KeyUpdate.
            let habits = Habits { rekey: habits.rekey.filter(|_| is_tls13), ..habits };
            play(session.map_client(|tls| Restless::new(tls, habits)), client, backend, waits).await;
        });
    }
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
