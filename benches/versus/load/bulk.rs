//! Bulk each way, by COPY.

use std::io;
use std::rc::Rc;

use super::{Dialer, Window, close, query};
use crate::job::{Dialect, Direction, Job, Reading, reading};
use crate::pipe::{BULK_CHUNK, Pipe, bulk_chunk, fault, message};

const CHUNK: u64 = BULK_CHUNK as u64;

/// A login, a query and `bytes` each way, compared byte by byte: a proxy that loses or changes
/// something is not measured.
pub(super) async fn check(dialer: &Dialer, bytes: u64) -> io::Result<Reading> {
    let mut session = dialer.login().await?;
    query(&mut session, "SELECT 1").await?;
    upload(&mut session, dialer, (bytes, true)).await?;
    if dialer.target.dialect == Dialect::Postgres {
        download_all(&mut session, dialer, bytes).await?;
        return close(session).await.map(|()| Reading::new());
    }
    super::ask(&mut session, &dialer.download(bytes)).await?;
    expect(&mut session, b'H').await?;
    let chunk = bulk_chunk();
    for _ in 0..bytes / CHUNK {
        if *session.exactly(BULK_CHUNK).await? != *chunk {
            return Err(fault("the download changed on its way"));
        }
    }
    expect(&mut session, b'c').await?;
    Ok(Reading::new())
}

pub(super) async fn run(
    job: &Job,
    dialer: &Rc<Dialer>,
    (direction, connections, bytes): (Direction, usize, u64),
) -> io::Result<Reading> {
    let share = bytes / connections as u64 / CHUNK * CHUNK;
    let mut sessions = Vec::new();
    for _ in 0..connections {
        sessions.push(dialer.login().await?);
    }
    let window = Window::open(job);
    let mut running = tokio::task::JoinSet::new();
    for session in sessions {
        running.spawn_local(one(session, Rc::clone(dialer), (direction, share)));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let spent = window.close();
    let moved = share as f64 * connections as f64;
    Ok(reading([
        ("mb_per_second", moved / 1e6 / spent.wall),
        ("cpu_s_per_gb", spent.proxy / (moved / 1e9)),
        ("proxy_percent", spent.proxy_percent()),
        ("load_percent", spent.load_percent()),
    ]))
}

async fn one(
    mut session: Pipe,
    dialer: Rc<Dialer>,
    (direction, bytes): (Direction, u64),
) -> io::Result<()> {
    match (direction, dialer.target.dialect) {
        (Direction::Upload, _) => {
            upload(&mut session, &dialer, (bytes, false)).await?;
            close(session).await
        }
        (Direction::Download, Dialect::Postgres) => {
            download_all(&mut session, &dialer, bytes).await?;
            close(session).await
        }
        (Direction::Download, Dialect::Fake) => {
            super::ask(&mut session, &dialer.download(bytes)).await?;
            let drained = session.drain().await?;
            if drained < bytes {
                return Err(fault(format!("{drained} of {bytes} bytes came")));
            }
            Ok(())
        }
    }
}

async fn upload(
    session: &mut Pipe,
    dialer: &Dialer,
    (bytes, check): (u64, bool),
) -> io::Result<()> {
    super::ask(session, &dialer.upload(bytes, check)).await?;
    expect(session, b'G').await?;
    let chunk = bulk_chunk();
    for _ in 0..bytes / CHUNK {
        session.send(&chunk).await?;
    }
    session.send(&message(b'c', &[])).await?;
    expect(session, b'C').await?;
    expect(session, b'Z').await
}

/// Decrypted and parsed, as a real PostgreSQL doesn't end the session behind a COPY.
async fn download_all(session: &mut Pipe, dialer: &Dialer, bytes: u64) -> io::Result<()> {
    super::ask(session, &dialer.download(bytes)).await?;
    expect(session, b'H').await?;
    session.skip(bytes).await?;
    expect(session, b'c').await?;
    expect(session, b'C').await?;
    expect(session, b'Z').await
}

async fn expect(session: &mut Pipe, wanted: u8) -> io::Result<()> {
    let (tag, body) = session.message().await?;
    if tag == wanted {
        Ok(())
    } else {
        Err(super::refused(tag, &body))
    }
}
