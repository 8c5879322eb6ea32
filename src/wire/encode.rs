//! What the gate itself says. The only file that names pgwire, and only to encode.

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::ErrorResponse;
use pgwire::messages::startup::{Authentication, SslRequest};
use zeroize::Zeroizing;

use super::startup::CancelKey;

/// What a client reads when the gate ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FatalResponse<'a> {
    /// Five characters, by which client libraries decide what to do (T22).
    pub sqlstate: &'a str,
    /// What happened, in one line.
    pub message: &'a str,
    /// More about it.
    pub detail: Option<&'a str>,
    /// What to do about it.
    pub hint: Option<&'a str>,
}

/// An ErrorResponse of severity FATAL: fields S, V, C, M and, where given, D and H (T7).
#[must_use]
pub fn fatal(response: &FatalResponse<'_>) -> Bytes {
    let fields = [
        (b'S', Some("FATAL")),
        (b'V', Some("FATAL")),
        (b'C', Some(response.sqlstate)),
        (b'M', Some(response.message)),
        (b'D', response.detail),
        (b'H', response.hint),
    ];
    // A NUL would end the field early, and let what follows it pose as fields of its own.
    let clean = |(code, text): (u8, Option<&str>)| Some((code, text?.replace('\0', "")));
    encoded(&ErrorResponse::new(
        fields.into_iter().filter_map(clean).collect(),
    ))
}

/// AuthenticationSASL with these mechanisms, for taking one off the backend's list (T19).
#[must_use]
pub fn authentication_sasl(mechanisms: &[&str]) -> Bytes {
    encoded(&Authentication::SASL(
        mechanisms.iter().map(ToString::to_string).collect(),
    ))
}

/// AuthenticationSASLContinue with a mechanism's next message.
#[must_use]
pub fn authentication_sasl_continue(data: &[u8]) -> Bytes {
    encoded(&Authentication::SASLContinue(Bytes::copy_from_slice(data)))
}

/// AuthenticationSASLFinal with a mechanism's last message.
#[must_use]
pub fn authentication_sasl_final(data: &[u8]) -> Bytes {
    encoded(&Authentication::SASLFinal(Bytes::copy_from_slice(data)))
}

/// AuthenticationCleartextPassword, to be said inside TLS only.
#[must_use]
pub fn authentication_cleartext_password() -> Bytes {
    encoded(&Authentication::CleartextPassword)
}

/// SSLRequest, which asks the backend for TLS.
#[must_use]
pub const fn ssl_request() -> [u8; 8] {
    let [c0, c1, c2, c3] = SslRequest::BODY_MAGIC_NUMBER.to_be_bytes();
    [0, 0, 0, 8, c0, c1, c2, c3]
}

/// A CancelRequest; wiped when dropped, as pgwire's buffers would not be.
#[must_use]
pub fn cancel_request(process_id: i32, key: &CancelKey) -> Zeroizing<Vec<u8>> {
    const CANCEL_REQUEST_CODE: i32 = 80_877_102;
    let length = u32::try_from(key.as_bytes().len()).map_or(u32::MAX, |key| key.saturating_add(12));
    // The exact capacity, so that the vector never moves and leaves a copy behind.
    let mut packet = Zeroizing::new(Vec::with_capacity(length as usize));
    packet.extend_from_slice(&length.to_be_bytes());
    packet.extend_from_slice(&CANCEL_REQUEST_CODE.to_be_bytes());
    packet.extend_from_slice(&process_id.to_be_bytes());
    packet.extend_from_slice(key.as_bytes());
    packet
}

fn encoded(message: &impl Message) -> Bytes {
    let mut buffer = BytesMut::with_capacity(message.message_length().saturating_add(1));
    message
        .encode(&mut buffer)
        .expect("only keys and row counts can fail to encode");
    buffer.freeze()
}

#[cfg(test)]
mod tests;
