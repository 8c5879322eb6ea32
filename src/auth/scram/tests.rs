//! The exchange of RFC 7677, both halves against each other, and against another client.

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;

use super::*;

const NAMES: [&[u8]; 2] = [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"];

fn leaf(name: &str) -> Digest {
    digest(&SHA256, name.as_bytes())
}

fn bound_to(name: &str) -> (ChannelBindingOffer, ClientBinding) {
    let digest = leaf(name);
    (
        ChannelBindingOffer::TlsServerEndPoint(digest),
        ClientBinding::TlsServerEndPoint(digest),
    )
}

fn few_iterations() -> Iterations {
    Iterations::new(3).unwrap()
}

fn verifier(password: &[u8]) -> Arc<Verifier> {
    let salt = Salt::new(b"sixteen byte salt").unwrap();
    Arc::new(Verifier::from_password(password, salt, few_iterations()))
}

fn offered(server: &ScramServer) -> Vec<&'static [u8]> {
    let names = server.mechanisms().iter();
    names.map(|mechanism| mechanism.name().as_bytes()).collect()
}

/// A whole exchange between our two halves.
fn exchange(
    server: ScramServer,
    client: ScramClient,
) -> Result<(ClientFirst, ProvenKeys, BackendVerified), String> {
    let (first, sent) = client.choose(offered(&server)).map_err(|e| e.to_string())?;
    let mechanism = first.mechanism.name().as_bytes();
    let answer = server.client_first(mechanism, &first.message);
    let (server_first, awaited) = answer.map_err(|e| e.to_string())?;
    let answer = sent.server_first(&server_first);
    let (client_final, sent) = answer.map_err(|e| e.to_string())?;
    let authenticated = awaited
        .client_final(&client_final)
        .map_err(|e| e.to_string())?;
    let server_final = authenticated.server_final;
    let verified = sent
        .server_final(&server_final)
        .map_err(|e| e.to_string())?;
    Ok((first, authenticated.keys, verified))
}

#[test]
fn the_server_speaks_the_exchange_of_rfc_7677() {
    let salt = Salt::parse(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::from_password(b"pencil", salt, Iterations::DEFAULT);
    let (server_first, awaited) = ScramServer::new(verifier, ChannelBindingOffer::None)
        .choose(b"SCRAM-SHA-256")
        .unwrap()
        .client_first_with(
            b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        .unwrap();
    assert_eq!(
        server_first,
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let authenticated = awaited
        .client_final(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(
        authenticated.server_final,
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}

#[test]
fn both_halves_understand_each_other_with_and_without_channel_binding() {
    let (offer, binding) = bound_to("leaf");
    for (offer, binding, mechanism, header) in [
        (
            offer,
            binding,
            Mechanism::ScramSha256Plus,
            "p=tls-server-end-point,,",
        ),
        (
            offer,
            ClientBinding::Verified,
            Mechanism::ScramSha256,
            "n,,",
        ),
        (
            ChannelBindingOffer::None,
            binding,
            Mechanism::ScramSha256,
            "y,,",
        ),
        (
            ChannelBindingOffer::None,
            ClientBinding::Verified,
            Mechanism::ScramSha256,
            "n,,",
        ),
        (
            ChannelBindingOffer::None,
            ClientBinding::NoTls,
            Mechanism::ScramSha256,
            "n,,",
        ),
    ] {
        let server = ScramServer::new(verifier(b"secret"), offer);
        let client = ScramClient::new(Credential::password(b"secret"), binding);
        let (first, _, verified) = exchange(server, client).unwrap();
        assert_eq!(verified.mechanism(), mechanism);
        assert!(first.message.starts_with(header.as_bytes()));
    }
}

#[test]
fn t19_the_key_of_a_proof_logs_in_to_a_backend_bound_to_another_leaf() {
    let (gate, client_leg) = bound_to("the gate's leaf");
    let (backend, backend_leg) = bound_to("the backend's leaf");
    let known = verifier(b"secret");
    let server = ScramServer::new(Arc::clone(&known), gate);
    let client = ScramClient::new(Credential::password(b"secret"), client_leg);
    let (_, keys, _) = exchange(server, client).unwrap();

    let server = ScramServer::new(known, backend);
    let (_, again, verified) = exchange(server, ScramClient::new(keys, backend_leg)).unwrap();
    assert_eq!(verified.mechanism(), Mechanism::ScramSha256Plus);

    let server = ScramServer::new(verifier(b"secret"), ChannelBindingOffer::None);
    assert!(exchange(server, ScramClient::new(again, ClientBinding::NoTls)).is_ok());
}

#[test]
fn t19_whoever_terminates_tls_in_front_of_the_gate_is_found_out() {
    let (gate, _) = bound_to("the gate's leaf");
    let (_, seen) = bound_to("the attacker's leaf");
    let server = ScramServer::new(verifier(b"secret"), gate);
    let client = ScramClient::new(Credential::password(b"secret"), seen);
    assert_eq!(
        exchange(server, client).unwrap_err(),
        ScramServerError::ChannelBindingMismatch.to_string()
    );
}

#[test]
fn a_wrong_password_is_refused() {
    let server = ScramServer::new(verifier(b"secret"), ChannelBindingOffer::None);
    let client = ScramClient::new(Credential::password(b"Secret"), ClientBinding::NoTls);
    assert_eq!(
        exchange(server, client).unwrap_err(),
        ScramServerError::WrongProof.to_string()
    );
}

#[test]
fn t34_no_state_and_no_secret_is_shown() {
    let known = verifier(b"secret");
    let (offer, binding) = bound_to("leaf");
    let credential = Credential::password(b"secret");
    let mut shown = format!("{known:?} {credential:?} {:?}", Salt::random());
    let server = ScramServer::new(Arc::clone(&known), offer);
    let client = ScramClient::new(credential, binding);
    shown += &format!("{server:?} {client:?}");
    let (first, sent) = client.choose(NAMES).unwrap();
    let chosen = server.choose(b"SCRAM-SHA-256-PLUS").unwrap();
    shown += &format!("{sent:?} {chosen:?}");
    let (server_first, awaited) = chosen.client_first(&first.message).unwrap();
    let (client_final, sent) = sent.server_first(&server_first).unwrap();
    shown += &format!("{sent:?} {awaited:?}");
    let authenticated = awaited.client_final(&client_final).unwrap();
    let keys = &authenticated.keys;
    shown += &format!("{authenticated:?} {keys:?} {:?}", keys.client_key());
    shown += &format!("{:?}", MockSecret::from_seed(b"seed", few_iterations()));
    for part in known.to_text().split(['$', ':']).skip(3) {
        assert!(!shown.contains(part));
    }
    let dots = shown.matches("..").count();
    assert_eq!((dots, shown.contains("secret")), (12, false), "{shown}");
}

/// `postgres-protocol`'s client, as `tokio-postgres` uses it, against our server.
fn their_client(
    password: &[u8],
    binding: ChannelBinding,
    server: ScramServer,
    mechanism: &[u8],
) -> Result<ProvenKeys, ScramServerError> {
    let mut theirs = ScramSha256::new(password, binding);
    let (server_first, awaited) = server.client_first(mechanism, theirs.message())?;
    theirs.update(&server_first).unwrap();
    let authenticated = awaited.client_final(theirs.message())?;
    theirs.finish(&authenticated.server_final).unwrap();
    Ok(authenticated.keys)
}

#[test]
fn another_client_logs_in_with_and_without_channel_binding() {
    let (offer, _) = bound_to("leaf");
    let bound = || ChannelBinding::tls_server_end_point(leaf("leaf").as_ref().to_vec());
    for (offer, binding, mechanism) in [
        (offer, bound(), &b"SCRAM-SHA-256-PLUS"[..]),
        (offer, ChannelBinding::unsupported(), b"SCRAM-SHA-256"),
        (
            ChannelBindingOffer::None,
            ChannelBinding::unrequested(),
            b"SCRAM-SHA-256",
        ),
        (
            ChannelBindingOffer::None,
            ChannelBinding::unsupported(),
            b"SCRAM-SHA-256",
        ),
    ] {
        let server = ScramServer::new(verifier(b"secret"), offer);
        assert!(their_client(b"secret", binding, server, mechanism).is_ok());
    }
    let server = ScramServer::new(verifier(b"secret"), offer);
    let refused = their_client(b"secret", ChannelBinding::unrequested(), server, NAMES[1]);
    assert_eq!(refused.unwrap_err(), ScramServerError::Downgrade);
}

/// Any byte but zero, which no password can hold.
fn any_password() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(1_u8.., 1..30),
        "[\\PC\u{ad}\u{a0}\u{2168}א-ת]{1,10}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_client_derives_the_same_keys_from_an_ascii_password(
        password in "[ -~]{1,40}",
        salt in proptest::collection::vec(any::<u8>(), 1..64),
        iterations in 1_u32..200,
    ) {
        let (salt, iterations) = (Salt::new(&salt).unwrap(), Iterations::new(iterations).unwrap());
        let known = Verifier::from_password(password.as_bytes(), salt, iterations);
        let server = ScramServer::new(known, ChannelBindingOffer::None);
        let binding = ChannelBinding::unsupported();
        prop_assert!(their_client(password.as_bytes(), binding, server, NAMES[1]).is_ok());
    }

    #[test]
    fn any_password_logs_in_and_no_other_does(password in any_password(), other in any_password()) {
        let known = verifier(&password);
        let login = |password: &[u8]| {
            let server = ScramServer::new(Arc::clone(&known), ChannelBindingOffer::None);
            exchange(server, ScramClient::new(Credential::password(password), ClientBinding::NoTls))
        };
        prop_assert!(login(&password).is_ok());
        prop_assert_eq!(login(&other).is_ok(), *prepare::prepare(&password) == *prepare::prepare(&other));
    }

    #[test]
    fn no_message_survives_the_change_of_a_byte(at in any::<prop::sample::Index>(), mask in 1_u8.., which in 0..4_usize) {
        let (offer, binding) = bound_to("leaf");
        let corrupted = corrupt_one(offer, binding, which, &|message: &mut Vec<u8>| {
            let at = at.index(message.len());
            message[at] ^= mask;
        });
        prop_assert!(corrupted.is_err());
    }
}

/// An exchange one of whose four messages is changed on its way.
fn corrupt_one(
    offer: ChannelBindingOffer,
    binding: ClientBinding,
    which: usize,
    change: &dyn Fn(&mut Vec<u8>),
) -> Result<(), String> {
    let pass = |number: usize, mut message: Vec<u8>| {
        if number == which {
            change(&mut message);
        }
        message
    };
    let server = ScramServer::new(verifier(b"secret"), offer);
    let client = ScramClient::new(Credential::password(b"secret"), binding);
    let (first, sent) = client.choose(offered(&server)).map_err(|e| e.to_string())?;
    let mechanism = first.mechanism.name().as_bytes();
    let answer = server.client_first(mechanism, &pass(0, first.message));
    let (server_first, awaited) = answer.map_err(|e| e.to_string())?;
    let answer = sent.server_first(&pass(1, server_first));
    let (client_final, sent) = answer.map_err(|e| e.to_string())?;
    let answer = awaited.client_final(&pass(2, client_final));
    let authenticated = answer.map_err(|e| e.to_string())?;
    let verified = sent.server_final(&pass(3, authenticated.server_final));
    verified.map(drop).map_err(|e| e.to_string())
}

#[test]
fn no_message_survives_any_change_of_any_byte_to_its_neighbours() {
    let (offer, binding) = bound_to("leaf");
    let mut changed = 0;
    for which in 0..4 {
        for at in 0..200 {
            for mask in [1, 0x20, 0x80] {
                let cell = std::cell::Cell::new(false);
                let outcome = corrupt_one(offer, binding, which, &|message| {
                    if let Some(byte) = message.get_mut(at) {
                        *byte ^= mask;
                        cell.set(true);
                    }
                });
                assert_eq!(outcome.is_err(), cell.get(), "message {which}, byte {at}");
                changed += usize::from(cell.get());
            }
        }
    }
    assert!(changed > 1000, "{changed}");
}

#[test]
fn no_message_survives_being_cut_or_doubled() {
    let (offer, binding) = bound_to("leaf");
    for which in 0..4 {
        for keep in 0..30 {
            let outcome = corrupt_one(offer, binding, which, &|message| message.truncate(keep));
            assert!(outcome.is_err());
        }
        let outcome = corrupt_one(offer, binding, which, &|message| {
            message.push(b',');
            message.extend_from_within(..);
        });
        assert!(outcome.is_err());
    }
}
