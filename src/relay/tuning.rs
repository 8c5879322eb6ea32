//! What TCP is to do for a session.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// When TCP finds out that a peer has vanished; by libpq's names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpTuning {
    /// `keepalives_idle`: how long nothing is received before the peer is probed. Whole seconds.
    pub idle: Duration,
    /// `keepalives_interval`: how long after an unanswered probe the next goes out. Whole seconds.
    pub interval: Duration,
    /// `keepalives_count`: after how many unanswered probes the connection is dead.
    pub count: u32,
    /// `tcp_user_timeout`: how long what was sent may go unacknowledged; the system's own measure, if
    /// none. On Linux only.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpTuning {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            count: 9,
            user_timeout: None,
        }
    }
}

impl TcpTuning {
    /// Makes a socket fit for a session: nothing small is held back for more (Nagle), and a peer that
    /// has vanished is found out, as PostgreSQL finds out its own (`tcp_keepalives_idle`).
    ///
    /// # Errors
    /// The socket is dead already.
    pub fn apply(self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(self.idle)
            .with_interval(self.interval)
            .with_retries(self.count);
        let socket = SockRef::from(socket);
        socket.set_tcp_keepalive(&keepalive)?;
        self.apply_user_timeout(&socket)
    }

    #[cfg(target_os = "linux")]
    fn apply_user_timeout(self, socket: &SockRef<'_>) -> io::Result<()> {
        match self.user_timeout {
            Some(timeout) => socket.set_tcp_user_timeout(Some(timeout)),
            None => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "other systems have no such option"
    )]
    const fn apply_user_timeout(self, _: &SockRef<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_tuned_as_it_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let stream = stream.unwrap();
        let tuning = TcpTuning {
            idle: Duration::from_secs(31),
            interval: Duration::from_secs(7),
            count: 3,
            user_timeout: Some(Duration::from_millis(45_500)),
        };
        tuning.apply(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), tuning.idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), tuning.interval);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), tuning.count);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), tuning.user_timeout);
    }
}
