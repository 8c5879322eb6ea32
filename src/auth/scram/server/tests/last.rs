use super::*;

#[test]
fn a_proof_is_verified_and_answered_with_the_server_s() {
    for header in ["n,,", "y,,"] {
        let (server, client_final) = awaited(header);
        let authenticated = server.client_final(&client_final).unwrap();
        assert!(authenticated.server_final.starts_with(b"v="));
    }
}

#[test]
fn extensions_before_the_proof_are_passed_over_and_covered_by_it() {
    let (server, client_final) = awaited("n,,");
    let text = String::from_utf8(client_final).unwrap();
    let extended = text.replace(",p=", ",x=y,Z=,p=");
    // The proof is of another message, so all that can fail is the proof.
    let refused = server.client_final(extended.as_bytes()).err();
    assert_eq!(refused, Some(ScramServerError::WrongProof));

    let (server, _) = awaited("n,,");
    let mut auth_message = server.auth_message.clone();
    auth_message.extend_from_slice(b"c=biws,r=clientserver,x=y,Z=");
    let keys = keys::PasswordKeys::derive(
        b"secret",
        server.verifier.salt(),
        server.verifier.iterations(),
    );
    let signature = keys.client_key.stored_key().sign(&auth_message);
    let proof = keys.client_key.proof(&signature).encode();
    let message = format!("c=biws,r=clientserver,x=y,Z=,p={proof}");
    assert!(server.client_final(message.as_bytes()).is_ok());
}

#[test]
fn c_must_be_the_gs2_header_that_the_exchange_began_with() {
    for (header, value) in [
        ("n,,", "eSws"),
        ("y,,", "biws"),
        ("n,,", ""),
        ("n,,", "biw="),
        ("n,,", "biwsbiws"),
    ] {
        let (server, client_final) = awaited(header);
        let text = String::from_utf8(client_final).unwrap();
        let (_, rest) = text.split_once(',').unwrap();
        let message = format!("c={value},{rest}");
        let refused = server.client_final(message.as_bytes()).err().unwrap();
        assert_eq!(refused, ScramServerError::UnexpectedChannelBinding);
        assert_eq!(refused.sqlstate(), "08P01");
    }
}

#[test]
fn t19_with_plus_c_must_be_of_the_leaf_that_was_served() {
    let bound = |leaf: &[u8]| plus_binding(digest(&SHA256, leaf).as_ref());
    for value in [
        bound(b"another leaf"),
        "biws".to_owned(),
        String::new(),
        plus_binding(b""),
    ] {
        let first = b"p=tls-server-end-point,,n=,r=client";
        let (_, server) = with_tls().client_first(PLUS, first).unwrap();
        let message = format!("c={value},r=x,p=y");
        let refused = server.client_final(message.as_bytes()).err().unwrap();
        assert_eq!(refused, ScramServerError::ChannelBindingMismatch);
        assert_eq!(refused.sqlstate(), "28000");
    }
}

#[test]
fn the_nonce_must_be_the_client_s_and_ours() {
    let proof = "A".repeat(43) + "=";
    for nonce in [
        "",
        "client",
        "server",
        "clientserve",
        "clientserverx",
        "Clientserver",
        "clientserveR",
    ] {
        let refused = last(&format!("c=biws,r={nonce},p={proof}")).unwrap();
        assert_eq!(refused, ScramServerError::NonceMismatch);
        assert_eq!(refused.sqlstate(), "08P01");
    }
}

#[test]
fn a_proof_is_32_bytes_of_base64() {
    for length in [0, 1, 31, 33, 64] {
        let proof = keys::encode(&vec![0; length]);
        let refused = last(&format!("c=biws,r=clientserver,p={proof}"));
        assert_eq!(refused, malformed(Malformed::Proof));
    }
    for proof in [
        "A".repeat(43),
        "A".repeat(44),
        "A".repeat(42) + "B=",
        "!".repeat(44),
    ] {
        let refused = last(&format!("c=biws,r=clientserver,p={proof}"));
        assert_eq!(refused, malformed(Malformed::Proof), "{proof}");
    }
}

#[test]
fn a_malformed_final_message_is_refused_with_postgresql_s_detail() {
    let proof = "A".repeat(43) + "=";
    for (message, how) in [
        (String::new(), Malformed::Empty),
        (
            "c=biws,r=clientserver,p=\0".to_owned(),
            Malformed::EmbeddedZero,
        ),
        (
            "r=clientserver".to_owned(),
            Malformed::AttributeExpected('c'),
        ),
        ("c".to_owned(), Malformed::EqualsExpected),
        ("c=biws".to_owned(), Malformed::AttributeExpected('r')),
        ("c=biws,x=y".to_owned(), Malformed::AttributeExpected('r')),
        ("c=biws,r=clientserver".to_owned(), Malformed::EndOfString),
        ("c=biws,r=clientserver,".to_owned(), Malformed::EndOfString),
        (
            "c=biws,r=clientserver,x=y".to_owned(),
            Malformed::EndOfString,
        ),
        (
            "c=biws,r=clientserver,%=y".to_owned(),
            Malformed::AttributeName,
        ),
        (
            format!("c=biws,r=clientserver,p={proof},x=y"),
            Malformed::GarbageAfterProof,
        ),
        (
            format!("c=biws,r=clientserver,p={proof},p={proof}"),
            Malformed::GarbageAfterProof,
        ),
    ] {
        assert_eq!(last(&message), malformed(how), "{message:?}");
    }
}

proptest! {
    #[test]
    fn any_final_message_is_refused(message in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(awaited("n,,").0.client_final(&message).is_err());
    }

    #[test]
    fn any_likely_final_message_is_refused(message in "(c=biws,)?(r=clientserver,)?([a-z]=?[a-z,=]{0,5},?){0,4}(p=[A-Z]{43}=)?,?") {
        prop_assert!(awaited("n,,").0.client_final(message.as_bytes()).is_err());
    }
}
