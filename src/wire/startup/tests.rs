use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// A packet as it comes from the network: the header first, then what the header asks for.
fn read(packet: &[u8]) -> Result<StartupPacket, ProtocolViolation> {
    let (header, rest) = packet.split_first_chunk().unwrap();
    let header = StartupHeader::parse(*header)?;
    header.finish(&rest[..header.remaining()])
}

fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
}

fn startup(parameters: &[(&[u8], &[u8])]) -> StartupMessage {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend_from_slice(&[name, &[0][..], value, &[0]].concat());
    }
    body.push(0);
    let Ok(StartupPacket::Startup(message)) = read(&packet(196_608, &body)) else {
        panic!("not a StartupMessage: {}", body.escape_ascii())
    };
    message
}

#[test]
fn encryption_requests_are_eight_bytes_long() {
    assert!(matches!(read(&SSL), Ok(StartupPacket::SslRequest)));
    assert!(matches!(read(&GSSENC), Ok(StartupPacket::GssEncRequest)));
    for code in [SSL_REQUEST_CODE, GSSENC_REQUEST_CODE] {
        let refused = read(&packet(code, b"\0")).unwrap_err();
        assert_eq!(
            refused,
            ProtocolViolation::EncryptionRequestLength { length: 9 }
        );
    }
}

#[test]
fn t03_a_length_out_of_bounds_is_refused_by_the_header_alone() {
    let header = |length: u32| {
        let mut raw = [0, 0, 0, 0, 0, 3, 0, 0];
        raw[..4].copy_from_slice(&length.to_be_bytes());
        StartupHeader::parse(raw)
    };
    for length in [0, 1, 4, 7, 10_005, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(
            header(length).unwrap_err(),
            ProtocolViolation::StartupLength { length }
        );
    }
    assert_eq!(header(10_004).unwrap().remaining(), 9_996);
    assert_eq!(header(8).unwrap().remaining(), 0);
}

#[test]
fn an_http_request_is_no_startup_packet() {
    assert!(StartupHeader::parse(*b"GET / HT").is_err());
    assert!(StartupHeader::parse(*b"\x16\x03\x01\x02\x00\x01\x00\x01").is_err());
}

#[test]
fn t10_a_cancel_key_has_4_to_256_bytes() {
    for length in [4, 5, 32, 256] {
        let key = vec![7; length];
        let whole = packet(
            CANCEL_REQUEST_CODE,
            &[&42_i32.to_be_bytes(), &key[..]].concat(),
        );
        let Ok(StartupPacket::Cancel(cancel)) = read(&whole) else {
            panic!("{length}")
        };
        assert_eq!((cancel.process_id, cancel.key.as_bytes()), (42, &key[..]));
        assert_eq!(cancel.raw().as_slice(), whole, "forwarded as it came");
    }
    for length in [0, 3, 257, 9_000] {
        let whole = packet(CANCEL_REQUEST_CODE, &vec![0; 4 + length]);
        assert!(
            matches!(
                read(&whole),
                Err(ProtocolViolation::CancelRequestLength { .. })
            ),
            "{length}"
        );
    }
    assert!(read(&packet(CANCEL_REQUEST_CODE, b"")).is_err());
}

#[test]
fn t10_cancel_keys_are_equal_by_all_their_bytes_and_never_shown() {
    let key = |bytes: &[u8]| CancelKey::new(bytes).unwrap();
    assert_eq!(key(b"abcd"), key(b"abcd"));
    assert_ne!(key(b"abcd"), key(b"abce"));
    assert_ne!(key(b"abcd"), key(b"abcde"));
    assert_eq!(format!("{:?}", key(b"abcd")), "CancelKey(4 bytes)");
}

#[test]
fn t11_every_minor_version_of_protocol_3_passes_as_it_came() {
    for minor in [0, 2, 9999, 0xffff] {
        let whole = packet((3 << 16) | minor, b"user\0a\0_pq_.grease\0\0\0");
        let Ok(StartupPacket::Startup(message)) = read(&whole) else {
            panic!("3.{minor}")
        };
        assert_eq!(u32::from(message.version().minor), minor);
        assert_eq!(message.raw(), &whole[..]);
    }
}

#[test]
fn another_major_version_is_a_violation_of_its_own_kind() {
    for (major, minor) in [(2, 0), (0, 0), (4, 0), (1234, 5682)] {
        let code = (u32::from(major) << 16) | u32::from(minor);
        let refused = read(&packet(code, b"user\0a\0\0")).unwrap_err();
        assert_eq!(
            refused,
            ProtocolViolation::UnsupportedVersion { major, minor }
        );
    }
}

#[test]
fn parameters_must_be_pairs_with_a_terminator_as_the_last_byte() {
    for body in [
        &b"\0"[..],
        b"user\0a\0\0",
        b"user\0\0\0",
        b"user\0a\0database\0b\0\0",
    ] {
        assert!(
            read(&packet(196_608, body)).is_ok(),
            "{}",
            body.escape_ascii()
        );
    }
    for body in [
        &b""[..],
        b"user",
        b"user\0",
        b"user\0\0",
        b"user\0a",
        b"user\0a\0",
        b"user\0a\0x",
        b"user\0a\0\0\0",
        b"\0user\0a\0\0",
        b"user\0a\0\0admin\0b\0\0",
    ] {
        let refused = read(&packet(196_608, body)).unwrap_err();
        assert_eq!(
            refused,
            ProtocolViolation::StartupLayout,
            "{}",
            body.escape_ascii()
        );
    }
}

#[test]
fn of_duplicate_parameters_the_last_counts_as_in_postgresql() {
    let message = startup(&[(b"user", b"a"), (b"database", b"x"), (b"user", b"b")]);
    assert_eq!(message.user(), Some(&b"b"[..]));
    assert_eq!(message.parameters().count(), 3);
}

#[test]
fn t11_parameters_are_bytes() {
    let message = startup(&[(b"user", b"\xff\xfe"), (b"database", b"")]);
    assert_eq!(message.user(), Some(&b"\xff\xfe"[..]));
    assert_eq!(
        message.database(),
        Some(&b"\xff\xfe"[..]),
        "named like the user"
    );
    assert_eq!(startup(&[]).user(), None);
}

#[test]
fn replication_is_told_by_postgresqls_spellings() {
    for yes in [
        &b"database"[..],
        b"true",
        b"T",
        b"tr",
        b"yes",
        b"y",
        b"on",
        b"1",
    ] {
        assert!(
            startup(&[(b"replication", yes)]).is_replication(),
            "{}",
            yes.escape_ascii()
        );
    }
    for no in [
        &b""[..],
        b"false",
        b"no",
        b"off",
        b"o",
        b"0",
        b"trueish",
        b"data",
    ] {
        assert!(
            !startup(&[(b"replication", no)]).is_replication(),
            "{}",
            no.escape_ascii()
        );
    }
    assert!(!startup(&[]).is_replication());
}

#[test]
fn options_choose_a_project() {
    let chosen = |options: &[u8]| startup(&[(b"options", options)]).portcullis_project();
    let acme: ProjectName = "acme".parse().unwrap();
    assert_eq!(
        chosen(b"-c portcullis.project=acme"),
        Ok(Some(acme.clone()))
    );
    assert_eq!(
        chosen(b"-c work_mem=1MB --portcullis.project=acme"),
        Ok(Some(acme))
    );
    assert_eq!(chosen(b"-c work_mem=1MB"), Ok(None));
    assert_eq!(startup(&[]).portcullis_project(), Ok(None));
    for bad in [
        &b"-c portcullis.project=Ac/me"[..],
        b"-c portcullis.project=\xff",
        b"-cportcullis.project",
    ] {
        assert_eq!(chosen(bad), Err(ProtocolViolation::ProjectOption));
    }
}

#[test]
fn t34_a_startup_message_shows_who_wants_in_and_nothing_else() {
    let message = startup(&[(b"user", b"al\nice"), (b"options", b"-c app.token=hunter2")]);
    let shown = format!("{message:?}");
    assert!(shown.contains(r"al\\nice"), "{shown}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("token"),
        "{shown}"
    );
}

#[test]
fn a_cut_packet_is_never_taken_for_a_whole_one() {
    let whole = packet(196_608, b"user\0alice\0\0");
    let (header, rest) = whole.split_first_chunk().unwrap();
    let header = StartupHeader::parse(*header).unwrap();
    for cut in 0..rest.len() {
        assert!(header.finish(&rest[..cut]).is_err(), "{cut}");
    }
    assert!(header.finish(&[rest, &[0]].concat()).is_err());
    assert!(header.finish(rest).is_ok());
}

/// `ProcessStartupPacket`, statement by statement; it also demands that the last byte be zero,
/// which PostgreSQL only assumes.
fn layout_is_good_to_postgresql(packet: &[u8]) -> bool {
    let (buffer, length) = ([packet, &[0]].concat(), packet.len());
    let strlen = |at: usize| buffer[at..].iter().position(|byte| *byte == 0).unwrap();
    let mut offset = 4;
    while offset < length {
        if buffer[offset] == 0 {
            break;
        }
        let value_offset = offset + strlen(offset) + 1;
        if value_offset >= length {
            break;
        }
        offset = value_offset + strlen(value_offset) + 1;
    }
    offset == length - 1 && buffer[length - 1] == 0
}

proptest! {
    #[test]
    fn any_bytes_are_survived(header: [u8; 8], rest in vec(any::<u8>(), 0..300)) {
        if let Ok(header) = StartupHeader::parse(header) {
            prop_assert!(header.remaining() < 10_000);
            let _packet = header.finish(&rest);
        }
    }

    #[test]
    fn any_length_and_code_are_survived(
        length in 0_u32..400,
        code in prop_oneof![80_877_102_u32..=80_877_104, 196_600_u32..196_620],
        rest in vec(prop_oneof![Just(0), any::<u8>()], 400),
    ) {
        let mut raw = [0; 8];
        raw[..4].copy_from_slice(&length.to_be_bytes());
        raw[4..].copy_from_slice(&code.to_be_bytes());
        if let Ok(header) = StartupHeader::parse(raw)
            && let Ok(StartupPacket::Startup(message)) = header.finish(&rest[..header.remaining()])
        {
            prop_assert_eq!(message.raw().len(), length as usize);
            let shown: usize = message.parameters().map(|(n, v)| n.len() + v.len() + 2).sum();
            prop_assert_eq!(shown + 9, length as usize, "nothing is hidden from the gate");
            let _project = message.portcullis_project();
        }
    }

    #[test]
    fn a_layout_is_good_when_postgresql_says_so(
        body in vec(prop_oneof![3 => Just(0_u8), 2 => Just(b'a')], 0..24),
    ) {
        let whole = packet(196_608, &body);
        prop_assert_eq!(read(&whole).is_ok(), layout_is_good_to_postgresql(&whole[4..]));
    }
}
