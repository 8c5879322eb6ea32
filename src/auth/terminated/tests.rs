//! The login between a client and a backend of the tests' own.

use std::sync::Arc;

use super::*;
use crate::auth::scram::{
    ChannelBindingOffer, ClientBinding, Credential, Iterations, Mechanism, MockSecret, NonceSent,
    ProofSent, Salt, ScramClient, ScramClientError, ScramServer, ScramServerError, Verifier,
};
use crate::pki::tls_server_end_point;
use crate::wire::message::take_message;
use crate::wire::{encode, secret};
use bytes::BytesMut;

mod hostile;
mod password;
mod sought;

const PASSWORD: &[u8] = b"correct horse";

/// A leaf's tls-server-end-point: that of one of two certificates.
fn end_point(of: &str) -> aws_lc_rs::digest::Digest {
    let params = rcgen::CertificateParams::new([of.to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    tls_server_end_point(params.self_signed(&key).unwrap().der()).unwrap()
}

fn verifier(password: &[u8], iterations: u32) -> Arc<Verifier> {
    let (salt, iterations) = (
        Salt::random().unwrap(),
        Iterations::new(iterations).unwrap(),
    );
    Arc::new(Verifier::from_password(password, salt, iterations))
}

fn message(tag: u8, body: &[u8]) -> Message {
    let mut raw = BytesMut::from(&[tag][..]);
    raw.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    raw.extend_from_slice(body);
    parse(&raw)
}

fn parse(raw: &[u8]) -> Message {
    take_message(&mut BytesMut::from(raw), 1 << 20)
        .unwrap()
        .unwrap()
}

fn secret_message(raw: &[u8]) -> SecretMessage {
    let (header, body) = raw.split_first_chunk().unwrap();
    let mut message = SecretMessage::announced(*header, 1 << 20).unwrap();
    message.body_mut().copy_from_slice(body);
    message
}

fn ok() -> Message {
    message(b'R', &0_u32.to_be_bytes())
}

fn cleartext() -> Message {
    message(b'R', &3_u32.to_be_bytes())
}

fn md5() -> Message {
    message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4])
}

fn sasl(mechanisms: &[Mechanism]) -> Message {
    let names: Vec<_> = mechanisms
        .iter()
        .map(|mechanism| mechanism.name())
        .collect();
    parse(&encode::authentication_sasl(&names))
}

/// A payload of AuthenticationSASL-something, as the client reads it.
fn payload(step: &Step) -> Vec<u8> {
    parse(&step.to_client).body()[4..].to_vec()
}

fn leg(binding: ClientBinding, is_trusted: bool) -> BackendLeg {
    BackendLeg {
        binding,
        is_trusted,
        is_vouched_for: true,
    }
}

const PLAIN: BackendLeg = BackendLeg {
    binding: ClientBinding::NoTls,
    is_trusted: true,
    is_vouched_for: true,
};

/// A login by SCRAM with this verifier, without channel binding on either leg.
fn scram(verifier: &Arc<Verifier>) -> Terminated {
    let server = ScramServer::new(Arc::clone(verifier), ChannelBindingOffer::None);
    Terminated::new(b"alice", Demand::Scram(server), PLAIN)
}

/// What the client says to `step`, AuthenticationSASL, and what it awaits then.
fn client_first(
    step: &Step,
    password: &[u8],
    binding: ClientBinding,
) -> (SecretMessage, NonceSent) {
    assert!(matches!(step.then, Then::ReadClient { max: 1024 }));
    let asked = parse(&step.to_client);
    let Ok(BackendMessage::Authentication(Authentication::Sasl { mechanisms })) =
        BackendMessage::parse(&asked)
    else {
        panic!("not AuthenticationSASL: {step:?}");
    };
    let client = ScramClient::new(Credential::password(password), binding);
    let (first, sent) = client.choose(mechanisms.iter()).unwrap();
    let raw = secret::sasl_initial_response(first.mechanism.name(), &first.message);
    (secret_message(&raw), sent)
}

/// Carries a login with `password` up to the client's proof; what comes of it, and what the client
/// awaits then.
fn prove(
    login: &mut Terminated,
    step: &Step,
    (password, binding): (&[u8], ClientBinding),
) -> (Result<Step, LoginError>, ProofSent) {
    let (first, sent) = client_first(step, password, binding);
    let step = login.client_message(&first).unwrap();
    let (last, sent) = sent.server_first(&payload(&step)).unwrap();
    let raw = secret::sasl_response(&last);
    (login.client_message(&secret_message(&raw)), sent)
}

/// Carries the gate's own login up to the backend's server-final-message, which is given.
fn serve(login: &mut Terminated, step: &Step, server: ScramServer) -> Message {
    let initial = secret_message(&step.to_backend);
    let initial = initial.sasl_initial_response().unwrap();
    let (first, awaited) = server
        .client_first(initial.mechanism, initial.response.unwrap())
        .unwrap();
    let step = login
        .backend_message(&parse(&encode::authentication_sasl_continue(&first)))
        .unwrap();
    let last = secret_message(&step.to_backend);
    let proved = awaited.client_final(last.sasl_response()).unwrap();
    parse(&encode::authentication_sasl_final(&proved.server_final))
}

#[test]
fn t19_scram_is_bound_to_each_leg_s_own_leaf() {
    let (ours, theirs) = (end_point("gate"), end_point("backend"));
    let verifier = verifier(PASSWORD, 4096);
    let server = ScramServer::new(
        Arc::clone(&verifier),
        ChannelBindingOffer::TlsServerEndPoint(ours),
    );
    let to_backend = leg(ClientBinding::TlsServerEndPoint(theirs), false);
    let mut login = Terminated::new(b"alice", Demand::Scram(server), to_backend);
    let both = [Mechanism::ScramSha256Plus, Mechanism::ScramSha256];
    let step = login.backend_message(&sasl(&both)).unwrap();
    let client = (PASSWORD, ClientBinding::TlsServerEndPoint(ours));
    let (step, awaits) = prove(&mut login, &step, client);
    let backend = ScramServer::new(verifier, ChannelBindingOffer::TlsServerEndPoint(theirs));
    // The backend checks the binding, and that PLUS was used.
    let last = serve(&mut login, &step.unwrap(), backend);
    assert_eq!(login.backend_message(&last).unwrap().to_client, "");
    let step = login.backend_message(&ok()).unwrap();
    assert_eq!(step.then, Then::Authenticated);
    let mut said = BytesMut::from(step.to_client);
    let last_words = take_message(&mut said, 1000).unwrap().unwrap();
    let verified = awaits.server_final(&last_words.body()[4..]).unwrap();
    assert_eq!(verified.mechanism(), Mechanism::ScramSha256Plus);
    assert_eq!(said, ok().raw());
}

#[test]
fn t13_what_a_leg_is_bound_to_depends_on_its_leaf_and_on_whether_it_is_verified() {
    let leaf = |algorithm| {
        let params = rcgen::CertificateParams::new(["db".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    };
    let (bound, unbound) = (
        leaf(&rcgen::PKCS_ECDSA_P256_SHA256),
        leaf(&rcgen::PKCS_ED25519),
    );
    let said = |leaf: Option<&[u8]>, is_trusted| {
        let offered = [Mechanism::ScramSha256Plus, Mechanism::ScramSha256];
        let names: Vec<_> = offered.map(|one| one.name().as_bytes().into()).into();
        BackendLeg::new(leaf, is_trusted, true)
            .ask(&names)
            .map(|(said, _)| String::from_utf8_lossy(&said).into_owned())
    };
    for is_trusted in [true, false] {
        let message = said(Some(&bound), is_trusted).unwrap();
        assert!(message.contains("p=tls-server-end-point,,"), "{message}");
        assert_eq!(
            said(None, is_trusted).unwrap_err(),
            LoginError::Backend(ScramClientError::PlusWithoutTls)
        );
    }
    assert!(said(Some(&unbound), true).unwrap().contains("n,,n=,r="));
    assert_eq!(
        said(Some(&unbound), false).unwrap_err(),
        LoginError::Backend(ScramClientError::Unbindable)
    );
}

#[test]
fn t19_a_client_that_saw_another_leaf_is_refused() {
    let server = ScramServer::new(
        verifier(PASSWORD, 1),
        ChannelBindingOffer::TlsServerEndPoint(end_point("gate")),
    );
    let mut login = Terminated::new(b"alice", Demand::Scram(server), PLAIN);
    let step = login
        .backend_message(&sasl(&[Mechanism::ScramSha256]))
        .unwrap();
    let attacker = ClientBinding::TlsServerEndPoint(end_point("attacker"));
    let (refused, _) = prove(&mut login, &step, (PASSWORD, attacker));
    assert_eq!(
        refused.unwrap_err(),
        LoginError::Client(ScramServerError::ChannelBindingMismatch)
    );
}

#[test]
fn t20_a_wrong_password_and_an_unknown_user_end_alike_and_only_after_the_proof() {
    let mocks = MockSecret::from_seed(b"seed", Iterations::DEFAULT);
    let unknown = Arc::new(Verifier::mock(b"alice", &mocks));
    let mut ends = Vec::new();
    for (verifier, password) in [
        (verifier(PASSWORD, 4096), &b"wrong"[..]),
        (unknown, PASSWORD),
    ] {
        let mut login = scram(&verifier);
        let step = login
            .backend_message(&sasl(&[Mechanism::ScramSha256]))
            .unwrap();
        let (first, sent) = client_first(&step, password, ClientBinding::NoTls);
        let step = login.client_message(&first).unwrap();
        let server_first = payload(&step);
        let (last, _) = sent.server_first(&server_first).unwrap();
        let end = login.client_message(&secret_message(&secret::sasl_response(&last)));
        ends.push((server_first.len(), end.unwrap_err()));
    }
    let wrong = LoginError::Client(ScramServerError::WrongProof);
    assert_eq!(ends[0].1, wrong);
    assert_eq!(ends[0], ends[1]);
}

/// A login up to where the backend owes its server-first-message.
fn proved() -> (Terminated, Step, Arc<Verifier>) {
    let verifier = verifier(PASSWORD, 4096);
    let mut login = scram(&verifier);
    let step = login
        .backend_message(&sasl(&[Mechanism::ScramSha256]))
        .unwrap();
    let (step, _) = prove(&mut login, &step, (PASSWORD, ClientBinding::NoTls));
    (login, step.unwrap(), verifier)
}

#[test]
fn t20_authentication_ok_before_the_backend_has_proved_itself_is_refused() {
    let (mut login, _, _) = proved();
    assert_eq!(
        login.backend_message(&ok()).unwrap_err(),
        LoginError::BackendUnproved
    );

    let (mut login, step, verifier) = proved();
    serve(
        &mut login,
        &step,
        ScramServer::new(verifier, ChannelBindingOffer::None),
    );
    assert_eq!(
        login.backend_message(&ok()).unwrap_err(),
        LoginError::BackendUnproved
    );
}

#[test]
fn t20_a_backend_with_a_wrong_signature_is_refused() {
    let (mut login, step, verifier) = proved();
    serve(
        &mut login,
        &step,
        ScramServer::new(verifier, ChannelBindingOffer::None),
    );
    let forged = format!("v={}=", "A".repeat(43));
    let last = parse(&encode::authentication_sasl_final(forged.as_bytes()));
    assert_eq!(
        login.backend_message(&last).unwrap_err(),
        LoginError::Backend(ScramClientError::WrongServerSignature)
    );
}

#[test]
fn t20_nothing_goes_on_after_an_end() {
    let (mut login, _, _) = proved();
    login.backend_message(&ok()).unwrap_err();
    assert!(login.backend_message(&ok()).is_err());
    assert!(
        login
            .backend_message(&sasl(&[Mechanism::ScramSha256]))
            .is_err()
    );
}

#[test]
fn a_backend_that_trusts_lets_in_only_who_has_proved_itself() {
    let verifier = verifier(PASSWORD, 1);
    for (password, is_in) in [(PASSWORD, true), (&b"wrong"[..], false)] {
        let mut login = scram(&verifier);
        let step = login.backend_message(&ok()).unwrap();
        let (end, _) = prove(&mut login, &step, (password, ClientBinding::NoTls));
        assert_eq!(
            end.is_ok_and(|step| step.then == Then::Authenticated),
            is_in
        );
    }
}

#[test]
fn a_backend_that_asks_for_a_password_is_not_answered_by_keys() {
    for (ask, method) in [(md5(), Method::Md5), (cleartext(), Method::Cleartext)] {
        assert_eq!(
            scram(&verifier(PASSWORD, 1))
                .backend_message(&ask)
                .unwrap_err(),
            LoginError::Unanswerable(Unanswerable::KeysOnly(method))
        );
    }
}

#[test]
fn t21_the_backends_own_error_passes_untouched() {
    let error = message(b'E', b"SFATAL\0C28000\0Mno entry\0\0");
    let mut login = scram(&verifier(PASSWORD, 1));
    let step = login.backend_message(&error).unwrap();
    assert_eq!(step.to_client, error.raw());
    let sqlstate = Some("28000".into());
    assert_eq!(step.then, Then::Refused { sqlstate });
}

#[test]
fn t11_negotiate_protocol_version_and_notices_pass_untouched() {
    let mut login = scram(&verifier(PASSWORD, 1));
    for passed in [message(b'v', &[0; 8]), message(b'N', b"SNOTICE\0\0")] {
        let step = login.backend_message(&passed).unwrap();
        assert_eq!(
            (step.to_client, step.then),
            (passed.raw().clone(), Then::ReadBackend)
        );
    }
}

#[test]
fn a_client_may_leave_its_first_message_for_later() {
    let verifier = verifier(PASSWORD, 1);
    let mut login = scram(&verifier);
    let step = login
        .backend_message(&sasl(&[Mechanism::ScramSha256]))
        .unwrap();
    let (first, sent) = client_first(&step, PASSWORD, ClientBinding::NoTls);
    let bare = first.sasl_initial_response().unwrap().response.unwrap();
    let only_name = [&b"p\0\0\0\x16SCRAM-SHA-256\0"[..], &[0xff; 4]].concat();
    let step = login.client_message(&secret_message(&only_name)).unwrap();
    assert!(payload(&step).is_empty());
    let later = secret_message(&secret::sasl_response(bare));
    let step = login.client_message(&later).unwrap();
    let (last, _) = sent.server_first(&payload(&step)).unwrap();
    let last = secret_message(&secret::sasl_response(&last));
    assert_eq!(login.client_message(&last).unwrap().then, Then::ReadBackend);
}

#[test]
fn t34_a_login_shows_no_secret() {
    let (login, step, _) = proved();
    let shown = format!("{login:?}");
    assert!(shown.contains("state: Backend"), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    let nonce = secret_message(&step.to_backend);
    assert!(!format!("{nonce:?} {step:?}").contains("r="));
}
