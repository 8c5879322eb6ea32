//! Whatever the segments, stalls, keys and ends of a session are, each side gets what the other one
//! sent: all of it, or of a session that was broken off a beginning (T15, T16, T17).

mod end;

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use end::{End, Restless as _};

use super::fixture::{
    Backend, Client, KINDS, Kind, Legs, Session, TLS12, TLS13, configs, cut, pattern,
};
use crate::relay::{Closed, ClosedBy, Why};

/// What one end does: sends `length` bytes in writes of these sizes and reads in those, with so
/// many turns lost in between, and ends its side, at once or when it has seen the other's end. Its
/// TLS renews its keys at every so many writes, and takes so many bytes at most to the socket.
#[derive(Debug, Clone)]
struct Script {
    length: usize,
    writes: Vec<usize>,
    reads: Vec<usize>,
    stalls: Vec<usize>,
    rekey: Option<usize>,
    dribble: Option<usize>,
    is_tls13: bool,
}

fn script() -> impl Strategy<Value = Script> {
    let size = || prop_oneof![1_usize..64, 64_usize..9_000, 9_000_usize..70_000];
    let sizes = move || proptest::collection::vec(size(), 1..8);
    let habits = (
        proptest::option::of(1_usize..6),
        proptest::option::of(prop_oneof![1_usize..40, 40_usize..5_000]),
        any::<bool>(),
    );
    (
        prop_oneof![Just(0), 1_usize..100, 1_usize..600_000],
        sizes(),
        sizes(),
        proptest::collection::vec(prop_oneof![3 => Just(0_usize), 1 => 1_usize..40], 1..8),
        habits,
    )
        .prop_map(|(length, writes, reads, stalls, habits)| {
            let (rekey, dribble, is_tls13) = habits;
            Script {
                length,
                writes,
                reads,
                stalls,
                // TLS 1.2 has no KeyUpdate.
                rekey: rekey.filter(|_| is_tls13),
                dribble,
                is_tls13,
            }
        })
}

/// How a session ends: by both its sides, of which one may wait for the other; or after so many
/// turns by one who breaks it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Orderly(Waits),
    ClientResets(usize),
    BackendResets(usize),
    Cut(usize),
}

/// Which end waits for the other one's end before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Neither,
    Client,
    Backend,
}

#[derive(Debug, Clone)]
struct Case {
    client: Script,
    backend: Script,
    kind: Kind,
    buffers: Option<usize>,
    ending: Ending,
}

fn case() -> impl Strategy<Value = Case> {
    let waits = prop_oneof![
        Just(Waits::Neither),
        Just(Waits::Client),
        Just(Waits::Backend)
    ];
    let ending = prop_oneof![
        3 => waits.prop_map(Ending::Orderly),
        1 => (0_usize..2_000).prop_map(Ending::ClientResets),
        1 => (0_usize..2_000).prop_map(Ending::BackendResets),
        1 => (0_usize..2_000).prop_map(Ending::Cut),
    ];
    let buffers = prop_oneof![Just(None), Just(Some(16 * 1024)), Just(Some(64 * 1024))];
    let kind = proptest::sample::select(&KINDS[..]);
    (script(), script(), kind, buffers, ending).prop_map(
        |(client, backend, kind, buffers, ending)| Case {
            client,
            backend,
            kind,
            buffers,
            ending,
        },
    )
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

async fn send<W: AsyncWrite + Unpin>(end: &mut W, script: &Script, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    let mut stalls = script.stalls.iter().cycle();
    for size in sizes(&script.writes) {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.min(rest.len()));
        end.write_all(now).await?;
        end.flush().await?;
        stall(*stalls.next().unwrap()).await;
        rest = later;
    }
    Ok(())
}

async fn receive<R: AsyncRead + Unpin>(
    end: &mut R,
    script: &Script,
    received: &mut Vec<u8>,
) -> io::Result<()> {
    let mut stalls = script.stalls.iter().rev().cycle();
    for size in sizes(&script.reads) {
        let mut chunk = vec![0; size];
        let count = end.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        received.extend_from_slice(&chunk[..count]);
        stall(*stalls.next().unwrap()).await;
    }
    Ok(())
}

/// What arrived.
#[derive(Default)]
struct Got {
    up: Vec<u8>,
    down: Vec<u8>,
}

/// One end's sending, and its end, which may be due only after the other one's.
async fn say<W: AsyncWrite + Unpin>(
    end: &mut W,
    (script, bytes): (&Script, &[u8]),
    until: Option<oneshot::Receiver<()>>,
) -> io::Result<()> {
    send(end, script, bytes).await?;
    if let Some(until) = until {
        until.await.map_err(|_| ErrorKind::BrokenPipe)?;
    }
    end.shutdown().await
}

/// Plays both scripts to their ends.
async fn exchange(
    (client, backend): (&mut End<Client>, &mut End<Backend>),
    case: &Case,
    got: &mut Got,
) -> io::Result<()> {
    let (up, down) = (
        pattern(1, case.client.length),
        pattern(2, case.backend.length),
    );
    let (mut client_in, mut client_out) = split(client);
    let (mut backend_in, mut backend_out) = split(backend);
    let (client_done, client_saw_end) = oneshot::channel::<()>();
    let (backend_done, backend_saw_end) = oneshot::channel::<()>();
    let client_waits = (case.ending == Ending::Orderly(Waits::Client)).then_some(client_saw_end);
    let backend_waits = (case.ending == Ending::Orderly(Waits::Backend)).then_some(backend_saw_end);
    let ended = tokio::join!(
        say(&mut client_out, (&case.client, &up), client_waits),
        say(&mut backend_out, (&case.backend, &down), backend_waits),
        async {
            receive(&mut client_in, &case.client, &mut got.down).await?;
            client_done.send(()).unwrap_or_default();
            Ok(())
        },
        async {
            receive(&mut backend_in, &case.backend, &mut got.up).await?;
            backend_done.send(()).unwrap_or_default();
            Ok(())
        },
    );
    ended.0.and(ended.1).and(ended.2).and(ended.3)
}

/// Plays a case through a relay and checks every byte.
async fn play(case: &Case, waited: &Arc<AtomicUsize>) {
    let version = |script: &Script| if script.is_tls13 { TLS13 } else { TLS12 };
    let legs = [&case.client, &case.backend].map(|script| configs(version(script)));
    let legs = Legs::speaking(legs, case.kind, case.buffers).await;
    let Session {
        client,
        backend,
        control,
        closed,
    } = legs.relay();
    let mut client = End::new(client, &case.client, waited);
    let mut backend = End::new(backend, &case.backend, waited);
    let mut got = Got::default();
    match case.ending {
        Ending::Orderly(waits) => {
            let ends = (&mut client, &mut backend);
            exchange(ends, case, &mut got).await.unwrap();
            check_whole(&got, case, closed.await.unwrap(), waits);
        }
        Ending::ClientResets(turns) => {
            let tap = client.stream.tap().unwrap();
            tap.tcp.set_zero_linger().unwrap();
            break_off((&mut client, &mut backend), case, &mut got, turns).await;
            drop(client);
            // How it ends is the kind's; what came before is what was sent.
            drop(receive(&mut backend, &case.backend, &mut got.up).await);
            drop(backend);
            closed.await.unwrap();
        }
        Ending::BackendResets(turns) => {
            backend.stream.reset_on_close();
            break_off((&mut client, &mut backend), case, &mut got, turns).await;
            drop(backend);
            let ended = receive(&mut client, &case.client, &mut got.down).await;
            // Nobody takes a part for the whole. A Unix socket has no RST.
            let is_whole = got.down.len() == case.backend.length;
            assert!(ended.is_err() || is_whole || case.kind == Kind::Unix);
            drop(client);
            closed.await.unwrap();
        }
        Ending::Cut(turns) => {
            let cutting = async {
                stall(turns).await;
                control.cut(cut());
            };
            let ends = (&mut client, &mut backend);
            // It may come when the session ends anyway.
            drop(tokio::join!(exchange(ends, case, &mut got), cutting));
            drop((client, backend));
            closed.await.unwrap();
            if got.down.ends_with(&cut().message) {
                // Nothing of the backend's was on its way.
                got.down.truncate(got.down.len() - cut().message.len());
            }
        }
    }
    assert!(pattern(1, case.client.length).starts_with(&got.up));
    assert!(pattern(2, case.backend.length).starts_with(&got.down));
}

/// Plays for so many turns, or to the end.
async fn break_off(
    ends: (&mut End<Client>, &mut End<Backend>),
    case: &Case,
    got: &mut Got,
    turns: usize,
) {
    tokio::select! {
        ended = exchange(ends, case, got) => ended.unwrap(),
        () = stall(turns) => {}
    }
}

fn check_whole(got: &Got, case: &Case, closed: Closed, waits: Waits) {
    assert_eq!(got.up.len(), case.client.length);
    assert_eq!(got.down.len(), case.backend.length);
    assert_eq!(closed.client_to_backend, case.client.length as u64);
    assert_eq!(closed.backend_to_client, case.backend.length as u64);
    assert_eq!(closed.why, Why::Ended);
    match waits {
        Waits::Neither => assert_ne!(closed.by, ClosedBy::Gate),
        Waits::Client => assert_eq!(closed.by, ClosedBy::Backend),
        Waits::Backend => assert_eq!(closed.by, ClosedBy::Client),
    }
}

#[test]
fn t16_t17_every_byte_arrives_whatever_the_segments_stalls_keys_and_ends() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 128,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let held_up = AtomicUsize::new(0);
    let tried = runner.run(&case(), |case| {
        let waited = Arc::default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(play(&case, &waited));
        if waited.load(Ordering::Relaxed) > 0 {
            held_up.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
    // Without a full socket on the way nothing of this would be tested.
    let held_up = held_up.into_inner();
    assert!(held_up > 10, "writes had to wait in {held_up} sessions");
}
