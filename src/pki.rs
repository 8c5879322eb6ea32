//! Certificates: each project's own CA, the leaf that the gate serves for it, and the TLS
//! configuration made of them.
//!
//! A [`Keystore`] keeps the CAs on disk, an [`Identity`] is what the gate shows to clients in one
//! project's name, and [`server_config`] is the TLS server made of it. All keys are ECDSA P-256 with
//! SHA-256: never Ed25519, for which no tls-server-end-point hash is defined (T13). Everything here
//! that touches files blocks; it is meant for start-up and reload, not for the life of a connection.

mod authority;
mod certificate;
mod client;
mod endpoint;
mod error;
mod files;
mod given;
mod handout;
mod identity;
mod issue;
mod keystore;
mod ledger;
mod own;
mod revoked;
mod rotation;
mod sealed;
mod seed;
mod serial;
mod server;
mod signatures;
mod survey;
mod tend;
#[cfg(test)]
pub(crate) mod testing;
mod trust;

pub use client::{ClientCertificate, ClientIssuer, ClientName, ClientRoots, InvalidClientName};
pub use endpoint::tls_server_end_point;
pub use error::PkiError;
pub use given::{check_secret, read_client_certificate};
pub use handout::{Handout, Sharer};
pub use identity::Identity;
pub use keystore::{Keystore, ProjectKeystore};
pub use ledger::{Kind, Record};
pub use revoked::{Revocation, RevocationList, Revoked};
pub use rotation::{Stage, Step};
pub use sealed::KeyRing;
pub use seed::scram_seed;
pub use serial::{InvalidSerial, Serial};
pub use server::{MAX_RECORD_PLAINTEXT, MinVersion, TlsPolicy, server_config};
pub use signatures::HandshakeSignatures;
pub use survey::{Described, Fingerprint, Role, Survey};
pub use tend::{SharedRenewal, Tended, TendedOrNot};
pub use trust::{CaNames, ClientCas, ClientTrust, Distrust, Shown, TrustedClient};
