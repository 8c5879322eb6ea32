//! What a login costs the gate's processor: `cargo bench --bench scram`.

use std::sync::Arc;

use divan::Bencher;
use portcullis::auth::scram::{
    ChannelBindingOffer, ClientBinding, Credential, Iterations, Mechanism, MockSecret, NonceSent,
    ProofAwaited, ProvenKeys, Salt, ScramClient, ScramServer, Verifier,
};

fn main() {
    divan::main();
}

fn verifier() -> Arc<Verifier> {
    let salt = Salt::new(b"a salt of the 16").expect("16 bytes");
    let iterations = Iterations::DEFAULT;
    Arc::new(Verifier::from_password(b"secret", salt, iterations))
}

fn begun(
    verifier: Arc<Verifier>,
    credential: impl Into<Credential>,
) -> (ProofAwaited, NonceSent, Vec<u8>) {
    let plain = Mechanism::ScramSha256.name().as_bytes();
    let client = ScramClient::new(credential, ClientBinding::NoTls);
    let (first, sent) = client.choose([plain]).expect("it is offered");
    let server = ScramServer::new(verifier, ChannelBindingOffer::None);
    let answer = server.client_first(plain, &first.message);
    let (server_first, awaited) = answer.expect("it is well-formed");
    (awaited, sent, server_first)
}

fn proven(verifier: &Arc<Verifier>) -> ProvenKeys {
    let (awaited, sent, server_first) =
        begun(Arc::clone(verifier), Credential::password(b"secret"));
    let (client_final, _) = sent.server_first(&server_first).expect("it is well-formed");
    awaited
        .client_final(&client_final)
        .expect("it is the password")
        .keys
}

/// The server's half of an exchange, but for its first message.
#[divan::bench]
fn verify(bencher: Bencher<'_, '_>) {
    let verifier = verifier();
    let keys = proven(&verifier);
    bencher
        .with_inputs(|| {
            let (awaited, sent, server_first) = begun(Arc::clone(&verifier), keys.clone());
            let (client_final, _) = sent.server_first(&server_first).expect("it is well-formed");
            (awaited, client_final)
        })
        .bench_values(|(awaited, client_final)| awaited.client_final(&client_final));
}

/// The same for a user that does not exist: as much.
#[divan::bench]
fn verify_mock(bencher: Bencher<'_, '_>) {
    let keys = proven(&verifier());
    let secret = MockSecret::from_seed(b"seed", Iterations::DEFAULT);
    let mock = Arc::new(Verifier::mock(b"nobody", &secret));
    bencher
        .with_inputs(|| {
            let (awaited, _, server_first) = begun(Arc::clone(&mock), keys.clone());
            (awaited, with_any_proof(&server_first))
        })
        .bench_values(|(awaited, client_final)| awaited.client_final(&client_final));
}

/// A client-final-message that is good but for its proof.
fn with_any_proof(server_first: &[u8]) -> Vec<u8> {
    let nonce = server_first.split(|byte| *byte == b',').next();
    let proof = b",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    [b"c=biws,", nonce.expect("it begins with the nonce"), proof].concat()
}

/// The server's first message.
#[divan::bench]
fn server_first(bencher: Bencher<'_, '_>) {
    let verifier = verifier();
    bencher.bench(|| {
        ScramServer::new(Arc::clone(&verifier), ChannelBindingOffer::None)
            .client_first(b"SCRAM-SHA-256", b"n,,n=,r=fyko+d2lbbFgONRv9qkxdawL")
    });
}

/// The client's proof by a ClientKey.
#[divan::bench]
fn client_proof(bencher: Bencher<'_, '_>) {
    let verifier = verifier();
    let keys = proven(&verifier);
    bencher
        .with_inputs(|| {
            let (_, sent, server_first) = begun(Arc::clone(&verifier), keys.clone());
            (sent, server_first)
        })
        .bench_values(|(sent, server_first)| sent.server_first(&server_first));
}

/// The client's proof by a password: PBKDF2 with 4096 iterations.
#[divan::bench]
fn client_proof_by_password(bencher: Bencher<'_, '_>) {
    let verifier = verifier();
    bencher
        .with_inputs(|| {
            let credential = Credential::password(b"secret");
            let (_, sent, server_first) = begun(Arc::clone(&verifier), credential);
            (sent, server_first)
        })
        .bench_values(|(sent, server_first)| sent.server_first(&server_first));
}
