//! TLS over TCP, both sides of it, for connections that mostly idle.
//!
//! A [`TlsStream`] keeps no I/O buffer while nothing is on its way: bytes are read, decrypted,
//! encrypted and written through buffers of the thread's, up to 64 KiB at a time. What can't go on
//! at once (plaintext that nobody has taken yet, records that the socket doesn't take, a record
//! that has come in part) stays with the stream, and is bounded by one such buffer of 68 KiB each;
//! where little is left to wait, by its own size. A peer that takes nothing so keeps 144 KiB of a
//! session over TLS on both sides at most, 72 KiB for each way, and one that sends parts of records
//! 18 KiB a leg besides; of TLS's own messages, which may be longer than a record, 68 KiB.

pub(crate) mod buffer;
mod hello;
mod stream;
mod unbuffered;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use hello::{ClientHello, Handshake, NoClientHello};
pub use stream::TlsStream;
pub(crate) use unbuffered::Exhausted;
pub use unbuffered::{ClientSide, ServerSide, Side};
