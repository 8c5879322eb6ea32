use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use proptest::prelude::*;

use super::*;
use crate::auth::scram::Verifier;

const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";
const PLAIN: &[u8] = b"SCRAM-SHA-256";

fn salt() -> Salt {
    Salt::new(b"salt").unwrap()
}

fn end_point() -> ClientBinding {
    ClientBinding::TlsServerEndPoint(digest(&SHA256, b"leaf"))
}

fn by_password() -> Credential {
    Credential::password(b"secret")
}

/// Keys as a client's proof would have left them.
fn proven() -> ProvenKeys {
    let iterations = Iterations::new(2).unwrap();
    let verifier = Verifier::from_password(b"secret", salt(), iterations);
    let keys = PasswordKeys::derive(b"secret", &salt(), iterations);
    ProvenKeys::new(keys.client_key, Arc::new(verifier))
}

fn choose(binding: ClientBinding, offered: &[&[u8]]) -> Result<ClientFirst, ScramClientError> {
    let client = ScramClient::new(by_password(), binding);
    let (first, _) = client.choose_with(offered.iter().copied(), "nonce".to_owned())?;
    Ok(first)
}

fn sent(credential: impl Into<Credential>) -> NonceSent {
    let client = ScramClient::new(credential, ClientBinding::NoTls);
    client.choose_with([PLAIN], "nonce".to_owned()).unwrap().1
}

fn first(message: &str) -> Option<ScramClientError> {
    sent(by_password()).server_first(message.as_bytes()).err()
}

fn proof_sent() -> ProofSent {
    sent(by_password())
        .server_first(b"r=nonceX,s=c2FsdA==,i=2")
        .unwrap()
        .1
}

fn last(message: &str) -> Option<ScramClientError> {
    proof_sent().server_final(message.as_bytes()).err()
}

fn malformed(malformed: Malformed) -> Option<ScramClientError> {
    Some(ScramClientError::Malformed(malformed))
}

#[test]
fn the_client_speaks_the_exchange_of_rfc_7677() {
    let sent = NonceSent {
        credential: Credential::password(b"pencil"),
        greeting: Greeting {
            mechanism: Mechanism::ScramSha256,
            channel_binding: "biws".to_owned(),
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
            bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
        },
    };
    let (client_final, sent) = sent
        .server_first(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        )
        .unwrap();
    assert_eq!(
        client_final,
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
          p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let verified = sent.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(verified.unwrap().mechanism(), Mechanism::ScramSha256);
}

#[test]
fn t19_plus_is_chosen_over_tls_wherever_it_stands_in_the_list() {
    for offered in [
        &[PLUS, PLAIN][..],
        &[PLAIN, PLUS],
        &[b"OAUTHBEARER", PLUS],
        &[PLUS],
    ] {
        let first = choose(end_point(), offered).unwrap();
        assert_eq!(first.mechanism, Mechanism::ScramSha256Plus);
        assert_eq!(first.message, b"p=tls-server-end-point,,n=,r=nonce");
    }
}

#[test]
fn t19_over_tls_without_plus_on_the_list_the_client_says_y() {
    let first = choose(end_point(), &[PLAIN]).unwrap();
    assert_eq!(first.mechanism, Mechanism::ScramSha256);
    assert_eq!(first.message, b"y,,n=,r=nonce");
}

#[test]
fn t19_without_tls_or_over_tls_that_is_verified_without_an_end_point_the_client_says_n() {
    for (binding, offered) in [
        (ClientBinding::NoTls, &[PLAIN][..]),
        (ClientBinding::Verified, &[PLAIN]),
        (ClientBinding::Verified, &[PLUS, PLAIN]),
    ] {
        let first = choose(binding, offered).unwrap();
        assert_eq!(first.mechanism, Mechanism::ScramSha256);
        assert_eq!(first.message, b"n,,n=,r=nonce");
    }
}

/// Or else whoever is in the middle would show such a leaf, and pass on a proof that is bound to nothing.
#[test]
fn t19_a_leaf_without_an_end_point_that_nobody_verified_is_no_way_around_channel_binding() {
    for offered in [&[PLUS, PLAIN][..], &[PLUS]] {
        let refused = choose(ClientBinding::Unbindable, offered).unwrap_err();
        assert_eq!(refused, ScramClientError::Unbindable);
        assert!(refused.to_string().contains("verify-full"), "{refused}");
    }
    // Taken off the list on the way, it is missed by the server that did offer it.
    let first = choose(ClientBinding::Unbindable, &[PLAIN]).unwrap();
    assert_eq!(first.message, b"y,,n=,r=nonce");
}

#[test]
fn t19_plus_offered_without_tls_ends_the_login() {
    let refused = choose(ClientBinding::NoTls, &[PLUS, PLAIN]).unwrap_err();
    assert_eq!(refused, ScramClientError::PlusWithoutTls);
}

#[test]
fn a_list_without_a_mechanism_of_ours_ends_the_login() {
    for (binding, offered) in [
        (end_point(), &[][..]),
        (
            end_point(),
            &[
                &b"OAUTHBEARER"[..],
                b"SCRAM-SHA-1",
                b"SCRAM-SHA-256-PLU",
                b"",
            ],
        ),
        (ClientBinding::NoTls, &[b"scram-sha-256"]),
        (ClientBinding::Verified, &[PLUS]),
        (ClientBinding::Unbindable, &[b"OAUTHBEARER"]),
    ] {
        assert_eq!(
            choose(binding, offered).unwrap_err(),
            ScramClientError::NoMechanism
        );
    }
}

#[test]
fn t20_a_nonce_that_does_not_go_on_from_ours_is_refused() {
    for nonce in ["", "nonc", "nonce", "Xnonce", "nonceless"] {
        let expected = (nonce != "nonceless").then_some(ScramClientError::NonceMismatch);
        assert_eq!(
            first(&format!("r={nonce},s=c2FsdA==,i=2")),
            expected,
            "{nonce}"
        );
    }
    assert_eq!(
        first("r=nonce\u{e9},s=c2FsdA==,i=2"),
        malformed(Malformed::ServerNonce)
    );
    assert_eq!(
        first("r=nonce a,s=c2FsdA==,i=2"),
        malformed(Malformed::ServerNonce)
    );
}

#[test]
fn t20_a_salt_is_1_to_256_bytes_of_base64() {
    for salt in [
        "",
        "c2FsdA",
        "c2FsdA=",
        "c2FsdB==",
        "c2Fs dA==",
        "!!!!",
        "=",
        "c2FsdA==c2FsdA==",
    ] {
        assert_eq!(
            first(&format!("r=nonceX,s={salt},i=2")),
            malformed(Malformed::Salt),
            "{salt}"
        );
    }
    for (length, expected) in [(256, None), (257, malformed(Malformed::Salt))] {
        let salt = keys::encode(&vec![7; length]);
        assert_eq!(first(&format!("r=nonceX,s={salt},i=2")), expected);
    }
}

#[test]
fn t20_an_iteration_count_is_a_positive_number() {
    for count in [
        "",
        "0",
        "-1",
        "+1",
        " 1",
        "1 ",
        "01",
        "1e3",
        "0x10",
        "4096a",
        "2147483648",
        "4294967297",
        "99999999999999999999",
    ] {
        let refused = first(&format!("r=nonceX,s=c2FsdA==,i={count}"));
        assert_eq!(refused, malformed(Malformed::Iterations), "{count}");
    }
}

#[test]
fn t20_a_huge_iteration_count_is_not_worked_off_for_a_password() {
    for count in ["1000001", "2147483647"] {
        let refused = first(&format!("r=nonceX,s=c2FsdA==,i={count}"));
        assert_eq!(refused, Some(ScramClientError::TooManyIterations));
    }
}

#[test]
fn t20_a_malformed_server_first_message_is_refused() {
    for (message, how) in [
        ("", Malformed::Empty),
        ("r=nonceX,s=c2FsdA==,i=2\0", Malformed::EmbeddedZero),
        (
            "m=ext,r=nonceX,s=c2FsdA==,i=2",
            Malformed::AttributeExpected('r'),
        ),
        ("e=other-error", Malformed::AttributeExpected('r')),
        ("r", Malformed::EqualsExpected),
        ("r=nonceX", Malformed::AttributeExpected('s')),
        ("r=nonceX,i=2,s=c2FsdA==", Malformed::AttributeExpected('s')),
        ("r=nonceX,s=c2FsdA==", Malformed::AttributeExpected('i')),
        (
            "r=nonceX,s=c2FsdA==,i=2,x=y",
            Malformed::GarbageAfterIterations,
        ),
    ] {
        assert_eq!(first(message), malformed(how), "{message:?}");
    }
    let long = format!("r=nonce{},s=c2FsdA==,i=2", "X".repeat(2000));
    assert_eq!(first(&long), malformed(Malformed::TooLong));
}

#[test]
fn a_client_s_key_is_used_only_with_the_verifier_that_it_was_proved_by() {
    let answer = |message: &[u8]| sent(proven()).server_first(message);
    assert!(answer(b"r=nonceX,s=c2FsdA==,i=2").is_ok());
    for changed in [&b"r=nonceX,s=c2FsdA==,i=3"[..], b"r=nonceX,s=c2FsdDI=,i=2"] {
        let refused = answer(changed).unwrap_err();
        assert_eq!(refused, ScramClientError::VerifierChanged);
        assert_eq!(refused.sqlstate(), "28P01");
    }
}

#[test]
fn a_client_s_key_and_its_password_make_the_same_proof() {
    let message = b"r=nonceX,s=c2FsdA==,i=2";
    let (by_keys, _) = sent(proven()).server_first(message).unwrap();
    let (by_password, _) = sent(by_password()).server_first(message).unwrap();
    assert_eq!(by_keys, by_password);
}

#[test]
fn t20_a_backend_that_does_not_know_the_verifier_is_found_out() {
    let other = keys::encode(&[0; 32]);
    assert_eq!(
        last(&format!("v={other}")),
        Some(ScramClientError::WrongServerSignature)
    );
    let good = proof_sent().server_signature.encode();
    assert_eq!(last(&format!("v={good}")), None);
}

#[test]
fn t20_a_backend_s_error_ends_the_login_without_its_words() {
    for message in ["e=invalid-proof", "e=", "e=hunter2,v=x"] {
        let refused = last(message).unwrap();
        assert_eq!(refused, ScramClientError::Refused);
        assert!(!format!("{refused} {refused:?}").contains("hunter"));
    }
}

#[test]
fn t20_a_malformed_server_final_message_is_refused() {
    let good = proof_sent().server_signature.encode();
    for (message, how) in [
        (String::new(), Malformed::Empty),
        (format!("v={good}\0"), Malformed::EmbeddedZero),
        ("e".to_owned(), Malformed::AttributeExpected('v')),
        ("v".to_owned(), Malformed::EqualsExpected),
        ("v=".to_owned(), Malformed::ServerSignature),
        (
            format!("v={}", keys::encode(&[0; 31])),
            Malformed::ServerSignature,
        ),
        (
            format!("v={}", keys::encode(&[0; 33])),
            Malformed::ServerSignature,
        ),
        (
            format!("v={}", good.trim_end_matches('=')),
            Malformed::ServerSignature,
        ),
        (format!("x=y,v={good}"), Malformed::AttributeExpected('v')),
        (format!("v={good},x=y"), Malformed::GarbageAfterSignature),
        ("v".repeat(2001), Malformed::TooLong),
    ] {
        assert_eq!(last(&message), malformed(how), "{message:?}");
    }
}

#[test]
fn two_exchanges_never_share_a_nonce() {
    let message = || {
        ScramClient::new(by_password(), ClientBinding::NoTls)
            .choose([PLAIN])
            .unwrap()
            .0
    };
    let nonces: std::collections::HashSet<_> = (0..100).map(|_| message().message).collect();
    assert_eq!(nonces.len(), 100);
}

proptest! {
    #[test]
    fn t20_any_list_is_survived(names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..5)) {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        prop_assert!(choose(end_point(), &names).is_err());
    }

    #[test]
    fn t20_any_server_first_message_is_survived(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(sent(by_password()).server_first(&message).is_err());
        prop_assert!(sent(proven()).server_first(&message).is_err());
    }

    #[test]
    fn t20_any_likely_server_first_message_is_survived(message in "(r=nonce[a-z]{0,3},)?(s=[A-Za-z0-9]{0,8}=?=?,)?(i=[0-9]{0,3})?(,[a-z]=[a-z]{0,3})?") {
        if sent(by_password()).server_first(message.as_bytes()).is_ok() {
            prop_assert!(message.starts_with("r=nonce") && message.contains(",s=") && message.contains(",i="));
        }
        let _outcome = sent(proven()).server_first(message.as_bytes());
    }

    #[test]
    fn t20_any_server_final_message_is_refused(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(proof_sent().server_final(&message).is_err());
    }

    #[test]
    fn t20_any_likely_server_final_message_is_refused(message in "[ev]?=?[A-Za-z0-9+/]{40,44}=?(,[a-z]=[a-z]{0,3})?") {
        prop_assert!(proof_sent().server_final(message.as_bytes()).is_err());
    }
}
