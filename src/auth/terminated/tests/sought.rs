//! A login by a verifier that is looked up once the backend has shown which one it has.

use super::*;

/// A login by a verifier that is looked up, without channel binding on either leg.
fn sought(leg: BackendLeg) -> Terminated {
    Terminated::new(b"alice", Demand::Sought(ChannelBindingOffer::None), leg)
}

/// Such a login, whose backend has shown `verifier`; the step that asks for it, and what the backend
/// awaits.
fn shown(login: &mut Terminated, verifier: &Arc<Verifier>) -> (Step, ProofAwaitedByBackend) {
    let step = login
        .backend_message(&sasl(&[Mechanism::ScramSha256]))
        .unwrap();
    assert!(step.to_client.is_empty(), "nothing is asked of the client");
    let initial = secret_message(&step.to_backend);
    let initial = initial.sasl_initial_response().unwrap();
    let server = ScramServer::new(Arc::clone(verifier), ChannelBindingOffer::None);
    let (first, awaited) = server
        .client_first(initial.mechanism, initial.response.unwrap())
        .unwrap();
    let first = parse(&encode::authentication_sasl_continue(&first));
    assert_eq!(login.work(&first), 0);
    (login.backend_message(&first).unwrap(), awaited)
}

type ProofAwaitedByBackend = crate::auth::scram::ProofAwaited;

#[test]
fn the_verifier_is_sought_by_what_the_backend_shows_and_the_login_goes_on_from_there() {
    let verifier = verifier(PASSWORD, 1);
    let mut login = sought(PLAIN);
    let (step, awaited) = shown(&mut login, &verifier);
    let Then::FindVerifier(Some(found)) = &step.then else {
        panic!("{step:?}");
    };
    assert!(found.is(&verifier));
    assert!(!found.is(&super::verifier(PASSWORD, 1)));
    let step = login.verifier(Arc::clone(&verifier)).unwrap();
    let (step, sent) = prove(&mut login, &step, (PASSWORD, ClientBinding::NoTls));
    let step = step.unwrap();
    let last = secret_message(&step.to_backend);
    let proved = awaited.client_final(last.sasl_response()).unwrap();
    let last = parse(&encode::authentication_sasl_final(&proved.server_final));
    login.backend_message(&last).unwrap();
    let step = login.backend_message(&ok()).unwrap();
    assert_eq!(step.then, Then::Authenticated);
    sent.server_final(&payload(&step)).unwrap();
}

#[test]
fn t20_the_proof_goes_to_no_backend_that_has_another_verifier() {
    let (theirs, ours) = (verifier(PASSWORD, 1), verifier(PASSWORD, 1));
    let mut login = sought(PLAIN);
    let (_, _awaited) = shown(&mut login, &theirs);
    let step = login.verifier(ours).unwrap();
    let (step, _) = prove(&mut login, &step, (PASSWORD, ClientBinding::NoTls));
    let changed = LoginError::Backend(ScramClientError::VerifierChanged);
    assert_eq!(step.unwrap_err(), changed);
}

#[test]
fn t20_a_backend_that_lets_in_without_a_proof_is_believed_only_where_nobody_else_can_be() {
    let nobody = BackendLeg {
        is_trusted: false,
        is_vouched_for: false,
        ..PLAIN
    };
    let here = BackendLeg {
        is_vouched_for: true,
        ..nobody
    };
    let server = || ScramServer::new(verifier(PASSWORD, 1), ChannelBindingOffer::None);
    let demands: [fn(ScramServer) -> Demand; 3] = [
        Demand::Scram,
        |_| Demand::Sought(ChannelBindingOffer::None),
        |_| Demand::Password,
    ];
    for demand in demands {
        let mut login = Terminated::new(b"alice", demand(server()), nobody);
        let refused = login.backend_message(&ok()).unwrap_err();
        assert_eq!(refused, LoginError::BackendUnproved);
        let mut login = Terminated::new(b"alice", demand(server()), here);
        login.backend_message(&ok()).unwrap();
    }
}

#[test]
fn t20_messages_out_of_turn_end_a_login_whose_verifier_is_sought() {
    let asked = || {
        let mut login = sought(PLAIN);
        login
            .backend_message(&sasl(&[Mechanism::ScramSha256]))
            .unwrap();
        login
    };
    assert_eq!(
        asked().backend_message(&ok()).unwrap_err(),
        LoginError::BackendUnproved
    );
    for stray in [
        md5(),
        cleartext(),
        sasl(&[Mechanism::ScramSha256]),
        parse(&encode::authentication_sasl_final(b"v=x")),
        message(b'Z', b"I"),
    ] {
        let refused = asked().backend_message(&stray).unwrap_err();
        assert_eq!(refused, LoginError::BackendViolation(stray.unexpected()));
    }
    for first in ["", "r=other,s=AAAA,i=1", "r=,s=AAAA,i=1"] {
        let first = parse(&encode::authentication_sasl_continue(first.as_bytes()));
        asked().backend_message(&first).unwrap_err();
    }
    asked().verifier(verifier(PASSWORD, 1)).unwrap_err();
    let refused = sought(PLAIN).backend_message(&md5()).unwrap_err();
    let keys_only = Unanswerable::KeysOnly(Method::Md5);
    assert_eq!(refused, LoginError::Unanswerable(keys_only));
}
