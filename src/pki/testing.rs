//! What the tests of certificates share.

use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::{Handout, Keystore, ProjectKeystore};
use crate::address::Host;

/// Thirty days.
pub(super) const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Made for this test by openssl 3.0, and known to everybody.
const PEM: &[u8] = b"
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEII75AznnPPvia70YUePzqg56VTRX/nFILyLt6mHg8nkWoAoGCCqGSM49
AwEHoUQDQgAEi0puJRehu6PFwBbuQGNGfOgy6+Vs6vJcKtZNYVbjVcsRMEPwpNe6
jaETNGLx728csL4eAqZ/ro9odn/EIcKaTQ==
-----END EC PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBITCByAIUJNABpwoiTmYOm5MXjG7NNOEBdLcwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEcm9vdDAgFw0yNjExMjExOTA1MDVaGA8yMTI2MTAyODE5MDUwNVowFjEU
MBIGA1UEAwwLZGIuaW50ZXJuYWwwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASL
Sm4lF6G7o8XAFu5AY0Z86DLr5Wzq8lwq1k1hVuNVyxEwQ/Ck17qNoRM0YvHvbxyw
vh4Cpn+uj2h2f8QhwppNMAoGCCqGSM49BAMCA0gAMEUCIQCO8jgiOqeqY+XJgdj5
4hs/rj06XGCTKoXoLl4bFRgVtwIgd2LM0Mzf/slvcKUeH/wAMseVJefbJSaRyFqu
aFj4eX4=
-----END CERTIFICATE-----
";

/// A leaf of X.509 version 1, and its key.
pub(crate) fn version1_leaf() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let leaf = CertificateDer::from_pem_slice(PEM).unwrap();
    (leaf, PrivateKeyDer::from_pem_slice(PEM).unwrap())
}

/// A block of PEM (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (index, three) in der.chunks(3).enumerate() {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*three.get(at).unwrap_or(&0))
        });
        for digit in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap();
            text.push(if digit > three.len() {
                '='
            } else {
                char::from(DIGITS[value])
            });
        }
        if index % 16 == 15 {
            text.push('\n');
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// A project in a keystore of its own, which goes away with it. There is nothing in it yet.
pub(super) struct Fixture {
    pub(super) directory: TempDir,
    pub(super) store: ProjectKeystore,
    pub(super) now: Timestamp,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let keystore = Keystore::open(directory.path().join("certs")).unwrap();
        Self {
            store: keystore.project(&"acme".parse().unwrap()),
            directory,
            now: Timestamp::now(),
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.store.file(name)
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).unwrap()
    }

    /// The names of what is in the folder, but for the lock.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.store.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect();
        names.sort();
        names
    }

    /// A certificate for a client.
    pub(super) fn issue(&self, name: &str) -> Handout {
        let name = name.parse().unwrap();
        self.store.issue_to_client(&name, MONTH, self.now).unwrap()
    }
}

pub(super) fn hosts(texts: &[&str]) -> Vec<Host> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
