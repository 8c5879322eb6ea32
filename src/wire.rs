//! The protocol, sans-IO: bytes in, values out; no clock, no socket.
//!
//! Only what the gate must understand is understood: the packets before a session (startup),
//! the login's messages (authentication, key data, the first ReadyForQuery), and errors of our
//! own making. Everything else is relayed as it came, so raw bytes are kept beside what was read.
//!
//! Names are those of PostgreSQL's documentation, "Message Formats" (frontend/backend protocol).

pub mod backend;
pub mod boundary;
pub mod encode;
pub mod frontend;
pub mod message;
mod options;
pub mod query;
pub mod secret;
pub mod startup;

/// The peer sent what the protocol does not allow. The text is fit for the peer to read: of what
/// was received it shows lengths, codes and type bytes only (T34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    /// A startup packet's length is out of PostgreSQL's bounds.
    #[error("invalid length of startup packet: {length} bytes")]
    StartupLength {
        /// What the packet's length field says, in bytes, itself included.
        length: u32,
    },
    /// An SSLRequest or GSSENCRequest that is not 8 bytes long.
    #[error("an encryption request is 8 bytes long, not {length}")]
    EncryptionRequestLength {
        /// What the packet's length field says, in bytes, itself included.
        length: u32,
    },
    /// A CancelRequest whose key is not 4 to 256 bytes long.
    #[error("a CancelRequest is 16 to 268 bytes long, not {length}")]
    CancelRequestLength {
        /// What the packet's length field says, in bytes, itself included.
        length: u32,
    },
    /// A StartupMessage of another protocol than 3.
    #[error("unsupported frontend protocol {major}.{minor}: only protocol 3 is spoken here")]
    UnsupportedVersion {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
    /// A StartupMessage's parameters are not pairs of strings with a terminator as last byte.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    StartupLayout,
    /// `portcullis.project` in the StartupMessage's `options` is no project's name.
    #[error("portcullis.project in \"options\" is not a project's name")]
    ProjectOption,
    /// An encryption request repeated, or sent where encryption is already settled (T3).
    #[error("encryption was requested again after it had been settled")]
    RepeatedEncryptionRequest,
    /// A message whose length field is below 4 or above what is allowed at this point.
    #[error("a message of type {tag:?} has an invalid length: {length} bytes", tag = char::from(*.tag))]
    MessageLength {
        /// The message's type byte.
        tag: u8,
        /// What the message's length field says, in bytes, itself included.
        length: u32,
    },
    /// A message whose body is not what its type demands.
    #[error("a message of type {tag:?} is malformed", tag = char::from(*.tag))]
    Malformed {
        /// The message's type byte.
        tag: u8,
    },
    /// A message that has no place at this point of the login.
    #[error("a message of type {tag:?} is not expected here", tag = char::from(*.tag))]
    Unexpected {
        /// The message's type byte.
        tag: u8,
    },
    /// A client-first-message without a gs2-header (RFC 5802 section 7).
    #[error("malformed SCRAM message: no gs2-header")]
    Gs2Header,
}

/// Takes the string up to the next NUL, and the NUL; none if there is no NUL.
fn take_cstring<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let text = parts.next()?;
    *bytes = parts.next()?;
    Some(text)
}

/// Takes a big-endian `Int16`; none if fewer than two bytes are left.
fn take_i16(bytes: &mut &[u8]) -> Option<i16> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(i16::from_be_bytes(*head))
}

/// Takes a big-endian `Int32`; none if fewer than four bytes are left.
fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*head))
}
