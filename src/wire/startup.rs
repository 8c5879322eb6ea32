//! The packets that come before a session: SSLRequest, GSSENCRequest, CancelRequest and
//! StartupMessage. They have no type byte; their first eight bytes tell them apart.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use aws_lc_rs::constant_time;
use bytes::{BufMut, Bytes, BytesMut};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{ProtocolViolation, encode, options, take_cstring};
use crate::id::ProjectName;

/// PostgreSQL's bound for a startup packet, in bytes, not counting the length field itself.
pub const MAX_STARTUP_PACKET_LENGTH: u32 = 10_000;

const HEADER_LENGTH: u32 = 8;
const CANCEL_REQUEST_CODE: u32 = 80_877_102;
const SSL_REQUEST_CODE: u32 = 80_877_103;
const GSSENC_REQUEST_CODE: u32 = 80_877_104;
const PROJECT_SETTING: &str = "portcullis.project";

/// The first eight bytes of a startup packet, found good: its length is within bounds for its
/// kind, so that what is still to be read can be allocated.
#[derive(Debug, Clone, Copy)]
pub struct StartupHeader {
    raw: [u8; 8],
    length: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    SslRequest,
    GssEncRequest,
    CancelRequest,
    StartupMessage(ProtocolVersion),
}

impl StartupHeader {
    /// Reads a packet's length and kind.
    ///
    /// # Errors
    /// When the length is impossible for the kind, or the kind is no packet of protocol 3.
    pub fn parse(raw: [u8; 8]) -> Result<Self, ProtocolViolation> {
        let [l0, l1, l2, l3, c0, c1, c2, c3] = raw;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        // The length field doesn't count against PostgreSQL's bound.
        if !(HEADER_LENGTH..=MAX_STARTUP_PACKET_LENGTH.saturating_add(4)).contains(&length) {
            return Err(ProtocolViolation::StartupLength { length });
        }
        let kind = match u32::from_be_bytes([c0, c1, c2, c3]) {
            SSL_REQUEST_CODE => Kind::SslRequest,
            GSSENC_REQUEST_CODE => Kind::GssEncRequest,
            CANCEL_REQUEST_CODE => Kind::CancelRequest,
            _ => Kind::StartupMessage(ProtocolVersion {
                major: u16::from_be_bytes([c0, c1]),
                minor: u16::from_be_bytes([c2, c3]),
            }),
        };
        kind.check(length)?;
        Ok(Self { raw, length, kind })
    }

    /// How many bytes of the packet are still to be read: at most
    /// [`MAX_STARTUP_PACKET_LENGTH`] less four.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.length.saturating_sub(HEADER_LENGTH) as usize
    }

    /// Reads the packet, `rest` being the bytes that [`Self::remaining`] asked for.
    ///
    /// # Errors
    /// When the packet's content breaks the protocol, or `rest` is of another length.
    pub fn finish(self, rest: &[u8]) -> Result<StartupPacket, ProtocolViolation> {
        if rest.len() != self.remaining() {
            return Err(ProtocolViolation::StartupLength {
                length: self.length,
            });
        }
        match self.kind {
            Kind::SslRequest => Ok(StartupPacket::SslRequest),
            Kind::GssEncRequest => Ok(StartupPacket::GssEncRequest),
            Kind::CancelRequest => rest
                .split_first_chunk()
                .and_then(|(process_id, key)| {
                    let process_id = i32::from_be_bytes(*process_id);
                    Some(CancelRequest {
                        process_id,
                        key: CancelKey::new(key)?,
                    })
                })
                .map(StartupPacket::Cancel)
                .ok_or(ProtocolViolation::CancelRequestLength {
                    length: self.length,
                }),
            Kind::StartupMessage(version) => {
                check_layout(rest)?;
                let mut raw = BytesMut::with_capacity(self.length as usize);
                raw.put_slice(&self.raw);
                raw.put_slice(rest);
                Ok(StartupPacket::Startup(StartupMessage {
                    raw: raw.freeze(),
                    version,
                }))
            }
        }
    }
}

impl Kind {
    const fn check(self, length: u32) -> Result<(), ProtocolViolation> {
        match self {
            Self::SslRequest | Self::GssEncRequest if length != HEADER_LENGTH => {
                Err(ProtocolViolation::EncryptionRequestLength { length })
            }
            Self::CancelRequest if length < 16 || length > 268 => {
                Err(ProtocolViolation::CancelRequestLength { length })
            }
            Self::StartupMessage(ProtocolVersion { major, minor }) if major != 3 => {
                Err(ProtocolViolation::UnsupportedVersion { major, minor })
            }
            Self::SslRequest
            | Self::GssEncRequest
            | Self::CancelRequest
            | Self::StartupMessage(_) => Ok(()),
        }
    }
}

/// Pairs of non-empty name and value, then one NUL as the last byte (`ProcessStartupPacket`).
fn check_layout(mut rest: &[u8]) -> Result<(), ProtocolViolation> {
    loop {
        let name = take_cstring(&mut rest).ok_or(ProtocolViolation::StartupLayout)?;
        match (name.is_empty(), rest.is_empty()) {
            (true, true) => return Ok(()),
            (true, false) => return Err(ProtocolViolation::StartupLayout),
            (false, _) => take_cstring(&mut rest).ok_or(ProtocolViolation::StartupLayout)?,
        };
    }
}

/// A packet that comes before a session.
#[derive(Debug, Clone)]
pub enum StartupPacket {
    /// Asks whether TLS is spoken.
    SslRequest,
    /// Asks whether GSSAPI encryption is spoken.
    GssEncRequest,
    /// Asks to cancel what another session does.
    Cancel(CancelRequest),
    /// Opens a session.
    Startup(StartupMessage),
}

/// A protocol version, such as 3.0 or 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// The major version.
    pub major: u16,
    /// The minor version; unknown ones are the backend's to negotiate (T11).
    pub minor: u16,
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A StartupMessage of protocol 3, whose layout was found good. Names and values are bytes: the
/// database's encoding is not known yet (T11).
#[derive(Clone)]
pub struct StartupMessage {
    raw: Bytes,
    version: ProtocolVersion,
}

impl StartupMessage {
    /// The whole packet as it came, to be forwarded.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The version that the client asked for.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Names and values in the order in which they came, duplicates included.
    pub fn parameters(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.raw.get(HEADER_LENGTH as usize..).unwrap_or_default();
        std::iter::from_fn(move || {
            let name = take_cstring(&mut rest).filter(|name| !name.is_empty())?;
            Some((name, take_cstring(&mut rest)?))
        })
    }

    /// A parameter's value; of duplicates the last, as PostgreSQL takes it. Names are exact.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters()
            .filter(|(found, _)| *found == name.as_bytes())
            .last()
            .map(|(_, value)| value)
    }

    /// The user; none if missing or empty, which the backend will refuse.
    #[must_use]
    pub fn user(&self) -> Option<&[u8]> {
        self.parameter("user").filter(|user| !user.is_empty())
    }

    /// The database, which is named like the user unless the client says otherwise.
    #[must_use]
    pub fn database(&self) -> Option<&[u8]> {
        self.parameter("database")
            .filter(|name| !name.is_empty())
            .or_else(|| self.user())
    }

    /// The command line that the client gives to its server process.
    #[must_use]
    pub fn options(&self) -> Option<&[u8]> {
        self.parameter("options")
    }

    /// Whether the session speaks the replication protocol: `replication` is `database` or a
    /// boolean in one of PostgreSQL's spellings (`parse_bool`).
    #[must_use]
    pub fn is_replication(&self) -> bool {
        self.parameter("replication").is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            let is_prefix_of = |word: &[u8]| !value.is_empty() && word.starts_with(&value);
            is_prefix_of(b"true")
                || is_prefix_of(b"yes")
                || [&b"on"[..], b"1", b"database"].contains(&value.as_slice())
        })
    }

    /// The project that `options` chooses, by `-c portcullis.project=NAME` in any spelling that
    /// PostgreSQL takes.
    ///
    /// # Errors
    /// When the setting is there and its value is not a project's name.
    pub fn portcullis_project(&self) -> Result<Option<ProjectName>, ProtocolViolation> {
        let Some(value) = self
            .options()
            .and_then(|text| options::setting(text, PROJECT_SETTING))
        else {
            return Ok(None);
        };
        let name = std::str::from_utf8(&value)
            .ok()
            .and_then(|name| name.parse().ok());
        name.map(Some).ok_or(ProtocolViolation::ProjectOption)
    }
}

impl fmt::Debug for StartupMessage {
    /// Shows who wants in, and nothing else: a parameter may hold a secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: Option<&[u8]>| value.map(|value| value.escape_ascii().to_string());
        f.debug_struct("StartupMessage")
            .field("version", &self.version)
            .field("user", &shown(self.user()))
            .field("database", &shown(self.database()))
            .finish_non_exhaustive()
    }
}

/// A CancelRequest: whose query to cancel, and the proof of being allowed to.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// The process id, as BackendKeyData told it.
    pub process_id: i32,
    /// The key, as BackendKeyData told it.
    pub key: CancelKey,
}

impl CancelRequest {
    /// The whole packet as it came, to be forwarded; wiped when dropped.
    #[must_use]
    pub fn raw(&self) -> Zeroizing<Vec<u8>> {
        encode::cancel_request(self.process_id, &self.key)
    }
}

/// The secret by which a session's queries can be cancelled: 4 bytes in protocol 3.0, up to 256
/// in 3.2. Compared in constant time (T10), wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CancelKey(Box<[u8]>);

impl CancelKey {
    /// Takes a key; none if it is not 4 to 256 bytes long.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        (4..=256).contains(&key.len()).then(|| Self(key.into()))
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for CancelKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for CancelKey {}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelKey({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
