//! The accept loop, which nothing a client does may end (T30).

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::connection::{Gate, Incoming, serve};
use crate::id::ProjectName;

/// How long to leave the kernel alone after it could not give us a connection.
const BACKOFF: Duration = Duration::from_millis(20);

/// EMFILE and ENFILE: the process, or the system, has no descriptor left (accept(2)).
const FILES_ARE_SHORT: [Option<i32>; 2] = [Some(24), Some(23)];

/// How often the same trouble is worth a line.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Accepts for as long as the task lives.
pub(super) async fn accept_loop(
    listener: TcpListener,
    pinned: Option<ProjectName>,
    gate: Arc<Gate>,
) {
    let mut spare = Spare::new();
    let mut logged: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let incoming = Incoming {
                    socket,
                    client: peer.into(),
                    pinned: pinned.clone(),
                };
                tokio::spawn(serve(Arc::clone(&gate), incoming));
            }
            // The client left before its turn came.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let files_are_short = FILES_ARE_SHORT.contains(&error.raw_os_error());
                if logged.is_none_or(|at| at.elapsed() > LOG_EVERY) {
                    logged = Some(Instant::now());
                    let todo = if files_are_short {
                        "raise LimitNOFILE or ulimit -n"
                    } else {
                        ""
                    };
                    tracing::error!(%error, todo, "cannot accept connections");
                }
                // Those who wait are told at once, however many they are; the workers come first.
                if files_are_short && spare.shed(&listener).await {
                    tokio::task::yield_now().await;
                } else {
                    sleep(BACKOFF).await;
                }
            }
        }
    }
}

/// A descriptor kept for the moment when there is none left: with it a waiting connection can be
/// taken and closed, so that its client learns at once rather than by a timeout.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Closes on whoever waits first; false if nobody waits, or another had the descriptor first.
    async fn shed(&mut self, listener: &TcpListener) -> bool {
        self.0 = None;
        let waiting = tokio::time::timeout(BACKOFF, listener.accept()).await;
        let is_shed = matches!(waiting, Ok(Ok(_)));
        drop(waiting);
        self.0 = File::open("/dev/null").ok();
        is_shed
    }
}
