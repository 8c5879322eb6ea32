//! What a session costs the others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use rustls::{ClientConnection, StreamOwned};

use super::fixture::{Backend, Kind, Legs, TLS13, client_leg, configs, let_others_run, name};
use crate::relay::way::yield_turn;
use crate::relay::{BackendStream, ClientStream, Control, relay};

/// A download longer than this has not let the dialogue beside it get on.
const ENOUGH: u64 = 4 << 30;

#[test]
fn a_bulk_download_and_a_dialogue_on_one_thread_both_get_on() {
    let talked = Arc::new(AtomicBool::new(false));
    let bulk = Arc::new(Control::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (before, after) = runtime.block_on(async {
        let (client, backend, ends) = legs(download, {
            let talked = Arc::clone(&talked);
            move |socket| send_until(socket, &talked)
        })
        .await;
        let bulk_relay = tokio::spawn(relay(client, backend, Arc::clone(&bulk)));
        while bulk.backend_to_client() < 1 << 20 {
            tokio::task::yield_now().await;
        }
        let (client, backend, talkers) = legs(talk, echo).await;
        let before = bulk.backend_to_client();
        let closed = relay(client, backend, Arc::default()).await;
        assert_eq!(closed.client_to_backend, 200 * 16);
        let after = bulk.backend_to_client();
        talked.store(true, Ordering::Relaxed);
        bulk_relay.await.unwrap();
        ends.into_iter()
            .chain(talkers)
            .for_each(|end| end.join().unwrap());
        (before, after)
    });
    assert!(after < ENOUGH, "the dialogue waited for the whole download");
    assert!(after > before, "the download stood still");
}

#[tokio::test]
async fn a_socket_that_becomes_ready_is_heard_at_the_next_turn_of_a_bulk_copy() {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let turns = Arc::new(AtomicU64::new(0));
    let bulk = tokio::spawn({
        let turns = Arc::clone(&turns);
        std::future::poll_fn(move |cx| -> Poll<()> {
            turns.fetch_add(1, Ordering::Relaxed);
            yield_turn(cx)
        })
    });
    let_others_run().await;
    let before = turns.load(Ordering::Relaxed);
    far.try_write(b"!").unwrap();
    near.readable().await.unwrap();
    let waited = turns.load(Ordering::Relaxed) - before;
    bulk.abort();
    assert!(waited <= 4, "{waited} turns");
}

#[tokio::test]
async fn a_turn_moves_two_buffers_and_a_rest_at_most() {
    let Legs {
        client: _client,
        client_leg,
        backend_leg,
        backend,
    } = Legs::with_socket_buffers(TLS13, Kind::Tcp, Some(1 << 20)).await;
    let Backend::Tcp(backend) = backend else {
        panic!("not over TCP")
    };
    while backend.try_write(&[7; 65_536]).is_ok() {}
    let_others_run().await;
    let control = Arc::new(Control::default());
    let mut session = relay(client_leg, backend_leg, Arc::clone(&control));
    let mut moved = Vec::new();
    for _ in 0..3 {
        let before = control.backend_to_client();
        let poll = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut session).poll(cx))).await;
        assert!(poll.is_pending());
        moved.push(control.backend_to_client() - before);
    }
    assert!(
        moved.iter().all(|moved| *moved < 3 * 64 * 1024),
        "{moved:?}"
    );
    // More than that was there to be moved.
    assert!(moved.iter().sum::<u64>() > 5 * 32 * 1024, "{moved:?}");
}

#[tokio::test]
async fn a_sessions_future_is_its_two_legs_and_little_else() {
    // The TLS state of a client leg alone takes 1.2 KB; the backend's is boxed. What an idle
    // session costs is this, the TLS state's own heap, and two sockets' registrations.
    let Legs {
        client_leg,
        backend_leg,
        ..
    } = Legs::new(TLS13, Kind::Tcp).await;
    let session = relay(client_leg, backend_leg, Arc::default());
    let legs = size_of::<ClientStream>() + size_of::<BackendStream>();
    assert!(
        size_of_val(&session) <= legs + 96,
        "{} beside {legs}",
        size_of_val(&session)
    );
    // jemalloc's next size is 1,536.
    assert!(size_of_val(&session) <= 1_280, "{}", size_of_val(&session));
    assert!(size_of::<Control>() <= 64);
}

/// A session's legs in this runtime, their other ends with threads of their own.
async fn legs(
    client: impl FnOnce(StreamOwned<ClientConnection, TcpStream>) + Send + 'static,
    backend: impl FnOnce(TcpStream) + Send + 'static,
) -> (ClientStream, BackendStream, [JoinHandle<()>; 2]) {
    let (server_config, client_config) = configs(TLS13);
    let (near, far) = tcp_pair();
    let connection = ClientConnection::new(client_config, name()).unwrap();
    let client = thread::spawn(move || client(StreamOwned::new(connection, far)));
    let near = tokio::net::TcpStream::from_std(near).unwrap();
    let client_leg = client_leg(near, server_config).await;
    let (near, far) = tcp_pair();
    let backend = thread::spawn(move || backend(far));
    let backend_leg = BackendStream::Tcp(tokio::net::TcpStream::from_std(near).unwrap());
    (client_leg, backend_leg, [client, backend])
}

/// The near end is for a runtime, the far end for a thread.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (near, far)
}

fn download(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
}

fn send_until(mut socket: TcpStream, told: &AtomicBool) {
    let mut sent = 0;
    while sent < ENOUGH && !told.load(Ordering::Relaxed) {
        socket.write_all(&[7; 65_536]).unwrap();
        sent += 65_536;
    }
}

fn talk(mut stream: StreamOwned<ClientConnection, TcpStream>) {
    for round in 0..200_u8 {
        stream.write_all(&[round; 16]).unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [round; 16]);
    }
    stream.conn.send_close_notify();
    stream.flush().unwrap();
}

fn echo(mut socket: TcpStream) {
    let mut question = [0; 16];
    while socket.read_exact(&mut question).is_ok() {
        socket.write_all(&question).unwrap();
    }
    socket.shutdown(Shutdown::Both).unwrap();
}
