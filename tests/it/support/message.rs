//! The protocol's packets, by hand: the tests must not trust the code that they test.

use std::collections::BTreeMap;
use std::io::{self, Read};

pub(crate) const V3_0: u32 = 3 << 16;
pub(crate) const V3_2: u32 = V3_0 + 2;

/// A packet without a type byte: its length, then `body`.
pub(crate) fn packet(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

/// A message: its type byte, its length, then `body`.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], packet(body).as_slice()].concat()
}

pub(crate) fn ssl_request() -> Vec<u8> {
    packet(&80_877_103_u32.to_be_bytes())
}

pub(crate) fn gssenc_request() -> Vec<u8> {
    packet(&80_877_104_u32.to_be_bytes())
}

pub(crate) fn cancel_request(process: u32, key: &[u8]) -> Vec<u8> {
    packet(
        &[
            &80_877_102_u32.to_be_bytes(),
            process.to_be_bytes().as_slice(),
            key,
        ]
        .concat(),
    )
}

/// A name and a value: bytes, not text (T11).
pub(crate) type Parameter<'a> = (&'a [u8], &'a [u8]);

/// A StartupMessage.
pub(crate) fn startup(version: u32, parameters: &[Parameter<'_>]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name, &b"\0"[..], value, &b"\0"[..]].concat());
    }
    body.push(0);
    packet(&body)
}

/// The StartupMessage of `alice`.
pub(crate) fn alice() -> Vec<u8> {
    startup(V3_0, &[(b"user", b"alice"), (b"database", b"app")])
}

pub(crate) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

pub(crate) fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

pub(crate) fn authentication_ok() -> Vec<u8> {
    message(b'R', &0_u32.to_be_bytes())
}

pub(crate) fn backend_key_data(process: u32, key: &[u8]) -> Vec<u8> {
    message(b'K', &[process.to_be_bytes().as_slice(), key].concat())
}

pub(crate) fn ready_for_query() -> Vec<u8> {
    message(b'Z', b"I")
}

/// AuthenticationOk to ReadyForQuery, with a key of the classic four bytes.
pub(crate) fn welcome() -> Vec<u8> {
    let status = message(b'S', b"server_version\x0018.4\0");
    [
        authentication_ok(),
        status,
        backend_key_data(4711, b"\xde\xad\xbe\xef"),
        ready_for_query(),
    ]
    .concat()
}

pub(crate) fn error_response(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (code, text) in fields {
        body.push(*code);
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    message(b'E', &body)
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) tag: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        from.read_exact(&mut body)?;
        Ok(Self { tag: head[0], body })
    }

    /// The fields of an ErrorResponse.
    #[track_caller]
    pub(crate) fn error(&self) -> Fields {
        assert_eq!(char::from(self.tag), 'E', "not an ErrorResponse: {self:?}");
        let fields = self
            .body
            .split(|byte| *byte == 0)
            .filter(|field| !field.is_empty());
        Fields(
            fields
                .map(|field| (field[0], String::from_utf8_lossy(&field[1..]).into_owned()))
                .collect(),
        )
    }
}

/// A packet without a type byte, whole, with its length.
pub(crate) fn read_packet(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    from.read_exact(&mut body)?;
    Ok([length.as_slice(), &body].concat())
}

/// The fields of an ErrorResponse by their codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<u8, String>);

impl Fields {
    /// SQLSTATE.
    pub(crate) fn code(&self) -> &str {
        self.get(b'C')
    }

    pub(crate) fn message(&self) -> &str {
        self.get(b'M')
    }

    pub(crate) fn hint(&self) -> &str {
        self.get(b'H')
    }

    /// One field; empty if it is not there.
    pub(crate) fn get(&self, code: u8) -> &str {
        self.0.get(&code).map_or("", String::as_str)
    }

    /// That this is FATAL in every way in which a client may look for it (T7).
    #[track_caller]
    pub(crate) fn assert_fatal(&self, code: &str) {
        assert_eq!(
            (self.get(b'S'), self.get(b'V')),
            ("FATAL", "FATAL"),
            "{self:?}"
        );
        assert_eq!(self.code(), code, "{self:?}");
        assert!(!self.message().is_empty(), "{self:?}");
    }
}
