//! The floor: a raw TCP copy with nothing in it that a proxy could leave out.
//!
//! One thread, buffers of 64 KiB held only while bytes are in them.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::rc::Rc;

use socket2::SockRef;
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

async fn session(client: TcpStream, backend: SocketAddr, pool: Pool) -> io::Result<()> {
    let server = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::try_join!(
        carry(&client, &server, &pool),
        carry(&server, &client, &pool)
    )?;
    Ok(())
}

async fn carry(from: &TcpStream, to: &TcpStream, pool: &Pool) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = pool.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER]);
        let read = from.try_read(&mut buffer);
        if let Ok(count) = read {
            write_all(to, buffer.get(..count).unwrap_or_default()).await?;
        }
        pool.borrow_mut().push(buffer);
        match read {
            Ok(0) => return SockRef::from(to).shutdown(Shutdown::Write),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
