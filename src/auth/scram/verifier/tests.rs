use proptest::prelude::*;

use super::*;

/// What PostgreSQL keeps of `pencil` with the salt of RFC 7677.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn refused(text: &str) -> VerifierError {
    Verifier::parse(text.as_bytes()).unwrap_err()
}

fn any_verifier() -> impl Strategy<Value = Verifier> {
    let salt = proptest::collection::vec(any::<u8>(), 1..=MAX_SALT_LENGTH);
    (salt, 1_u32..=i32::MAX as u32, any::<[u8; 8]>()).prop_map(|(salt, iterations, seed)| {
        let iterations = Iterations::new(iterations).unwrap();
        let secret = MockSecret::from_seed(&seed, iterations);
        let salt = Salt::new(&salt).unwrap();
        Verifier {
            salt,
            ..Verifier::mock(b"", &secret)
        }
    })
}

#[test]
fn a_password_becomes_the_verifier_of_rfc_7677_s_example() {
    let salt = Salt::parse(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::from_password(b"pencil", salt, Iterations::DEFAULT);
    assert_eq!(*verifier.to_text(), PENCIL);
}

#[test]
fn a_verifier_is_read_and_written_alike() {
    let verifier = Verifier::parse(PENCIL.as_bytes()).unwrap();
    assert_eq!(*verifier.to_text(), PENCIL);
    assert_eq!(verifier.iterations(), Iterations::DEFAULT);
    assert_eq!(verifier.salt().as_bytes().len(), 16);
}

#[test]
fn an_md5_hash_is_told_from_anything_else() {
    let hash = "0123456789abcdef".repeat(2);
    assert_eq!(refused(&format!("md5{hash}")), VerifierError::Md5);
    for other in [
        "md5".to_owned(),
        format!("md5{hash}0"),
        format!("md5{}", hash.to_uppercase()),
        format!("MD5{hash}"),
    ] {
        assert_eq!(refused(&other), VerifierError::Scheme);
    }
}

#[test]
fn a_password_in_clear_is_no_verifier_and_is_not_shown() {
    for text in [
        "",
        "hunter2",
        "SCRAM-SHA-256",
        "scram-sha-256$4096:hunter2",
        "SCRAM-SHA-1$4096:hunter2",
        " SCRAM-SHA-256$",
    ] {
        let error = refused(text);
        assert_eq!(error, VerifierError::Scheme);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn a_verifier_with_fields_missing_is_refused() {
    for text in [
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$4096:c2FsdA==",
        "SCRAM-SHA-256$4096:c2FsdA==$x",
        "SCRAM-SHA-256$4096$x:y",
    ] {
        assert_eq!(refused(text), VerifierError::Layout, "{text}");
    }
    let long = PENCIL.replace("W22Z", &"W22Z".repeat(200));
    assert_eq!(refused(&long), VerifierError::Layout);
}

#[test]
fn the_iteration_count_is_1_to_2147483647() {
    for count in [
        "",
        "0",
        "-1",
        "+1",
        "04096",
        " 4096",
        "4096 ",
        "2147483648",
        "99999999999999999999",
        "x",
    ] {
        let text = PENCIL.replacen("4096", count, 1);
        assert_eq!(refused(&text), VerifierError::Iterations, "{count}");
    }
    for count in ["1", "2147483647"] {
        assert!(Verifier::parse(PENCIL.replacen("4096", count, 1).as_bytes()).is_ok());
    }
}

#[test]
fn the_salt_is_1_to_256_bytes_of_base64() {
    let with = |salt: &str| PENCIL.replace("W22ZaJ0SNY7soEsUEjb6gQ==", salt);
    for salt in [
        "",
        "W22ZaJ0SNY7soEsUEjb6gQ",
        "W22ZaJ0SNY7soEsUEjb6gR==",
        "W22Z\n",
        "W22Z====",
        "W2-_",
    ] {
        assert_eq!(refused(&with(salt)), VerifierError::Salt, "{salt}");
    }
    for (length, is_good) in [(1, true), (256, true), (257, false)] {
        let text = with(&keys::encode(&vec![1; length]));
        assert_eq!(Verifier::parse(text.as_bytes()).is_ok(), is_good);
    }
}

#[test]
fn each_key_is_exactly_32_bytes_of_base64() {
    let (rest, server_key) = PENCIL.rsplit_once(':').unwrap();
    let (parameters, stored_key) = rest.rsplit_once('$').unwrap();
    let short = keys::encode(&[1; 31]);
    let long = keys::encode(&[1; 33]);
    for bad in [
        "",
        &short,
        &long,
        stored_key.trim_end_matches('='),
        &stored_key.replace("qY=", "qZ="),
    ] {
        assert_eq!(
            refused(&format!("{parameters}${bad}:{server_key}")),
            VerifierError::StoredKey
        );
        assert_eq!(
            refused(&format!("{parameters}${stored_key}:{bad}")),
            VerifierError::ServerKey
        );
    }
    for more in [":", "\n", "\0", "x"] {
        assert_eq!(
            refused(&format!("{PENCIL}{more}")),
            VerifierError::ServerKey
        );
    }
}

#[test]
fn t20_a_mock_is_the_same_for_a_name_and_another_for_another() {
    let secret = MockSecret::from_seed(b"seed", Iterations::DEFAULT);
    let of = |user: &[u8]| Verifier::mock(user, &secret).to_text();
    assert_eq!(of(b"alice"), of(b"alice"));
    assert_ne!(of(b"alice"), of(b"alicf"));
    let again = MockSecret::from_seed(b"seed", Iterations::DEFAULT);
    assert_eq!(Verifier::mock(b"alice", &again).to_text(), of(b"alice"));
    let other = MockSecret::random(Iterations::DEFAULT).unwrap();
    assert_ne!(Verifier::mock(b"alice", &other).to_text(), of(b"alice"));
}

#[test]
fn t20_a_mock_has_the_shape_of_a_real_verifier() {
    let secret = MockSecret::random(Iterations::DEFAULT).unwrap();
    let real = Verifier::from_password(b"x", Salt::random().unwrap(), Iterations::DEFAULT);
    for user in [&b""[..], b"alice", b"\xff\xfe"] {
        let mock = Verifier::mock(user, &secret);
        assert_eq!(mock.to_text().len(), real.to_text().len());
        assert_eq!(mock.iterations(), real.iterations());
    }
}

#[test]
fn a_verifier_that_was_found_is_preferred_to_its_mock() {
    let secret = MockSecret::random(Iterations::DEFAULT).unwrap();
    let found = Arc::new(Verifier::parse(PENCIL.as_bytes()).unwrap());
    let kept = Verifier::or_mock(Some(Arc::clone(&found)), b"alice", &secret);
    assert!(Arc::ptr_eq(&kept, &found));
    assert!(!Verifier::or_mock(None, b"alice", &secret).is_genuine());
}

proptest! {
    #[test]
    fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Verifier::parse(&text).is_err());
        prop_assert!(Verifier::parse(&[b"SCRAM-SHA-256$", text.as_slice()].concat()).is_err());
    }

    #[test]
    fn every_verifier_is_read_as_it_was_written(verifier in any_verifier()) {
        let text = verifier.to_text();
        let again = Verifier::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(&*again.to_text(), &*text);
    }

    #[test]
    fn what_is_read_is_what_is_written(at in any::<prop::sample::Index>(), byte: u8) {
        let mut text = PENCIL.as_bytes().to_vec();
        let at = at.index(text.len());
        *text.get_mut(at).unwrap() = byte;
        if let Ok(verifier) = Verifier::parse(&text) {
            let written = verifier.to_text();
            prop_assert_eq!(written.as_bytes(), text.as_slice());
        }
    }
}
