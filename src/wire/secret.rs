//! What a client proves itself with, read into memory that is wiped; and the same said to a backend.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use zeroize::Zeroizing;

use super::ProtocolViolation;
use super::frontend::{PASSWORD_FAMILY, SaslInitialResponse};

/// The length field counts itself.
const LENGTH_LENGTH: u32 = 4;

/// A PasswordMessage, a SASLInitialResponse or a SASLResponse: which of them it is, only what was
/// asked for tells. Wiped when dropped.
pub struct SecretMessage {
    body: Zeroizing<Vec<u8>>,
}

impl SecretMessage {
    /// The length of a message's type byte and length field.
    pub const HEADER: usize = 5;

    /// That such a message has no place here.
    pub const UNEXPECTED: ProtocolViolation = ProtocolViolation::Unexpected {
        tag: PASSWORD_FAMILY,
    };

    /// Makes room for the body that a header announces, at its exact size: a buffer that grows would
    /// leave pieces of a secret in freed memory. `max` bounds the length field.
    ///
    /// # Errors
    /// A message of another type, or of an impossible length.
    pub fn announced(header: [u8; Self::HEADER], max: usize) -> Result<Self, ProtocolViolation> {
        let [tag, l0, l1, l2, l3] = header;
        if tag != PASSWORD_FAMILY {
            return Err(ProtocolViolation::Unexpected { tag });
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        match length.checked_sub(LENGTH_LENGTH) {
            Some(body) if length as usize <= max => Ok(Self {
                body: Zeroizing::new(vec![0; body as usize]),
            }),
            Some(_) | None => Err(ProtocolViolation::MessageLength { tag, length }),
        }
    }

    /// Where the body is to be read to.
    pub fn body_mut(&mut self) -> &mut [u8] {
        &mut self.body
    }

    /// The message as the mechanism's answer, SASLResponse.
    #[must_use]
    pub fn sasl_response(&self) -> &[u8] {
        &self.body
    }

    /// The message as SASLInitialResponse.
    ///
    /// # Errors
    /// When it is not exactly a name and a response of its stated length.
    pub fn sasl_initial_response(&self) -> Result<SaslInitialResponse<'_>, ProtocolViolation> {
        SaslInitialResponse::read(&self.body).ok_or(MALFORMED)
    }

    /// The message as PasswordMessage; the password may be empty.
    ///
    /// # Errors
    /// When it is not exactly one string.
    pub fn password(&self) -> Result<&[u8], ProtocolViolation> {
        match self.body.split_last() {
            Some((0, password)) if !password.contains(&0) => Ok(password),
            Some(_) | None => Err(MALFORMED),
        }
    }
}

const MALFORMED: ProtocolViolation = ProtocolViolation::Malformed {
    tag: PASSWORD_FAMILY,
};

impl fmt::Debug for SecretMessage {
    /// Shows no payload (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretMessage")
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// SASLInitialResponse with a first message.
#[must_use]
pub fn sasl_initial_response(mechanism: &str, response: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = i32::try_from(response.len()).unwrap_or(i32::MAX);
    encoded(&[mechanism.as_bytes(), &[0], &length.to_be_bytes(), response])
}

/// SASLResponse.
#[must_use]
pub fn sasl_response(response: &[u8]) -> Zeroizing<Vec<u8>> {
    encoded(&[response])
}

/// PasswordMessage.
#[must_use]
pub fn password_message(password: &[u8]) -> Zeroizing<Vec<u8>> {
    encoded(&[password, &[0]])
}

fn encoded(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let body = parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(body).map_or(u32::MAX, |body| body.saturating_add(LENGTH_LENGTH));
    // The exact capacity, so that the vector never moves and leaves a copy behind.
    let capacity = body.saturating_add(SecretMessage::HEADER);
    let mut message = Zeroizing::new(Vec::with_capacity(capacity));
    message.push(PASSWORD_FAMILY);
    message.extend_from_slice(&length.to_be_bytes());
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(message: &[u8], max: usize) -> Result<SecretMessage, ProtocolViolation> {
        let (header, body) = message.split_first_chunk().unwrap();
        let mut read = SecretMessage::announced(*header, max)?;
        read.body_mut().copy_from_slice(body);
        Ok(read)
    }

    #[test]
    fn a_password_is_one_string() {
        let message = read(&password_message(b"secret"), 100).unwrap();
        assert_eq!(message.password(), Ok(&b"secret"[..]));
        let empty = read(&password_message(b""), 100).unwrap();
        assert_eq!(empty.password(), Ok(&b""[..]));
        for bad in [&b""[..], b"secret", b"sec\0ret\0"] {
            let message = read(&sasl_response(bad), 100).unwrap();
            assert_eq!(message.password(), Err(MALFORMED), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_length_out_of_bounds_and_another_type_are_refused_before_anything_is_allocated() {
        for (length, refused) in [
            (3, true),
            (4, false),
            (100, false),
            (101, true),
            (u32::MAX, true),
        ] {
            let [l0, l1, l2, l3] = u32::to_be_bytes(length);
            let announced = SecretMessage::announced([b'p', l0, l1, l2, l3], 100);
            assert_eq!(announced.is_err(), refused, "{length}");
        }
        assert_eq!(
            SecretMessage::announced(*b"Q\0\0\0\x04", 100).unwrap_err(),
            ProtocolViolation::Unexpected { tag: b'Q' }
        );
    }

    #[test]
    fn t34_a_secret_message_is_shown_without_its_body() {
        let message = read(&password_message(b"secret"), 100).unwrap();
        assert_eq!(format!("{message:?}"), "SecretMessage { length: 7, .. }");
    }

    proptest! {
        #[test]
        fn what_is_said_to_a_backend_is_what_a_server_reads(
            mechanism in "[A-Z-]{1,20}",
            response in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let first = read(&sasl_initial_response(&mechanism, &response), 200).unwrap();
            let parsed = first.sasl_initial_response().unwrap();
            prop_assert_eq!(parsed.mechanism, mechanism.as_bytes());
            prop_assert_eq!(parsed.response, Some(response.as_slice()));
            let next = read(&sasl_response(&response), 200).unwrap();
            prop_assert_eq!(next.sasl_response(), response.as_slice());
        }
    }
}
