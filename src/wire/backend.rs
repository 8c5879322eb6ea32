//! The backend's messages of a login, as far as the gate reads them. A backend is as hostile as
//! any peer (T20).
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use super::message::Message;
use super::startup::CancelKey;
use super::{ProtocolViolation, take_cstring, take_i32};

/// A message of the backend during a login.
#[derive(Debug, Clone)]
pub enum BackendMessage<'a> {
    /// `R`: asks for a proof of identity, or is content with it.
    Authentication(Authentication<'a>),
    /// `K`: by what this session's queries can be cancelled; passes unchanged (T10).
    BackendKeyData {
        /// The server process that serves this session.
        process_id: i32,
        /// The secret.
        key: CancelKey,
    },
    /// `Z`: the login is over.
    ReadyForQuery(TransactionStatus),
    /// `E`: the backend's own refusal, to be forwarded untouched (T21).
    ErrorResponse(ErrorFields<'a>),
    /// `v`: the backend speaks an older minor version, or not every option (T11).
    NegotiateProtocolVersion,
    /// Anything else: passes.
    Other,
}

/// What an AuthenticationXXX message asks for.
#[derive(Clone, Copy)]
pub enum Authentication<'a> {
    /// The client is who it says.
    Ok,
    /// AuthenticationCleartextPassword.
    CleartextPassword,
    /// AuthenticationMD5Password.
    Md5Password {
        /// What the hash is salted with.
        salt: [u8; 4],
    },
    /// AuthenticationSASL.
    Sasl {
        /// What the backend offers.
        mechanisms: SaslMechanisms<'a>,
    },
    /// AuthenticationSASLContinue: the mechanism's next message.
    SaslContinue(&'a [u8]),
    /// AuthenticationSASLFinal: the mechanism's last message.
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI and what is still to come, by its code: passes.
    Other(i32),
}

/// The mechanisms of an AuthenticationSASL, in the backend's order of preference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslMechanisms<'a>(&'a [u8]);

/// The state of the transaction, as ReadyForQuery tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: in none.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

/// The fields of an ErrorResponse.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorFields<'a>(&'a [u8]);

impl<'a> BackendMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When the body is not exactly what the type demands.
    pub fn parse(message: &'a Message) -> Result<Self, ProtocolViolation> {
        let body = message.body();
        let parsed = match message.tag() {
            b'R' => Authentication::read(body).map(Self::Authentication),
            b'K' => read_key_data(body),
            b'Z' => TransactionStatus::read(body).map(Self::ReadyForQuery),
            b'E' => ErrorFields::read(body).map(Self::ErrorResponse),
            b'v' => Some(Self::NegotiateProtocolVersion),
            _ => Some(Self::Other),
        };
        parsed.ok_or_else(|| message.malformed())
    }
}

fn read_key_data(mut body: &[u8]) -> Option<BackendMessage<'_>> {
    let process_id = take_i32(&mut body)?;
    Some(BackendMessage::BackendKeyData {
        process_id,
        key: CancelKey::new(body)?,
    })
}

impl<'a> Authentication<'a> {
    fn read(mut body: &'a [u8]) -> Option<Self> {
        match (take_i32(&mut body)?, body) {
            (0, []) => Some(Self::Ok),
            (3, []) => Some(Self::CleartextPassword),
            (5, &[s0, s1, s2, s3]) => Some(Self::Md5Password {
                salt: [s0, s1, s2, s3],
            }),
            (0 | 3 | 5, _) => None,
            (10, list) => Some(Self::Sasl {
                mechanisms: SaslMechanisms::read(list)?,
            }),
            (11, data) => Some(Self::SaslContinue(data)),
            (12, data) => Some(Self::SaslFinal(data)),
            (code, _) => Some(Self::Other(code)),
        }
    }
}

impl fmt::Debug for Authentication<'_> {
    /// Shows no payload (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("Ok"),
            Self::CleartextPassword => f.write_str("CleartextPassword"),
            Self::Md5Password { .. } => f.write_str("Md5Password"),
            Self::Sasl { mechanisms } => f.debug_tuple("Sasl").field(mechanisms).finish(),
            Self::SaslContinue(_) => f.write_str("SaslContinue"),
            Self::SaslFinal(_) => f.write_str("SaslFinal"),
            Self::Other(code) => f.debug_tuple("Other").field(code).finish(),
        }
    }
}

impl<'a> SaslMechanisms<'a> {
    /// Strings, then an empty one as the end.
    fn read(list: &'a [u8]) -> Option<Self> {
        let mut rest = list;
        while !take_cstring(&mut rest)?.is_empty() {}
        rest.is_empty().then_some(Self(list))
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || take_cstring(&mut rest).filter(|name| !name.is_empty()))
    }

    /// Whether a mechanism is offered.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|offered| offered == name.as_bytes())
    }
}

impl fmt::Debug for SaslMechanisms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|name| name.escape_ascii().to_string()))
            .finish()
    }
}

impl TransactionStatus {
    const fn read(body: &[u8]) -> Option<Self> {
        match body {
            b"I" => Some(Self::Idle),
            b"T" => Some(Self::InTransaction),
            b"E" => Some(Self::Failed),
            _ => None,
        }
    }
}

impl<'a> ErrorFields<'a> {
    /// Fields of a code and a string, then a NUL as the end.
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        while !take_cstring(&mut rest)?.is_empty() {}
        rest.is_empty().then_some(Self(body))
    }

    /// A field by its code, as "Error and Notice Message Fields" of PostgreSQL's documentation
    /// lists them; of duplicates the first. May be the user's data (T34).
    #[must_use]
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || take_cstring(&mut rest)?.split_first())
            .find_map(|(found, value)| (*found == code).then_some(value))
    }

    /// The SQLSTATE, if it is one: five digits and upper-case letters.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&'a str> {
        let is_good = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        let code = self
            .field(b'C')
            .filter(|code| code.len() == 5 && code.iter().all(is_good))?;
        std::str::from_utf8(code).ok()
    }

    /// The severity that is never translated, such as `FATAL`, if it is a word.
    #[must_use]
    pub fn severity(&self) -> Option<&'a str> {
        let is_word = |word: &&[u8]| {
            (1..=16).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase)
        };
        std::str::from_utf8(self.field(b'V').filter(is_word)?).ok()
    }
}

impl fmt::Debug for ErrorFields<'_> {
    /// Shows no text: it may quote the user's data (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorFields")
            .field("severity", &self.severity())
            .field("sqlstate", &self.sqlstate())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
