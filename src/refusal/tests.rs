use bytes::BytesMut;

use super::*;
use crate::address::HostName;
use crate::auth::scram::VerifierError;
use crate::auth::terminated::{LoginError, Method};
use crate::id::ProjectName;
use crate::wire::backend::{BackendMessage, ErrorFields};
use crate::wire::message::take_message;

fn trouble() -> Trouble {
    Trouble {
        reference: 0x4711,
        detail: "10.0.0.5 is down".into(),
    }
}

fn every() -> Vec<Refusal> {
    let mut all = before_the_backend();
    all.extend(from_the_backend_on());
    all
}

fn before_the_backend() -> Vec<Refusal> {
    let address = ClientAddr::from("203.0.113.9".parse::<std::net::IpAddr>().unwrap());
    let project = Requested::from("acme".parse::<ProjectName>().unwrap());
    vec![
        Refusal::Probe,
        Refusal::DenyListed,
        Refusal::PlaintextRefused,
        Refusal::UnencryptedData,
        Refusal::DirectTlsWithoutAlpn,
        Refusal::TlsFailed("detail".into()),
        Refusal::AddressDenied {
            address,
            project: project.clone(),
        },
        Refusal::UnknownProject { address, project },
        Refusal::NoProject,
        Refusal::ProjectConflict,
        Refusal::NoCertificate(trouble()),
        Refusal::TooMany(OverLimit::SessionsOfSource(500)),
        Refusal::ClientCertificate(CertificateRefused::Missing),
        Refusal::ClientCertificate(CertificateRefused::Distrusted {
            why: Distrust::UnknownAuthority,
            certificate: "CN=mallory, serial 01".into(),
        }),
        Refusal::ClientCertificate(CertificateRefused::OtherUser {
            subject: "CN=alice".into(),
            user: "bob".into(),
        }),
    ]
}

fn from_the_backend_on() -> Vec<Refusal> {
    let violation = ProtocolViolation::StartupLayout;
    vec![
        Refusal::BackendDown(trouble()),
        Refusal::BackendTls(trouble()),
        Refusal::BackendLost(trouble()),
        Refusal::backend_violation(violation),
        Refusal::RefusedByBackend {
            sqlstate: Some("28P01".into()),
        },
        Refusal::ScramNeedsSameLeaf,
        Refusal::WrongPassword {
            user: "alice".into(),
        },
        Refusal::Sasl(ScramServerError::ChannelBindingMismatch),
        Refusal::Sasl(ScramServerError::NonceMismatch),
        Refusal::StaleVerifier {
            user: "alice".into(),
        },
        Refusal::UnusableVerifier {
            user: "alice".into(),
            why: VerifierError::Md5,
        },
        Refusal::NoVerifier(trouble()),
        Refusal::from_login(LoginError::BackendUnproved, "alice"),
        Refusal::BackendUnanswerable(Unanswerable::KeysOnly(Method::Md5)),
        Refusal::ProtocolViolation(violation),
        Refusal::ProtocolViolation(ProtocolViolation::UnsupportedVersion { major: 2, minor: 0 }),
        Refusal::LoginTimedOut,
        Refusal::Draining,
        Refusal::ClientGone,
        Refusal::UnknownCancelKey,
    ]
}

/// What a client library makes of the refusal.
fn read(refusal: &Refusal, look: impl FnOnce(ErrorFields<'_>)) {
    let mut buffer = BytesMut::from(refusal.fatal().expect("something to read"));
    let message = take_message(&mut buffer, 10_000).unwrap().unwrap();
    match BackendMessage::parse(&message) {
        Ok(BackendMessage::ErrorResponse(fields)) => look(fields),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_reason_is_in_the_table_once() {
    let reasons: Vec<_> = every().iter().map(Refusal::reason).collect();
    assert_eq!(reasons, Reason::ALL);
    for (position, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, position, "{reason:?}");
    }
    let mut labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reason::ALL.len());
}

#[test]
fn t22_sqlstates_are_those_that_client_libraries_expect() {
    let table: Vec<_> = Reason::ALL
        .iter()
        .filter_map(|reason| Some((reason.label(), reason.sqlstate()?)))
        .collect();
    assert_eq!(
        table,
        [
            ("plaintext_refused", "28000"),
            ("address_denied", "28000"),
            ("unknown_project", "28000"),
            ("no_project", "28000"),
            ("project_conflict", "28000"),
            ("no_certificate", "57P03"),
            ("too_many", "53300"),
            ("client_certificate_missing", "28000"),
            ("client_certificate_distrusted", "28000"),
            ("client_certificate_of_other", "28000"),
            ("backend_down", "57P03"),
            ("backend_tls", "08001"),
            ("backend_lost", "57P03"),
            ("backend_violation", "08P01"),
            ("scram_needs_same_leaf", "28000"),
            ("wrong_password", "28P01"),
            ("channel_binding", "28000"),
            ("sasl_violation", "08P01"),
            ("stale_verifier", "28P01"),
            ("unusable_verifier", "28P01"),
            ("no_verifier", "58000"),
            ("backend_unproved", "08001"),
            ("backend_unanswerable", "28000"),
            ("protocol_violation", "08P01"),
            ("unsupported_protocol", "0A000"),
            ("login_timed_out", "57014"),
            ("draining", "57P03"),
        ]
    );
}

#[test]
fn every_refusal_reads_as_its_sqlstate_message_and_hint() {
    let mut seen = 0;
    for refusal in every()
        .iter()
        .filter(|refusal| refusal.sqlstate().is_some())
    {
        read(refusal, |fields| {
            assert_eq!(fields.severity(), Some("FATAL"));
            assert_eq!(fields.sqlstate(), refusal.sqlstate());
            assert_eq!(fields.field(b'M'), Some(refusal.message().as_bytes()));
            let detail = refusal.detail();
            assert_eq!(fields.field(b'D'), detail.as_deref().map(str::as_bytes));
            assert_eq!(fields.field(b'H'), refusal.hint().map(str::as_bytes));
        });
        seen += 1;
    }
    assert_eq!(seen, 27);
}

#[test]
fn what_must_not_or_can_not_be_said_is_not_said() {
    let silent: Vec<_> = every()
        .iter()
        .filter(|refusal| refusal.fatal().is_none())
        .map(Refusal::label)
        .collect();
    assert_eq!(
        silent,
        [
            "probe",
            "deny_listed",
            "unencrypted_data",
            "direct_tls_without_alpn",
            "tls_failed",
            "refused_by_backend",
            "client_gone",
            "unknown_cancel_key"
        ]
    );
}

#[test]
fn a_denied_client_reads_its_address_and_what_it_asked_for() {
    let address = ClientAddr::from(
        "[::ffff:203.0.113.9]:4711"
            .parse::<std::net::SocketAddr>()
            .unwrap(),
    );
    let project = Requested::from("acme".parse::<ProjectName>().unwrap());
    let refusal = Refusal::AddressDenied { address, project };
    assert_eq!(
        refusal.message(),
        "connections from 203.0.113.9 are not allowed to \"acme\""
    );
}

#[test]
fn t29_an_unknown_project_reads_exactly_like_a_denied_address() {
    let address = ClientAddr::from("203.0.113.9".parse::<std::net::IpAddr>().unwrap());
    let project = Requested::from("db.example.com".parse::<HostName>().unwrap());
    let denied = Refusal::AddressDenied {
        address,
        project: project.clone(),
    };
    let unknown = Refusal::UnknownProject { address, project };
    assert_eq!(denied.fatal(), unknown.fatal());
    assert_ne!(
        denied.to_string(),
        unknown.to_string(),
        "the operator can tell them apart"
    );
}

#[test]
fn t19_the_ways_out_of_a_channel_binding_that_can_not_hold_are_named() {
    let hint = Refusal::ScramNeedsSameLeaf.hint().unwrap();
    for way in [
        "auth = \"scram\"",
        "server.crt",
        "Unix socket",
        "sslmode = \"disable\"",
        "channel_binding=disable",
    ] {
        assert!(hint.contains(way), "{way}");
    }
}

#[test]
fn every_way_to_name_a_project_is_in_the_hint() {
    let hint = Refusal::NoProject.hint().unwrap();
    for way in [
        "host name",
        "sslmode=require",
        "sslsni",
        "-c portcullis.project=NAME",
    ] {
        assert!(hint.contains(way), "{way}");
    }
}

#[test]
fn details_of_the_backend_are_for_the_operator_only() {
    let violation = ProtocolViolation::Malformed { tag: b'R' };
    let refusal = Refusal::BackendViolation(Trouble {
        reference: 0x4711,
        detail: violation.to_string(),
    });
    assert_eq!(
        refusal.message(),
        "the database server broke the protocol (reference 00004711)"
    );
    assert!(
        refusal
            .to_string()
            .ends_with(": a message of type 'R' is malformed")
    );
}
