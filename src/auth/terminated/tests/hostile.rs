//! Peers that say what they should not (T20).

use proptest::prelude::*;

use super::*;

/// Makes a server-first-message of the client's nonce.
type Forge = fn(&str) -> String;

#[test]
fn t20_what_a_hostile_backend_says_instead_of_server_first_ends_the_login() {
    let begin = |step: &Step| {
        let initial = secret_message(&step.to_backend);
        let initial = initial.sasl_initial_response().unwrap();
        let first = String::from_utf8(initial.response.unwrap().to_vec()).unwrap();
        first.rsplit_once("r=").unwrap().1.to_owned()
    };
    let cases: [(Forge, _); 6] = [
        (
            |r| format!("r={r}x,s=AAAA,i=1"),
            LoginError::Backend(ScramClientError::VerifierChanged),
        ),
        (
            |_| "r=other,s=AAAA,i=1".to_owned(),
            LoginError::Backend(ScramClientError::NonceMismatch),
        ),
        (
            |r| format!("r={r},s=AAAA,i=1"),
            LoginError::Backend(ScramClientError::NonceMismatch),
        ),
        (
            |r| format!("r={r}x,s=A,i=1"),
            LoginError::Backend(crate::auth::scram::Malformed::Salt.into()),
        ),
        (
            |r| format!("r={r}x,s=AAAA,i=99999999999"),
            LoginError::Backend(crate::auth::scram::Malformed::Iterations.into()),
        ),
        (
            |_| String::new(),
            LoginError::Backend(crate::auth::scram::Malformed::Empty.into()),
        ),
    ];
    for (forge, expected) in cases {
        let (mut login, step, _) = proved();
        let forged = forge(&begin(&step));
        let first = parse(&encode::authentication_sasl_continue(forged.as_bytes()));
        assert_eq!(login.work(&first), 0);
        assert_eq!(
            login.backend_message(&first).unwrap_err(),
            expected,
            "{forged}"
        );
    }
}

#[test]
fn t20_messages_out_of_turn_end_the_login() {
    let strays = [
        message(b'Z', b"I"),
        message(b'K', &[0; 8]),
        message(b'D', b""),
        message(b'v', &[0; 8]),
        md5(),
        parse(&encode::authentication_sasl_final(b"v=x")),
    ];
    for stray in strays {
        let (mut login, _, _) = proved();
        assert_eq!(
            login.backend_message(&stray).unwrap_err(),
            LoginError::BackendViolation(stray.unexpected())
        );
    }
    // Nor may the client say anything before it is asked, or more than it is asked for.
    let early = secret_message(&secret::password_message(PASSWORD));
    let unexpected = LoginError::ClientViolation(SecretMessage::UNEXPECTED);
    let mut login = scram(&verifier(PASSWORD, 1));
    assert_eq!(login.client_message(&early).unwrap_err(), unexpected);
    let (mut login, _, _) = proved();
    assert_eq!(login.client_message(&early).unwrap_err(), unexpected);
}

proptest! {
    #[test]
    fn t20_any_message_of_a_backend_is_survived_and_none_but_ok_lets_anybody_in(
        tag in prop::sample::select(b"RRRRENKZvSD".to_vec()),
        code in 0_u32..14,
        data in proptest::collection::vec(any::<u8>(), 0..80),
        turn in 0..3,
    ) {
        let body = if tag == b'R' { [&code.to_be_bytes()[..], &data].concat() } else { data };
        let stray = message(tag, &body);
        let (mut login, step, verifier) = proved();
        match turn {
            0 => login = scram(&verifier),
            1 => {}
            _ => drop(serve(&mut login, &step, ScramServer::new(verifier, ChannelBindingOffer::None))),
        }
        if let Ok(step) = login.backend_message(&stray) {
            prop_assert_ne!(step.then, Then::Authenticated);
        }
    }

    #[test]
    fn t20_any_message_of_a_client_is_survived_and_proves_nothing(
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut login = scram(&verifier(PASSWORD, 1));
        let step = login.backend_message(&sasl(&[Mechanism::ScramSha256])).unwrap();
        let (first, _) = client_first(&step, PASSWORD, ClientBinding::NoTls);
        prop_assert!(login.client_message(&first).is_ok());
        let stray = secret_message(&secret::sasl_response(&data));
        prop_assert!(login.client_message(&stray).is_err());
        let mut login = scram(&verifier(PASSWORD, 1));
        login.backend_message(&sasl(&[Mechanism::ScramSha256])).unwrap();
        prop_assert!(login.client_message(&stray).is_err());
    }
}
