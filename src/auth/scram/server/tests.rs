use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;

use super::*;
use crate::auth::scram::{
    ClientBinding, Credential, Iterations, MockSecret, NonceSent, Salt, ScramClient,
};

mod last;

const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";
const PLAIN: &[u8] = b"SCRAM-SHA-256";

fn verifier() -> Verifier {
    let salt = Salt::new(b"salt").unwrap();
    Verifier::from_password(b"secret", salt, Iterations::new(2).unwrap())
}

fn with_tls() -> ScramServer {
    let digest = digest(&SHA256, b"leaf");
    ScramServer::new(verifier(), ChannelBindingOffer::TlsServerEndPoint(digest))
}

fn without_tls() -> ScramServer {
    ScramServer::new(verifier(), ChannelBindingOffer::None)
}

fn first(server: ScramServer, mechanism: &[u8], message: &[u8]) -> Option<ScramServerError> {
    server.client_first(mechanism, message).err()
}

fn malformed(malformed: Malformed) -> Option<ScramServerError> {
    Some(ScramServerError::Malformed(malformed))
}

/// A server that awaits a proof of exactly this nonce, and the proof that it awaits.
fn awaited(header: &str) -> (ProofAwaited, Vec<u8>) {
    let (server, sent) = begun(without_tls(), header, "client");
    let (client_final, _) = sent.server_first(b"r=clientserver,s=c2FsdA==,i=2").unwrap();
    (server, client_final)
}

fn begun(server: ScramServer, header: &str, nonce: &str) -> (ProofAwaited, NonceSent) {
    let binding = match header {
        "y,," => ClientBinding::TlsServerEndPoint(digest(&SHA256, b"leaf")),
        _ => ClientBinding::NoTls,
    };
    let client = ScramClient::new(Credential::password(b"secret"), binding);
    let (first, sent) = client.choose_with([PLAIN], nonce.to_owned()).unwrap();
    assert_eq!(first.message, format!("{header}n=,r={nonce}").as_bytes());
    let chosen = server.choose(PLAIN).unwrap();
    let (_, awaited) = chosen.client_first_with(&first.message, "server").unwrap();
    (awaited, sent)
}

fn last(message: &str) -> Option<ScramServerError> {
    awaited("n,,").0.client_final(message.as_bytes()).err()
}

#[test]
fn plus_is_offered_first_and_only_with_a_leaf_to_bind_to() {
    let both = [Mechanism::ScramSha256Plus, Mechanism::ScramSha256];
    assert_eq!(with_tls().mechanisms(), both);
    assert_eq!(without_tls().mechanisms(), [Mechanism::ScramSha256]);
}

#[test]
fn a_mechanism_that_was_not_offered_is_refused() {
    let refused = Some(ScramServerError::InvalidMechanism);
    for name in [
        &b""[..],
        b"scram-sha-256",
        b"SCRAM-SHA-1",
        b"SCRAM-SHA-256\0",
    ] {
        assert_eq!(first(with_tls(), name, b"n,,n=,r=abc"), refused);
    }
    let bound = b"p=tls-server-end-point,,n=,r=abc";
    assert_eq!(first(without_tls(), PLUS, bound), refused);
}

#[test]
fn a_first_message_may_come_after_the_mechanism() {
    let chosen = with_tls().choose(PLUS).unwrap();
    assert!(
        chosen
            .client_first(b"p=tls-server-end-point,,n=,r=abc")
            .is_ok()
    );
}

#[test]
fn t19_y_is_refused_as_a_downgrade_where_plus_was_offered() {
    let refused = first(with_tls(), PLAIN, b"y,,n=,r=abc").unwrap();
    assert_eq!(refused, ScramServerError::Downgrade);
    assert_eq!(refused.sqlstate(), "28000");
    assert!(
        refused
            .detail()
            .unwrap()
            .contains("does support channel binding")
    );
}

#[test]
fn t19_y_is_accepted_where_plus_was_not_offered() {
    assert_eq!(first(without_tls(), PLAIN, b"y,,n=,r=abc"), None);
}

#[test]
fn t19_n_is_accepted_where_plus_was_offered() {
    assert_eq!(first(with_tls(), PLAIN, b"n,,n=,r=abc"), None);
}

#[test]
fn channel_binding_data_goes_with_plus_and_only_with_plus() {
    for message in [&b"n,,n=,r=abc"[..], b"y,,n=,r=abc"] {
        let refused = first(with_tls(), PLUS, message);
        assert_eq!(refused, malformed(Malformed::PlusWithoutBinding));
    }
    let bound = b"p=tls-server-end-point,,n=,r=abc";
    assert_eq!(
        first(with_tls(), PLAIN, bound),
        malformed(Malformed::BindingWithoutPlus)
    );
    assert_eq!(
        first(without_tls(), PLAIN, bound),
        malformed(Malformed::BindingWithoutPlus)
    );
    assert_eq!(first(with_tls(), PLUS, bound), None);
}

#[test]
fn no_other_channel_binding_than_tls_server_end_point_is_supported() {
    for name in [
        "tls-unique",
        "tls-exporter",
        "",
        "tls-server-end-poin",
        "tls-server-end-pointt",
    ] {
        let message = format!("p={name},,n=,r=abc");
        let refused = first(with_tls(), PLUS, message.as_bytes()).unwrap();
        assert_eq!(refused, ScramServerError::UnsupportedChannelBinding);
        assert_eq!(refused.sqlstate(), "08P01");
    }
}

#[test]
fn an_authorization_identity_is_refused() {
    for (server, mechanism, message) in [
        (without_tls(), PLAIN, &b"n,a=bob,n=,r=abc"[..]),
        (without_tls(), PLAIN, b"y,a=bob,n=,r=abc"),
        (with_tls(), PLUS, b"p=tls-server-end-point,a=bob,n=,r=abc"),
    ] {
        let refused = first(server, mechanism, message).unwrap();
        assert_eq!(refused, ScramServerError::AuthorizationIdentity);
        assert_eq!(refused.sqlstate(), "0A000");
    }
}

#[test]
fn a_mandatory_extension_is_refused() {
    let refused = first(without_tls(), PLAIN, b"n,,m=ext,n=,r=abc").unwrap();
    assert_eq!(refused, ScramServerError::MandatoryExtension);
    assert_eq!(refused.sqlstate(), "0A000");
}

#[test]
fn the_user_s_name_in_the_message_means_nothing() {
    for name in ["", "alice", "=2C=3D", "=", "caf\u{e9}"] {
        let message = format!("n,,n={name},r=abc");
        assert_eq!(first(without_tls(), PLAIN, message.as_bytes()), None);
    }
}

#[test]
fn unknown_extensions_after_the_nonce_are_passed_over() {
    for message in ["n,,n=,r=abc,x=y", "n,,n=,r=abc,x=,Z=z=z", "n,,n=,r=abc,"] {
        assert_eq!(first(without_tls(), PLAIN, message.as_bytes()), None);
    }
    for (message, how) in [
        ("n,,n=,r=abc,1=y", Malformed::AttributeName),
        ("n,,n=,r=abc,,x=y", Malformed::AttributeName),
        ("n,,n=,r=abc,xy", Malformed::EqualsExpected),
        ("n,,n=,r=abc,x", Malformed::EqualsExpected),
    ] {
        assert_eq!(
            first(without_tls(), PLAIN, message.as_bytes()),
            malformed(how)
        );
    }
}

#[test]
fn a_nonce_that_can_t_be_printed_is_refused() {
    for nonce in [&b"a b"[..], b"a\x7f", b"\x1f", b"caf\xe9"] {
        let message = [b"n,,n=,r=", nonce].concat();
        let refused = first(without_tls(), PLAIN, &message);
        assert_eq!(refused, Some(ScramServerError::NonPrintableNonce));
    }
}

#[test]
fn a_malformed_first_message_is_refused_with_postgresql_s_detail() {
    for (message, how) in [
        (&b""[..], Malformed::Empty),
        (b"n,,n=,r=a\0", Malformed::EmbeddedZero),
        (b"x,,n=,r=abc", Malformed::ChannelBindingFlag),
        (b"N,,n=,r=abc", Malformed::ChannelBindingFlag),
        (b"n", Malformed::CommaExpected),
        (b"nn,,n=,r=abc", Malformed::CommaExpected),
        (b"n,", Malformed::Gs2Header),
        (b"n,x,n=,r=abc", Malformed::Gs2Header),
        (b"n,,", Malformed::AttributeExpected('n')),
        (b"n,,r=abc", Malformed::AttributeExpected('n')),
        (b"n,,n", Malformed::EqualsExpected),
        (b"n,,n=", Malformed::AttributeExpected('r')),
        (b"n,,n=,n=", Malformed::AttributeExpected('r')),
    ] {
        let refused = first(without_tls(), PLAIN, message);
        assert_eq!(refused, malformed(how), "{}", message.escape_ascii());
        let refused = refused.unwrap();
        assert_eq!(
            (refused.to_string().as_str(), refused.sqlstate()),
            ("malformed SCRAM message", "08P01")
        );
        assert_eq!(refused.detail(), Some(how.to_string()));
    }
    assert_eq!(
        first(with_tls(), PLUS, b"p=tls-server-end-point"),
        malformed(Malformed::Gs2Header)
    );
    assert_eq!(
        first(with_tls(), PLUS, b"p"),
        malformed(Malformed::EqualsExpected)
    );
    assert_eq!(
        first(with_tls(), PLUS, b"x"),
        malformed(Malformed::ChannelBindingFlag)
    );
}

#[test]
fn a_message_longer_than_1024_bytes_is_refused() {
    let message = |length: usize| format!("n,,n=,r={}", "a".repeat(length - 8)).into_bytes();
    assert_eq!(first(without_tls(), PLAIN, &message(1024)), None);
    assert_eq!(
        first(without_tls(), PLAIN, &message(1025)),
        malformed(Malformed::TooLong)
    );
    let long = format!("c=biws,r=clientserver,p={}", "A".repeat(1024));
    assert_eq!(last(&long), malformed(Malformed::TooLong));
}

#[test]
fn t20_t29_an_unknown_user_and_a_wrong_password_end_in_the_same_words() {
    let secret = MockSecret::from_seed(b"seed", Iterations::new(2).unwrap());
    let mock = Verifier::or_mock(None, b"nobody", &secret);
    let real = Verifier::or_mock(Some(Arc::new(verifier())), b"alice", &secret);
    let mut ends = Vec::new();
    for (verifier, password) in [(mock, b"secret"), (real, b"wrong!")] {
        let server = ScramServer::new(verifier, ChannelBindingOffer::None);
        let client = ScramClient::new(Credential::password(password), ClientBinding::NoTls);
        let (first, sent) = client.choose([PLAIN]).unwrap();
        let (server_first, server) = server.client_first(PLAIN, &first.message).unwrap();
        let (client_final, _) = sent.server_first(&server_first).unwrap();
        let refused = server.client_final(&client_final).unwrap_err();
        ends.push((refused.to_string(), refused.sqlstate(), refused.detail()));
    }
    let expected = "password authentication failed".to_owned();
    assert_eq!(ends, vec![(expected, "28P01", None); 2]);
}

#[test]
fn t20_a_mock_refuses_even_the_proof_that_it_should_accept() {
    let password =
        keys::PasswordKeys::derive(b"secret", verifier().salt(), verifier().iterations());
    let (genuine, client_final) = awaited("n,,");
    assert_eq!(
        password.client_key.stored_key().encode(),
        genuine.verifier.stored_key().encode()
    );
    let mock = ProofAwaited {
        verifier: Arc::new(verifier().into_mock()),
        ..genuine
    };
    let refused = mock.client_final(&client_final).unwrap_err();
    assert_eq!(refused, ScramServerError::WrongProof);
}

#[test]
fn two_exchanges_never_share_a_nonce() {
    let nonces: std::collections::HashSet<_> = (0..100)
        .map(|_| without_tls().client_first(PLAIN, b"n,,n=,r=x").unwrap().0)
        .collect();
    assert_eq!(nonces.len(), 100);
}

#[test]
fn t34_no_error_shows_what_the_client_sent() {
    for message in [
        &b"n,,hunter2"[..],
        b"hunter2",
        b"n,hunter2",
        b"p=hunter2,,n=,r=x",
        b"n,,n=,r=x,hunter2",
    ] {
        for (server, mechanism) in [(with_tls(), PLUS), (with_tls(), PLAIN)] {
            let refused = first(server, mechanism, message).unwrap();
            let shown = format!("{refused} {refused:?} {:?}", refused.detail());
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn any_first_message_is_survived(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        for (server, mechanism) in [(with_tls(), PLUS), (with_tls(), PLAIN), (without_tls(), &message)] {
            let _outcome = server.client_first(mechanism, &message);
        }
    }

    #[test]
    fn any_likely_first_message_is_survived(message in "[nyp]?(=tls-server-end-point)?,?a?,?([nrmx]=?[a-z,=]{0,5},?){0,4}") {
        let bytes = message.as_bytes();
        for (server, mechanism) in [(with_tls(), PLUS), (with_tls(), PLAIN), (without_tls(), PLAIN)] {
            if let Ok((server_first, _)) = server.client_first(mechanism, bytes) {
                prop_assert!(server_first.starts_with(b"r="));
                prop_assert!(message.contains(",n=") && message.contains(",r="));
            }
        }
    }
}
