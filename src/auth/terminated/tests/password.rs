//! `auth = "password"`.

use super::*;

fn by_password(is_trusted: bool) -> Terminated {
    Terminated::new(
        b"alice",
        Demand::Password,
        leg(ClientBinding::NoTls, is_trusted),
    )
}

fn give(login: &mut Terminated, password: &[u8]) -> Result<Step, LoginError> {
    login.client_message(&secret_message(&secret::password_message(password)))
}

#[test]
fn a_password_is_given_as_the_backend_asks_for_it() {
    let answers = [
        (cleartext(), secret::password_message(PASSWORD)),
        (md5(), {
            let hash = crate::auth::md5::response(b"alice", PASSWORD, [1, 2, 3, 4]);
            secret::password_message(hash.as_bytes())
        }),
    ];
    for (ask, answer) in answers {
        let mut login = by_password(true);
        let step = login.backend_message(&ask).unwrap();
        assert_eq!(step.to_client, cleartext().raw());
        let step = give(&mut login, PASSWORD).unwrap();
        assert_eq!(step.to_backend, answer);
        assert_eq!(login.backend_message(&ok()).unwrap().to_client, ok().raw());
    }
}

#[test]
fn a_password_logs_in_by_scram() {
    let mut login = by_password(false);
    let step = login
        .backend_message(&sasl(&[Mechanism::ScramSha256]))
        .unwrap();
    assert_eq!(step.to_client, cleartext().raw());
    let step = give(&mut login, PASSWORD).unwrap();
    let server = ScramServer::new(verifier(PASSWORD, 4096), ChannelBindingOffer::None);
    let last = serve(&mut login, &step, server);
    login.backend_message(&last).unwrap();
    let step = login.backend_message(&ok()).unwrap();
    assert_eq!(
        (step.to_client, step.then),
        (ok().raw().clone(), Then::Authenticated)
    );
}

#[test]
fn a_password_is_not_said_or_hashed_to_somebody_unknown_and_not_asked_for_in_vain() {
    for (ask, method) in [(md5(), Method::Md5), (cleartext(), Method::Cleartext)] {
        assert_eq!(
            by_password(false).backend_message(&ask).unwrap_err(),
            LoginError::Unanswerable(Unanswerable::Unverified(method))
        );
    }
    let step = by_password(true).backend_message(&ok()).unwrap();
    assert_eq!(
        (step.to_client, step.then),
        (ok().raw().clone(), Then::Authenticated)
    );
}

#[test]
fn an_empty_password_is_refused_as_postgresql_does() {
    let mut login = by_password(true);
    login.backend_message(&cleartext()).unwrap();
    assert_eq!(
        give(&mut login, b"").unwrap_err(),
        LoginError::EmptyPassword
    );
}

#[test]
fn the_work_of_a_high_iteration_count_is_told_before_it_is_done() {
    let begin = || {
        let mut login = by_password(false);
        login
            .backend_message(&sasl(&[Mechanism::ScramSha256]))
            .unwrap();
        let step = give(&mut login, PASSWORD).unwrap();
        let initial = secret_message(&step.to_backend);
        let first = initial.sasl_initial_response().unwrap().response.unwrap();
        let first = String::from_utf8(first.to_vec()).unwrap();
        (login, first.rsplit_once("r=").unwrap().1.to_owned())
    };
    for (count, work) in [(50_000, 50_000), (2_000_000_000, 0)] {
        let (mut login, nonce) = begin();
        let first = format!("r={nonce}x,s=AAAA,i={count}");
        let first = parse(&encode::authentication_sasl_continue(first.as_bytes()));
        assert_eq!(login.work(&first), work);
        assert_eq!(login.backend_message(&first).is_ok(), work > 0, "{count}");
    }
}
