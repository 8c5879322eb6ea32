//! pgwire as the other end: what we write it reads, and what it writes we read.

use std::collections::BTreeMap;

use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus as Status};
use pgwire::messages::startup::{
    BackendKeyData, GssEncRequest, ParameterStatus, SASLInitialResponse, SecretKey, Startup,
};
use pgwire::messages::{DecodeContext, PgWireBackendMessage};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::wire::backend::{self, BackendMessage, TransactionStatus};
use crate::wire::frontend::SaslInitialResponse;
use crate::wire::message::take_message;
use crate::wire::startup::{StartupHeader, StartupPacket};

fn written(message: &impl Message) -> BytesMut {
    let mut buffer = BytesMut::new();
    message.encode(&mut buffer).unwrap();
    buffer
}

fn one(mut buffer: BytesMut) -> crate::wire::message::Message {
    let message = take_message(&mut buffer, 1 << 20).unwrap().unwrap();
    assert!(buffer.is_empty());
    message
}

fn startup_packet(packet: &[u8]) -> StartupPacket {
    let (header, rest) = packet.split_first_chunk().unwrap();
    StartupHeader::parse(*header).unwrap().finish(rest).unwrap()
}

fn fields(bytes: &[u8]) -> Vec<(u8, String)> {
    let mut buffer = BytesMut::from(bytes);
    let decoded = PgWireBackendMessage::decode(&mut buffer, &DecodeContext::default()).unwrap();
    assert!(buffer.is_empty());
    match decoded {
        Some(PgWireBackendMessage::ErrorResponse(error)) => error.fields,
        other => panic!("not an ErrorResponse: {other:?}"),
    }
}

#[test]
fn t07_a_fatal_has_severity_sqlstate_message_and_what_else_is_given() {
    let mut response = FatalResponse {
        sqlstate: "28000",
        message: "no",
        detail: None,
        hint: Some("try"),
    };
    let field = |code: u8, text: &str| (code, text.to_owned());
    let head = [
        field(b'S', "FATAL"),
        field(b'V', "FATAL"),
        field(b'C', "28000"),
        field(b'M', "no"),
    ];
    assert_eq!(
        fields(&fatal(&response)),
        [&head[..], &[field(b'H', "try")]].concat()
    );
    response.detail = Some("why");
    response.hint = None;
    assert_eq!(
        fields(&fatal(&response)),
        [&head[..], &[field(b'D', "why")]].concat()
    );
}

#[test]
fn encryption_requests_are_the_same_as_pgwires() {
    assert_eq!(ssl_request().as_slice(), written(&SslRequest::new()));
    assert!(matches!(
        startup_packet(&ssl_request()),
        StartupPacket::SslRequest
    ));
    let gssenc = written(&GssEncRequest::new());
    assert!(matches!(
        startup_packet(&gssenc),
        StartupPacket::GssEncRequest
    ));
}

#[test]
fn t19_a_shortened_list_of_mechanisms_reads_as_such() {
    let message = one(BytesMut::from(authentication_sasl(&["SCRAM-SHA-256"])));
    let Ok(BackendMessage::Authentication(backend::Authentication::Sasl { mechanisms })) =
        BackendMessage::parse(&message)
    else {
        panic!("not AuthenticationSASL")
    };
    assert_eq!(mechanisms.iter().collect::<Vec<_>>(), [b"SCRAM-SHA-256"]);
}

#[test]
fn pgwires_messages_of_a_login_are_read() {
    let parsed = |buffer| format!("{:?}", BackendMessage::parse(&one(buffer)).unwrap());
    for (authentication, shown) in [
        (Authentication::Ok, "Authentication(Ok)"),
        (
            Authentication::CleartextPassword,
            "Authentication(CleartextPassword)",
        ),
        (Authentication::KerberosV5, "Authentication(Other(2))"),
        (
            Authentication::MD5Password(vec![1, 2, 3, 4]),
            "Authentication(Md5Password)",
        ),
        (
            Authentication::SASLContinue("a".into()),
            "Authentication(SaslContinue)",
        ),
        (
            Authentication::SASLFinal("b".into()),
            "Authentication(SaslFinal)",
        ),
    ] {
        assert_eq!(parsed(written(&authentication)), shown);
    }
    assert_eq!(
        parsed(written(&ParameterStatus::new("a".into(), "b".into()))),
        "Other"
    );
    for (status, ours) in [
        (Status::Idle, TransactionStatus::Idle),
        (Status::Transaction, TransactionStatus::InTransaction),
        (Status::Error, TransactionStatus::Failed),
    ] {
        assert_eq!(
            parsed(written(&ReadyForQuery::new(status))),
            format!("ReadyForQuery({ours:?})")
        );
    }
}

proptest! {
    #[test]
    fn a_nul_in_a_text_begins_no_field_of_its_own(
        message in r"[a-z\x00]{0,20}",
        hint in proptest::option::of(r"[a-z\x00]{0,20}"),
    ) {
        let response = FatalResponse {
            sqlstate: "08P01",
            message: &message,
            detail: None,
            hint: hint.as_deref(),
        };
        let read = fields(&fatal(&response));
        prop_assert_eq!(read.len(), 4 + usize::from(hint.is_some()));
        prop_assert_eq!(&read[3].1, &message.replace('\0', ""));
        let whole = one(BytesMut::from(fatal(&response)));
        let Ok(BackendMessage::ErrorResponse(ours)) = BackendMessage::parse(&whole) else {
            return Err(TestCaseError::fail("not an ErrorResponse"));
        };
        prop_assert_eq!((ours.severity(), ours.sqlstate()), (Some("FATAL"), Some("08P01")));
    }

    #[test]
    fn t10_cancel_requests_are_the_same_as_pgwires(process_id: i32, key in vec(any::<u8>(), 4..=256)) {
        let ours = cancel_request(process_id, &CancelKey::new(&key).unwrap());
        let theirs = CancelRequest::new(process_id, SecretKey::Bytes(key.clone().into()));
        prop_assert_eq!(ours.as_slice(), written(&theirs));
        let StartupPacket::Cancel(read) = startup_packet(&ours) else {
            return Err(TestCaseError::fail("not a CancelRequest"));
        };
        prop_assert_eq!((read.process_id, read.key.as_bytes()), (process_id, &key[..]));
    }

    #[test]
    fn t10_pgwires_key_data_are_read(pid: i32, key in vec(any::<u8>(), 4..=256)) {
        let whole = one(written(&BackendKeyData::new(pid, SecretKey::Bytes(key.clone().into()))));
        let Ok(BackendMessage::BackendKeyData { process_id, key: read }) =
            BackendMessage::parse(&whole)
        else {
            return Err(TestCaseError::fail("not BackendKeyData"));
        };
        prop_assert_eq!((process_id, read.as_bytes()), (pid, &key[..]));
    }

    #[test]
    fn pgwires_sasl_initial_responses_are_read(
        mechanism in "[A-Z0-9-]{1,20}",
        response in proptest::option::of(vec(any::<u8>(), 0..50)),
    ) {
        let data = response.clone().map(Bytes::from);
        let whole = one(written(&SASLInitialResponse::new(mechanism.clone(), data)));
        let read = SaslInitialResponse::parse(&whole).unwrap();
        prop_assert_eq!((read.mechanism, read.response), (mechanism.as_bytes(), response.as_deref()));
    }

    #[test]
    fn both_read_the_same_parameters_from_a_good_startup_message(
        parameters in btree_map("[a-z_.]{1,12}", "[ -~é]{1,20}", 0..8),
        minor in prop_oneof![Just(0_u16), Just(2), Just(9999)],
    ) {
        let mut message = Startup::new();
        message.protocol_number_minor = minor;
        message.parameters = parameters.clone();
        let whole = written(&message);
        let StartupPacket::Startup(ours) = startup_packet(&whole) else {
            return Err(TestCaseError::fail("not a StartupMessage"));
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let read: BTreeMap<_, _> = ours.parameters().map(|(n, v)| (text(n), text(v))).collect();
        let theirs = Startup::decode(&mut whole.clone(), &DecodeContext::default()).unwrap().unwrap();
        prop_assert_eq!(&read, &theirs.parameters);
        prop_assert_eq!(read, parameters);
        prop_assert_eq!((ours.version().major, ours.version().minor), (3, minor));
        prop_assert_eq!(ours.raw(), &whole);
    }
}
