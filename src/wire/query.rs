//! The little of the extended query protocol that it takes to ask a server for one value.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::message::Message;
use super::{ProtocolViolation, take_i16, take_i32};

/// Protocol 3.0.
const VERSION: i32 = 3 << 16;

/// How many rows are asked for: one more than there should be, so that it shows.
const MAX_ROWS: i32 = 2;

/// Terminate.
pub const TERMINATE: [u8; 5] = *b"X\0\0\0\x04";

/// A StartupMessage with these parameters, none of which holds a NUL.
#[must_use]
pub fn startup_message(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = VERSION.to_be_bytes().to_vec();
    for (name, value) in parameters {
        for text in [name, value] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    [&length(body.len()).to_be_bytes()[..], &body].concat()
}

/// Parse, Bind, Execute and Sync: the statement, which holds no NUL, with the one parameter bound as
/// text, so that nothing in it is ever read as SQL.
#[must_use]
pub fn ask(statement: &str, parameter: &[u8]) -> Vec<u8> {
    let parameter_length = i32::try_from(parameter.len()).unwrap_or(i32::MAX);
    let parse = [b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    let bind = [
        // Portal and statement without a name; no formats: text; one parameter.
        &b"\0\0\0\0\0\x01"[..],
        &parameter_length.to_be_bytes(),
        parameter,
        b"\0\0",
    ];
    let execute = [&b"\0"[..], &MAX_ROWS.to_be_bytes()].concat();
    [
        message(b'P', &parse),
        message(b'B', &bind.concat()),
        message(b'E', &execute),
        message(b'S', b""),
    ]
    .concat()
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], &length(body.len()).to_be_bytes()[..], body].concat()
}

/// The length field of a body.
fn length(body: usize) -> u32 {
    u32::try_from(body).map_or(u32::MAX, |body| body.saturating_add(4))
}

/// The columns of a DataRow: none where it is NULL.
///
/// # Errors
/// The body is not exactly what it says.
pub fn data_row(row: &Message) -> Result<Vec<Option<&[u8]>>, ProtocolViolation> {
    read_columns(row.body()).ok_or_else(|| row.malformed())
}

fn read_columns(mut body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let count = usize::try_from(take_i16(&mut body)?).ok()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let length = take_i32(&mut body)?;
        columns.push(match usize::try_from(length) {
            Ok(length) => {
                let (value, rest) = body.split_at_checked(length)?;
                body = rest;
                Some(value)
            }
            Err(_) if length == -1 => None,
            Err(_) => return None,
        });
    }
    body.is_empty().then_some(columns)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::take_message;

    fn row(body: &[u8]) -> Message {
        let raw = message(b'D', body);
        take_message(&mut BytesMut::from(raw.as_slice()), 1 << 20)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_question_is_four_messages_with_the_parameter_as_it_is() {
        let asked = ask("select $1", b"a'b");
        let mut buffer = BytesMut::from(asked.as_slice());
        let mut seen = Vec::new();
        while let Some(message) = take_message(&mut buffer, 1000).unwrap() {
            seen.push((message.tag(), message.body().to_vec()));
        }
        assert!(buffer.is_empty());
        let expected: [(u8, &[u8]); 4] = [
            (b'P', b"\0select $1\0\0\0"),
            (b'B', b"\0\0\0\0\0\x01\0\0\0\x03a'b\0\0"),
            (b'E', b"\0\0\0\0\x02"),
            (b'S', b""),
        ];
        assert_eq!(seen, expected.map(|(tag, body)| (tag, body.to_vec())));
    }

    #[test]
    fn a_startup_message_is_read_back() {
        let raw = startup_message(&[("user", "alice"), ("database", "app")]);
        let (head, rest) = raw.split_first_chunk().unwrap();
        let packet = crate::wire::startup::StartupHeader::parse(*head).unwrap();
        let packet = packet.finish(rest).unwrap();
        let crate::wire::startup::StartupPacket::Startup(startup) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(startup.user(), Some(&b"alice"[..]));
        assert_eq!(startup.database(), Some(&b"app"[..]));
    }

    #[test]
    fn t20_a_row_is_exactly_what_it_says() {
        assert_eq!(
            data_row(&row(b"\0\0")).unwrap(),
            Vec::<Option<&[u8]>>::new()
        );
        let two = row(b"\0\x02\xff\xff\xff\xff\0\0\0\x02ab");
        assert_eq!(data_row(&two).unwrap(), [None, Some(&b"ab"[..])]);
        for bad in [
            &b""[..],
            b"\0",
            b"\0\x01",
            b"\0\x01\0\0\0\x02a",
            b"\0\x01\0\0\0\x01ab",
            b"\0\x01\xff\xff\xff\xfe",
            b"\xff\xff",
            b"\x7f\xff\0\0\0\0",
        ] {
            data_row(&row(bad)).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn t20_any_row_is_survived(body in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(data_row(&row(&body)));
        }
    }
}
