//! How a [`TlsStream`] comes to be.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use tokio::net::TcpStream;

use super::{Incoming, TlsStream, violation};
use crate::tls::unbuffered::{ClientSide, ServerSide, Side};

/// A handshake that failed; if an alert was due, it is sent.
type Failure = (io::Error, TcpStream);

impl TlsStream<ServerSide> {
    /// Does the handshake with a client of which `received` has come already.
    pub(in crate::tls) fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        received: Vec<u8>,
    ) -> Result<Self, Failure> {
        match ServerSide::new(config) {
            Ok(side) => {
                let mut stream = Self::new(socket, side).taking_up(received);
                stream.transit.get_or_insert_default().wipes = true;
                Ok(stream)
            }
            Err(error) => Err((violation(error), socket)),
        }
    }

    /// Whether the client was asked for another ClientHello, which has not come yet.
    pub(in crate::tls) fn awaits_another_hello(&self) -> bool {
        let state = self.side.state();
        let transit = self.transit.as_ref();
        transit.is_none_or(|transit| matches!(transit.incoming, Incoming::Open))
            && state.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
            && state.negotiated_key_exchange_group().is_none()
    }

    /// Goes on with what has come by now, if anything has.
    pub(in crate::tls) async fn receive_ready(mut self) -> Result<Self, Failure> {
        match std::future::poll_fn(|cx| Poll::Ready(self.poll_receive(cx))).await {
            Poll::Ready(Err(error)) => Err((error, self.socket)),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(self),
        }
    }
}

impl TlsStream<ClientSide> {
    /// Does the handshake with a server, which has to prove that it is `name` as far as `config`
    /// demands it.
    ///
    /// # Errors
    /// The two sides could not agree, or the server left.
    pub async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let side = ClientSide::new(config, name).map_err(violation)?;
        // Nothing has come yet; what a client says first is made ready all the same.
        let stream = Self::new(socket, side).taking_up(Vec::new());
        stream.finish_handshake().await.map_err(|(error, _)| error)
    }
}

impl<S: Side> TlsStream<S> {
    /// Takes up what was received before this was there, and makes ready what is to be said to it.
    fn taking_up(mut self, mut received: Vec<u8>) -> Self {
        self.decrypt(&mut received);
        self
    }

    /// Sends as much of what is ready as the socket takes at once.
    pub(in crate::tls) async fn send_ready(&mut self) {
        std::future::poll_fn(|cx| {
            // An error will come again when the handshake is finished.
            drop(self.poll_send(cx));
            Poll::Ready(())
        })
        .await;
    }

    /// Goes on with the handshake to its end.
    pub(in crate::tls) async fn finish_handshake(mut self) -> Result<Self, Failure> {
        match std::future::poll_fn(|cx| self.poll_handshake(cx)).await {
            Ok(()) => Ok(self),
            Err(error) => Err((error, self.socket)),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let flushed = ready!(self.poll_send(cx));
            // Why the handshake failed matters more than that the alert could not be sent.
            self.failure()?;
            flushed?;
            if !self.side.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_closed() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }
}
