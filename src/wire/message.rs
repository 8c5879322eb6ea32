//! Messages of a session: a type byte, a length, a body.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use bytes::{Bytes, BytesMut};

use super::ProtocolViolation;

/// The type byte and the length field, which counts itself and the body.
const HEADER_LENGTH: usize = 5;

/// One whole message, as it came.
#[derive(Clone)]
pub struct Message {
    tag: u8,
    raw: Bytes,
}

impl Message {
    /// The type byte.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        self.tag
    }

    /// The whole message as it came, to be forwarded.
    #[must_use]
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// What follows the length field.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.raw.get(HEADER_LENGTH..).unwrap_or_default()
    }

    /// That this message's body is not what its type demands.
    #[must_use]
    pub const fn malformed(&self) -> ProtocolViolation {
        ProtocolViolation::Malformed { tag: self.tag }
    }

    /// That this message has no place here.
    #[must_use]
    pub const fn unexpected(&self) -> ProtocolViolation {
        ProtocolViolation::Unexpected { tag: self.tag }
    }
}

impl std::fmt::Debug for Message {
    /// Shows no body: it may hold a password or a row (T34).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("tag", &char::from(self.tag))
            .field("length", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// Cuts the next message off the buffer; none while it isn't all there. Nothing is read beyond
/// it, and nothing copied or allocated.
///
/// `max` bounds the length field, which does not count the type byte.
///
/// # Errors
/// When the length field is below 4 or above `max`, as soon as it can be read.
pub fn take_message(
    buffer: &mut BytesMut,
    max: usize,
) -> Result<Option<Message>, ProtocolViolation> {
    let Some(&[tag, l0, l1, l2, l3]) = buffer.first_chunk::<HEADER_LENGTH>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if length < 4 || length as usize > max {
        return Err(ProtocolViolation::MessageLength { tag, length });
    }
    let whole = (length as usize).saturating_add(1);
    if buffer.len() < whole {
        return Ok(None);
    }
    Ok(Some(Message {
        tag,
        raw: buffer.split_to(whole).freeze(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_cut_exactly_and_the_rest_stays() {
        let mut buffer = BytesMut::from(&b"Z\0\0\0\x05IR\0\0\0\x08\0\0"[..]);
        let message = take_message(&mut buffer, 100).unwrap().unwrap();
        assert_eq!((message.tag(), message.body()), (b'Z', &b"I"[..]));
        assert_eq!(message.raw(), &b"Z\0\0\0\x05I"[..]);
        assert!(take_message(&mut buffer, 100).unwrap().is_none());
        assert_eq!(buffer, &b"R\0\0\0\x08\0\0"[..]);
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_as_soon_as_it_is_read() {
        for length in [0_u32, 3, 101, 0x7fff_ffff, 0xffff_ffff] {
            let mut buffer = BytesMut::from(&b"p"[..]);
            buffer.extend_from_slice(&length.to_be_bytes());
            let capacity = buffer.capacity();
            let refused = take_message(&mut buffer, 100).unwrap_err();
            assert_eq!(
                refused,
                ProtocolViolation::MessageLength { tag: b'p', length }
            );
            assert_eq!(buffer.capacity(), capacity);
        }
    }

    #[test]
    fn t34_a_message_is_shown_without_its_body() {
        let mut buffer = BytesMut::from(&b"p\0\0\0\x0bsecret\0"[..]);
        let message = take_message(&mut buffer, 100).unwrap().unwrap();
        assert_eq!(
            format!("{message:?}"),
            "Message { tag: 'p', length: 12, .. }"
        );
    }

    proptest! {
        #[test]
        fn any_stream_is_cut_into_itself(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            let mut again = Vec::new();
            while let Ok(Some(message)) = take_message(&mut buffer, 50) {
                prop_assert_eq!(message.raw().len(), message.body().len() + 5);
                again.extend_from_slice(message.raw());
            }
            again.extend_from_slice(&buffer);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn every_split_of_a_good_stream_gives_the_same_messages(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
            step in 1_usize..30,
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.push(b'd');
                stream.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
                stream.extend_from_slice(body);
            }
            let (mut buffer, mut cut) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Some(message) = take_message(&mut buffer, 1000).unwrap() {
                    cut.push(message.body().to_vec());
                }
            }
            prop_assert_eq!(cut, bodies);
            prop_assert!(buffer.is_empty());
        }
    }
}
