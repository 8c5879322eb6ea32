//! The floor: a raw TCP copy with nothing in it that a proxy could leave out.
//!
//! One thread, buffers of 64 KiB held only while bytes are in them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const BUFFER: usize = 64 * 1024;

type Pool = Rc<RefCell<Vec<Vec<u8>>>>;

/// Copies until the process is killed; its first line of output is the port.
pub(crate) async fn serve(backend: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    let pool = Pool::default();
    LocalSet::new()
        .run_until(async move {
            loop {
                let (client, _) = listener.accept().await?;
                drop(tokio::task::spawn_local(session(
                    client,
                    backend,
                    Rc::clone(&pool),
                )));
            }
        })
        .await
}

async fn session(mut client: TcpStream, backend: SocketAddr, pool: Pool) -> io::Result<()> {
    let mut server = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        carry(from_client, to_server, &pool),
        carry(from_server, to_client, &pool)
    )?;
    Ok(())
}

async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, pool: &Pool) -> io::Result<()> {
    loop {
        let (buffer, count) = poll_fn(|cx| poll_some(cx, &mut from, pool)).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .await?;
        pool.borrow_mut().push(buffer);
    }
}

/// Reads what there is. After less than a buffer's worth the socket is known to be empty and is not asked again.
fn poll_some(
    cx: &mut Context<'_>,
    from: &mut ReadHalf<'_>,
    pool: &Pool,
) -> Poll<io::Result<(Vec<u8>, usize)>> {
    let buffer = pool.borrow_mut().pop();
    let mut buffer = buffer.unwrap_or_else(|| vec![0; BUFFER]);
    let mut room = ReadBuf::new(&mut buffer);
    let polled = Pin::new(from).poll_read(cx, &mut room);
    let count = room.filled().len();
    match polled {
        Poll::Ready(Ok(())) => Poll::Ready(Ok((buffer, count))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => {
            pool.borrow_mut().push(buffer);
            Poll::Pending
        }
    }
}
