//! TLS over TCP, both sides of it, for connections that mostly idle.
//!
//! A [`TlsStream`] keeps no I/O buffer while nothing is on its way: bytes are read, decrypted,
//! encrypted and written through buffers of the thread's, up to 64 KiB at a time. What can't go on
//! at once (plaintext that nobody has taken yet, records that the socket doesn't take, a record
//! that has come in part) stays with the stream, and is bounded by one such buffer each.

pub(crate) mod buffer;
mod hello;
mod stream;
mod unbuffered;

#[cfg(test)]
mod tests;

pub use hello::{ClientHello, Handshake, NoClientHello};
pub use stream::TlsStream;
pub use unbuffered::{ClientSide, ServerSide, Side};
