//! Dialling: from an address to a connection that is as secret as the project demands.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::endpoint::{Endpoint, Tls, Way};
use super::names::nowhere;
use super::{BackendConnection, BackendPeer, ClientIdentity, DialError, SslNegotiation};
use crate::address::{BackendAddr, Host};
use crate::relay::{BackendStream, TcpTuning};
use crate::tls::TlsStream;

/// SSLRequest: its length, 8, and its code, 80877103 (PostgreSQL, message formats).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What is agreed on by ALPN; required with direct TLS (T4).
const ALPN: &[u8] = b"postgresql";

/// See [`Endpoint::dial`], and [`Endpoint::dial_again`] for `peer`.
pub(super) async fn dial(
    endpoint: &Endpoint,
    within: Duration,
    identity: Option<&ClientIdentity>,
    peer: Option<&BackendPeer>,
) -> Result<BackendConnection, DialError> {
    let patience = Patience::of(endpoint, within);
    let (stream, peer) = match &endpoint.way {
        Way::Unix { socket } => connect_unix(socket, &patience).await?,
        Way::Tcp { host, port, tls } => {
            let (tcp, address) = match (peer, host) {
                (Some(BackendPeer::Tcp(known)), _) => connect_known(*known, &patience).await?,
                (Some(BackendPeer::Unix(_)) | None, Host::Address(ip)) => {
                    connect_known(SocketAddr::new(*ip, *port), &patience).await?
                }
                (Some(BackendPeer::Unix(_)) | None, Host::Name(name)) => {
                    let lookup = || lookup(name.as_str(), *port);
                    connect_name((host, endpoint), lookup, &patience).await?
                }
            };
            let peer = BackendPeer::Tcp(address);
            match tls {
                None => (BackendStream::Tcp(tcp), peer),
                Some(tls) => {
                    let tls = tls.showing(identity);
                    let secured = patience.limit("TLS", secure(tcp, &tls, &peer)).await??;
                    (secured, peer)
                }
            }
        }
    };
    Ok(BackendConnection {
        leaf_der: leaf_der(&stream),
        stream,
        peer,
    })
}

/// One deadline over everything.
struct Patience<'a> {
    addr: &'a BackendAddr,
    tcp: TcpTuning,
    within: Duration,
    deadline: Instant,
}

impl<'a> Patience<'a> {
    fn of(endpoint: &'a Endpoint, within: Duration) -> Self {
        Self {
            addr: endpoint.addr(),
            tcp: endpoint.tcp,
            within,
            deadline: Instant::now() + within,
        }
    }

    async fn limit<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, DialError> {
        self.limit_at(self.deadline, doing, work).await
    }

    async fn limit_at<T>(
        &self,
        deadline: Instant,
        doing: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, DialError> {
        let late = |_| DialError::Timeout {
            addr: self.addr.clone(),
            doing,
            within: self.within,
        };
        timeout_at(deadline, work).await.map_err(late)
    }

    /// The end of a fair share of the time that is left, when so many addresses are left to try.
    fn share(&self, left: usize) -> Instant {
        let now = Instant::now();
        let divisor = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        now + self.deadline.saturating_duration_since(now) / divisor
    }
}

async fn connect_unix(
    socket: &Path,
    patience: &Patience<'_>,
) -> Result<(BackendStream, BackendPeer), DialError> {
    let peer = BackendPeer::Unix(socket.to_owned());
    match patience
        .limit("connecting", UnixStream::connect(socket))
        .await?
    {
        Ok(stream) => Ok((BackendStream::Unix(stream), peer)),
        Err(source) => Err(DialError::Unreachable { peer, source }),
    }
}

/// Connects to a name. What it resolved to a while ago is asked for once more if nothing can be
/// reached there.
async fn connect_name<F>(
    (host, endpoint): (&Host, &Endpoint),
    lookup: impl Fn() -> F,
    patience: &Patience<'_>,
) -> Result<(TcpStream, SocketAddr), DialError>
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let unresolved = |source| DialError::Resolve {
        host: host.clone(),
        source,
    };
    let find = || {
        // An old answer, if it comes to that, must leave the time to use it.
        let half = patience.share(2).saturating_duration_since(Instant::now());
        let found = endpoint.names.find(endpoint.caching, half, lookup());
        patience.limit("resolving", found)
    };
    let found = find().await?.map_err(unresolved)?;
    let nowhere = unresolved(nowhere());
    let failure = match connect_any(&found.addresses, nowhere, patience).await {
        Err(failure) if found.is_kept => failure,
        ended => return ended,
    };
    endpoint.names.doubt(&found).await;
    match find().await {
        Ok(Ok(again)) => connect_any(&again.without(&found), failure, patience).await,
        Ok(Err(_)) | Err(_) => Err(failure),
    }
}

async fn connect_known(
    address: SocketAddr,
    patience: &Patience<'_>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let peer = BackendPeer::Tcp(address);
    let unreachable = |source| DialError::Unreachable { peer, source };
    let stream = patience
        .limit("connecting", connect(address, patience.tcp))
        .await?
        .map_err(unreachable)?;
    Ok((stream, address))
}

/// Tries the addresses in turn. When all fail, the last failure stands for all.
async fn connect_any(
    addresses: &[SocketAddr],
    nowhere: DialError,
    patience: &Patience<'_>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut failure = nowhere;
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let attempt = connect(*address, patience.tcp);
        let attempt = patience.limit_at(patience.share(left), "connecting", attempt);
        match attempt.await {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(source)) => {
                failure = DialError::Unreachable {
                    peer: BackendPeer::Tcp(*address),
                    source,
                };
            }
            Err(late) => failure = late,
        }
    }
    Err(failure)
}

async fn lookup(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((name, port)).await?.collect())
}

async fn connect(address: SocketAddr, tcp: TcpTuning) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tcp.apply(&stream)?;
    Ok(stream)
}

impl Tls {
    /// The same, with this identity to show if there is one.
    fn showing(&self, identity: Option<&ClientIdentity>) -> Self {
        let config = identity.map(|identity| identity.shown_by(&self.config));
        Self {
            config: config.unwrap_or_else(|| Arc::clone(&self.config)),
            ..self.clone()
        }
    }
}

async fn secure(
    mut tcp: TcpStream,
    tls: &Tls,
    peer: &BackendPeer,
) -> Result<BackendStream, DialError> {
    if tls.negotiation == SslNegotiation::Direct {
        return shake_hands(tcp, tls, peer).await;
    }
    let ended = |source| DialError::Ended {
        peer: peer.clone(),
        instead_of: "SSLRequest",
        source,
    };
    tcp.write_all(&SSL_REQUEST).await.map_err(ended)?;
    // Exactly one byte, straight from the socket: what may come behind it stays there (T1).
    match tcp.read_u8().await.map_err(ended)? {
        b'S' if has_more(&tcp) => Err(DialError::BytesBeforeTls { peer: peer.clone() }),
        b'S' => shake_hands(tcp, tls, peer).await,
        b'N' => Err(DialError::TlsRefused { peer: peer.clone() }),
        // Its text is anybody's, so it is not even read (T18).
        b'E' => Err(DialError::Errored { peer: peer.clone() }),
        answer => Err(DialError::NotPostgres {
            peer: peer.clone(),
            answer,
        }),
    }
}

/// Whether a byte lies ready. One that arrives later is read by TLS, and never as plaintext.
fn has_more(tcp: &TcpStream) -> bool {
    let peeked = SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_ok_and(|length| length > 0)
}

async fn shake_hands(
    tcp: TcpStream,
    tls: &Tls,
    peer: &BackendPeer,
) -> Result<BackendStream, DialError> {
    let connected = TlsStream::connect(tcp, Arc::clone(&tls.config), tls.name.clone()).await;
    let stream = connected.map_err(|source| DialError::Tls {
        peer: peer.clone(),
        source,
    })?;
    // Somebody else's TLS may be what listens there; PostgreSQL's own is sure to name itself.
    if tls.negotiation == SslNegotiation::Direct && stream.state().alpn_protocol() != Some(ALPN) {
        return Err(DialError::NoAlpn { peer: peer.clone() });
    }
    Ok(BackendStream::Tls(Box::new(stream)))
}

fn leaf_der(stream: &BackendStream) -> Option<CertificateDer<'static>> {
    match stream {
        BackendStream::Tcp(_) | BackendStream::Unix(_) => None,
        BackendStream::Tls(stream) => stream.state().peer_certificates()?.first().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::backend::{BackendTls, Dialling, NameCaching};

    fn patience(addr: &BackendAddr, within: Duration) -> Patience<'_> {
        Patience {
            addr,
            tcp: TcpTuning::default(),
            within,
            deadline: Instant::now() + within,
        }
    }

    fn nowhere() -> DialError {
        DialError::Resolve {
            host: "db.internal".parse().unwrap(),
            source: io::Error::other("the name has no address"),
        }
    }

    /// An address of this machine at which nobody listens.
    fn refusing() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    }

    #[tokio::test]
    async fn all_addresses_of_a_name_are_tried_in_turn() {
        let addr = "postgres://db.internal".parse().unwrap();
        let patience = patience(&addr, Duration::from_secs(60));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let (refusing, also_refusing) = (refusing(), refusing());

        let addresses = [refusing, also_refusing, listening];
        let (_, reached) = connect_any(&addresses, nowhere(), &patience).await.unwrap();
        assert_eq!(reached, listening);

        let error = connect_any(&addresses[..2], nowhere(), &patience)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot connect to {also_refusing}"))
        );
        let error = connect_any(&[], nowhere(), &patience).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resolve db.internal: the name has no address"
        );
    }

    #[tokio::test]
    async fn a_login_goes_on_to_what_the_name_resolves_to_by_now_when_nothing_known_answers() {
        let addr: BackendAddr = "postgres://db.internal".parse().unwrap();
        let patience = patience(&addr, Duration::from_secs(60));
        let dialling = Dialling {
            tls: BackendTls::disable(),
            connect_timeout: Duration::from_secs(60),
            names: NameCaching::default(),
            tcp: TcpTuning::default(),
        };
        let endpoint = Endpoint::new(addr.clone(), &dialling).unwrap();
        let host: Host = "db.internal".parse().unwrap();
        let connect = async |address: SocketAddr| {
            let lookup = || async move { Ok(vec![address]) };
            let connected = connect_name((&host, &endpoint), lookup, &patience).await;
            connected.map(|(_, reached)| reached)
        };
        let old = TcpListener::bind("127.0.0.1:0").unwrap();
        let new = TcpListener::bind("127.0.0.1:0").unwrap();
        let [old_address, new_address] = [&old, &new].map(|it| it.local_addr().unwrap());

        assert_eq!(connect(old_address).await.unwrap(), old_address);
        // The record has changed, and nobody has to know yet.
        assert_eq!(connect(new_address).await.unwrap(), old_address);
        drop(old);
        assert_eq!(connect(new_address).await.unwrap(), new_address);
        drop(new);
        let error = connect(new_address).await.unwrap_err().to_string();
        let expected = format!("cannot connect to {new_address}");
        assert!(error.starts_with(&expected), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_never_answers_leaves_time_for_the_next() {
        let addr = "postgres://db.internal".parse().unwrap();
        let patience = patience(&addr, Duration::from_secs(30));
        let begin = Instant::now();
        assert_eq!(patience.share(3), begin + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(patience.share(2), begin + Duration::from_secs(20));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(patience.share(1), patience.deadline);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(patience.share(1), Instant::now());
    }
}
