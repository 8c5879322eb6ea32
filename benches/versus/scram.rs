//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides, for one fixed password.
//!
//! The salted password is derived once per process: thousands of PBKDF2 rounds per login would make
//! the load the bottleneck, and no proxy under test can see the difference.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

const PASSWORD: &[u8] = b"bench";
const SALT: &[u8] = b"versus-bench-slt";
/// What PostgreSQL itself uses.
const ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(4095);
/// gs2-header of a client without channel binding, in base64.
const NO_BINDING: &str = "c=biws";

/// What both sides derive from the password.
pub(crate) struct Secret {
    client_key: [u8; 32],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Secret {
    pub(crate) fn derive() -> Self {
        let mut salted = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, ITERATIONS, SALT, PASSWORD, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        Self {
            client_key,
            stored_key: hash(&client_key),
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// As PostgreSQL keeps it in `pg_authid` and PgBouncer in its `auth_file`.
    pub(crate) fn verifier(&self) -> String {
        format!(
            "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
            BASE64.encode(SALT),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key)
        )
    }

    /// client-final-message for a server-first-message, or nothing if that isn't one.
    pub(crate) fn client_final(&self, first_bare: &str, server_first: &str) -> Option<String> {
        let nonce = server_first.split(',').next()?.strip_prefix("r=")?;
        let without_proof = format!("{NO_BINDING},r={nonce}");
        let message = format!("{first_bare},{server_first},{without_proof}");
        let signature = mac(&self.stored_key, message.as_bytes());
        let proof = BASE64.encode(xor(self.client_key, signature));
        Some(format!("{without_proof},p={proof}"))
    }

    /// server-final-message, or nothing if the proof is wrong.
    pub(crate) fn server_final(
        &self,
        first_bare: &str,
        server_first: &str,
        client_final: &str,
    ) -> Option<String> {
        let (without_proof, proof) = client_final.rsplit_once(",p=")?;
        let proof: [u8; 32] = BASE64.decode(proof).ok()?.try_into().ok()?;
        let message = format!("{first_bare},{server_first},{without_proof}");
        let signature = mac(&self.stored_key, message.as_bytes());
        (hash(&xor(proof, signature)) == self.stored_key).then(|| {
            let signature = mac(&self.server_key, message.as_bytes());
            format!("v={}", BASE64.encode(signature))
        })
    }
}

/// client-first-message-bare; the user's name travels in the StartupMessage.
pub(crate) fn client_first_bare(nonce: u64) -> String {
    format!("n=,r=versus-client-{nonce:016x}")
}

/// server-first-message, or nothing if the client's isn't a first message.
pub(crate) fn server_first(first_bare: &str, nonce: u64) -> Option<String> {
    let client_nonce = first_bare.split_once("r=")?.1;
    let salt = BASE64.encode(SALT);
    Some(format!(
        "r={client_nonce}versus-server-{nonce:016x},s={salt},i={ITERATIONS}"
    ))
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn hash(message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    out
}

fn xor(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| left[at] ^ right[at])
}
