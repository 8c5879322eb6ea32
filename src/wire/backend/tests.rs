use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::message::take_message;

fn message(tag: u8, body: &[u8]) -> Message {
    let mut buffer = BytesMut::from(&[tag][..]);
    buffer.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    buffer.extend_from_slice(body);
    take_message(&mut buffer, 1 << 20).unwrap().unwrap()
}

/// What a message reads as, in `Debug` form, or its violation's.
fn shown(tag: u8, body: &[u8]) -> String {
    match BackendMessage::parse(&message(tag, body)) {
        Ok(parsed) => format!("{parsed:?}"),
        Err(violation) => violation.to_string(),
    }
}

#[test]
fn every_kind_of_authentication_is_told_apart() {
    for (body, expected) in [
        (&b"\0\0\0\0"[..], "Authentication(Ok)"),
        (b"\0\0\0\x03", "Authentication(CleartextPassword)"),
        (b"\0\0\0\x05abcd", "Authentication(Md5Password)"),
        (
            b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
            "Authentication(Sasl([\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\"]))",
        ),
        (b"\0\0\0\x0a\0", "Authentication(Sasl([]))"),
        (b"\0\0\0\x0br=secret", "Authentication(SaslContinue)"),
        (b"\0\0\0\x0cv=secret", "Authentication(SaslFinal)"),
        (b"\0\0\0\x07", "Authentication(Other(7))"),
        (b"\0\0\0\x08token", "Authentication(Other(8))"),
        (b"\xff\xff\xff\xff", "Authentication(Other(-1))"),
    ] {
        assert_eq!(shown(b'R', body), expected);
    }
}

#[test]
fn t20_a_malformed_message_of_the_backend_is_refused() {
    for (tag, body) in [
        (b'R', &b""[..]),
        (b'R', b"\0\0\0"),
        (b'R', b"\0\0\0\0x"),
        (b'R', b"\0\0\0\x03x"),
        (b'R', b"\0\0\0\x05abc"),
        (b'R', b"\0\0\0\x05abcde"),
        (b'R', b"\0\0\0\x0a"),
        (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0"),
        (b'R', b"\0\0\0\x0aSCRAM-SHA-256"),
        (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0more"),
        (b'K', b"\0\0\0\x01"),
        (b'K', b"\0\0\0\x01abc"),
        (b'K', &[0; 4 + 257]),
        (b'Z', b""),
        (b'Z', b"X"),
        (b'Z', b"II"),
        (b'E', b""),
        (b'E', b"SFATAL"),
        (b'E', b"SFATAL\0"),
        (b'E', b"\0SFATAL\0\0"),
    ] {
        let expected = format!("a message of type {:?} is malformed", char::from(tag));
        assert_eq!(shown(tag, body), expected, "{}", body.escape_ascii());
    }
}

#[test]
fn t10_key_data_are_read_at_every_length_that_protocol_3_2_allows() {
    for length in [4, 32, 256] {
        let whole = message(b'K', &[&7_i32.to_be_bytes(), &vec![9; length][..]].concat());
        let Ok(BackendMessage::BackendKeyData { process_id, key }) = BackendMessage::parse(&whole)
        else {
            panic!("{length}")
        };
        assert_eq!((process_id, key.as_bytes().len()), (7, length));
    }
}

#[test]
fn the_end_of_a_login_tells_the_transaction_status() {
    assert_eq!(shown(b'Z', b"I"), "ReadyForQuery(Idle)");
    assert_eq!(shown(b'Z', b"T"), "ReadyForQuery(InTransaction)");
    assert_eq!(shown(b'Z', b"E"), "ReadyForQuery(Failed)");
    assert_eq!(shown(b'S', b"TimeZone\0UTC\0"), "Other");
    assert_eq!(shown(b'v', b""), "NegotiateProtocolVersion");
}

#[test]
fn md5_salt_and_mechanisms_can_be_asked_for() {
    let md5 = message(b'R', b"\0\0\0\x05abcd");
    assert!(matches!(
        BackendMessage::parse(&md5),
        Ok(BackendMessage::Authentication(
            Authentication::Md5Password {
                salt: [b'a', b'b', b'c', b'd']
            }
        ))
    ));
    let sasl = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    let Ok(BackendMessage::Authentication(Authentication::Sasl { mechanisms })) =
        BackendMessage::parse(&sasl)
    else {
        panic!("not SASL")
    };
    assert!(mechanisms.contains("SCRAM-SHA-256-PLUS") && mechanisms.contains("SCRAM-SHA-256"));
    assert!(!mechanisms.contains("SCRAM") && !mechanisms.contains(""));
}

#[test]
fn an_error_tells_its_sqlstate_and_severity_if_they_are_any() {
    let fields = |body: &[u8]| match BackendMessage::parse(&message(b'E', body)) {
        Ok(BackendMessage::ErrorResponse(fields)) => (
            fields.severity().map(str::to_owned),
            fields.sqlstate().map(str::to_owned),
        ),
        other => panic!("{other:?}"),
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        fields(b"SFATAL\xff\0VFATAL\0C28P01\0Mpassword\0\0"),
        (text("FATAL"), text("28P01"))
    );
    assert_eq!(fields(b"C28P01\0C57P03\0\0"), (None, text("28P01")));
    for hostile in [
        &b"\0"[..],
        b"C\0V\0\0",
        b"C28p01\0Vfatal\0\0",
        b"C28P011\0\0",
        b"C\xff\xff\xff\xff\xff\0V\xc3\x84\0\0",
    ] {
        assert_eq!(fields(hostile), (None, None), "{}", hostile.escape_ascii());
    }
}

#[test]
fn t34_an_error_is_shown_without_its_text() {
    let shown = shown(b'E', b"VFATAL\0C23505\0DKey (ssn)=(123) exists\0\0");
    assert_eq!(
        shown,
        "ErrorResponse(ErrorFields { severity: Some(\"FATAL\"), sqlstate: Some(\"23505\"), .. })"
    );
}

proptest! {
    #[test]
    fn any_body_is_survived(
        tag in prop_oneof![Just(b'R'), Just(b'K'), Just(b'Z'), Just(b'E'), Just(b'v'), any::<u8>()],
        code in prop_oneof![Just(vec![]), (0_u8..14).prop_map(|code| vec![0, 0, 0, code])],
        body in vec(prop_oneof![Just(0), any::<u8>()], 0..64),
    ) {
        let whole = message(tag, &[code, body].concat());
        if let Ok(BackendMessage::ErrorResponse(fields)) = BackendMessage::parse(&whole) {
            for code in 0..=255 {
                let _field = fields.field(code);
            }
        }
        let _shown = format!("{:?}", BackendMessage::parse(&whole));
    }
}
