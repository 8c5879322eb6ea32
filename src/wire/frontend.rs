//! The client's part of SASL authentication, as far as the gate reads it.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::fmt;

use super::message::Message;
use super::{ProtocolViolation, take_cstring, take_i32};

/// The type byte that PasswordMessage, SASLInitialResponse and SASLResponse share.
pub const PASSWORD_FAMILY: u8 = b'p';

/// SASLInitialResponse: the mechanism that the client chose, and its first message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism's name.
    pub mechanism: &'a [u8],
    /// The mechanism's first message, if the client sends one at once.
    pub response: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// When it is of another type, or not exactly a name and a response of its stated length.
    pub fn parse(message: &'a Message) -> Result<Self, ProtocolViolation> {
        if message.tag() != PASSWORD_FAMILY {
            return Err(message.unexpected());
        }
        Self::read(message.body()).ok_or_else(|| message.malformed())
    }

    pub(super) fn read(mut body: &'a [u8]) -> Option<Self> {
        let mechanism = take_cstring(&mut body)?;
        let length = take_i32(&mut body)?;
        let response = match usize::try_from(length) {
            Ok(length) if length == body.len() => Some(body),
            Err(_) if length == -1 && body.is_empty() => None,
            Ok(_) | Err(_) => return None,
        };
        Some(Self {
            mechanism,
            response,
        })
    }
}

impl fmt::Debug for SaslInitialResponse<'_> {
    /// Shows no payload (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslInitialResponse")
            .field("mechanism", &self.mechanism.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

/// The gs2-cbind-flag, by which a SCRAM client says what it makes of channel binding (RFC 5802
/// section 7). Its proof covers it, so it can be read here, but not edited (T19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gs2Flag<'a> {
    /// `n`: the client can't do channel binding, or won't.
    NotSupported,
    /// `y`: the client could, and believes that the server can't.
    NotOffered,
    /// `p=NAME`: channel binding of this type is in use.
    Used(&'a [u8]),
}

impl<'a> Gs2Flag<'a> {
    /// Reads the flag that a client-first-message begins with.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(client_first_message: &'a [u8]) -> Result<Self, ProtocolViolation> {
        let (flag, has_more) = match client_first_message.iter().position(|byte| *byte == b',') {
            Some(comma) => (client_first_message.get(..comma).unwrap_or_default(), true),
            None => (client_first_message, false),
        };
        match flag {
            b"n" if has_more => Ok(Self::NotSupported),
            b"y" if has_more => Ok(Self::NotOffered),
            [b'p', b'=', name @ ..] if has_more && is_channel_binding_name(name) => {
                Ok(Self::Used(name))
            }
            _ => Err(ProtocolViolation::Gs2Header),
        }
    }
}

/// `cb-name` of RFC 5802 section 7.
fn is_channel_binding_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::take_message;

    fn message(tag: u8, body: &[u8]) -> Message {
        let mut buffer = BytesMut::from(&[tag][..]);
        buffer.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        buffer.extend_from_slice(body);
        take_message(&mut buffer, 1 << 20).unwrap().unwrap()
    }

    #[test]
    fn a_sasl_initial_response_is_a_name_and_a_response_of_its_length() {
        let whole = message(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
        let parsed = SaslInitialResponse::parse(&whole).unwrap();
        assert_eq!(parsed.mechanism, b"SCRAM-SHA-256");
        assert_eq!(parsed.response, Some(&b"n,,"[..]));
        let absent = message(b'p', b"X\0\xff\xff\xff\xff");
        assert_eq!(SaslInitialResponse::parse(&absent).unwrap().response, None);
        let empty = message(b'p', b"X\0\0\0\0\0");
        assert_eq!(
            SaslInitialResponse::parse(&empty).unwrap().response,
            Some(&b""[..])
        );
    }

    #[test]
    fn a_sasl_initial_response_of_another_length_is_refused() {
        for body in [
            &b""[..],
            b"X",
            b"X\0",
            b"X\0\0\0\0",
            b"X\0\0\0\0\x04abc",
            b"X\0\0\0\0\x02abc",
            b"X\0\xff\xff\xff\xffabc",
            b"X\0\xff\xff\xff\xfe",
            b"X\0\x80\0\0\0",
        ] {
            let whole = message(b'p', body);
            assert_eq!(
                SaslInitialResponse::parse(&whole),
                Err(ProtocolViolation::Malformed { tag: b'p' }),
                "{}",
                body.escape_ascii()
            );
        }
        let other = message(b'Q', b"X\0\xff\xff\xff\xff");
        assert_eq!(
            SaslInitialResponse::parse(&other),
            Err(ProtocolViolation::Unexpected { tag: b'Q' })
        );
    }

    #[test]
    fn t19_the_gs2_flag_tells_what_the_client_makes_of_channel_binding() {
        assert_eq!(Gs2Flag::parse(b"n,,n=,r=abc"), Ok(Gs2Flag::NotSupported));
        assert_eq!(Gs2Flag::parse(b"y,,n=,r=abc"), Ok(Gs2Flag::NotOffered));
        assert_eq!(
            Gs2Flag::parse(b"p=tls-server-end-point,,n=,r=abc"),
            Ok(Gs2Flag::Used(b"tls-server-end-point"))
        );
        for bad in [
            &b""[..],
            b"n",
            b"y",
            b",",
            b"N,,",
            b"p,,",
            b"p=,,",
            b"p=a b,,",
            b"nn,,",
            b"p=x",
        ] {
            assert_eq!(Gs2Flag::parse(bad), Err(ProtocolViolation::Gs2Header));
        }
    }

    #[test]
    fn t34_a_sasl_payload_is_never_shown() {
        let whole = message(b'p', b"SCRAM-SHA-256\0\0\0\0\x06secret");
        let shown = format!("{:?}", SaslInitialResponse::parse(&whole).unwrap());
        assert_eq!(
            shown,
            "SaslInitialResponse { mechanism: \"SCRAM-SHA-256\", .. }"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let whole = message(b'p', &body);
            if let Ok(parsed) = SaslInitialResponse::parse(&whole) {
                let again = parsed.mechanism.len() + 5 + parsed.response.map_or(0, <[u8]>::len);
                prop_assert_eq!(again, body.len());
            }
            let _flag = Gs2Flag::parse(&body);
        }

        #[test]
        fn a_cut_sasl_initial_response_is_refused(response in "[ -~]{0,30}") {
            let mut body = b"SCRAM-SHA-256\0".to_vec();
            body.extend_from_slice(&u32::try_from(response.len()).unwrap().to_be_bytes());
            body.extend_from_slice(response.as_bytes());
            prop_assert!(SaslInitialResponse::parse(&message(b'p', &body)).is_ok());
            for cut in 0..body.len() {
                prop_assert!(SaslInitialResponse::parse(&message(b'p', &body[..cut])).is_err());
            }
        }
    }
}
