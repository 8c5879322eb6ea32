//! A project's CAs: the one that signs, and, while one takes over from another, the other.

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::certificate::Facts;
use super::files::{self, Held, Readers};
use super::issue::{self, Ca};
use super::rotation::{NEXT_KEY, OLD_KEY, Stage};
use super::{PkiError, ProjectKeystore, sealed};

/// What `ca.crt` and `ca.key` come to.
///
/// `ca.crt` holds one certificate; while one CA takes over from another it holds two, the older first,
/// and the key in `ca.key` says which of them signs: the older while the newer is only announced, the
/// newer once it has taken over. So one rename of a key file is the whole step, and no file says
/// what another one may contradict.
pub(super) struct Authorities {
    /// The CA that signs.
    pub(super) signing: Ca,
    /// The other CA of a rotation.
    pub(super) other: Option<CertificateDer<'static>>,
    /// Where the rotation stands.
    pub(super) stage: Stage,
    /// `ca.crt`: what is handed out.
    pub(super) bundle: String,
}

impl Authorities {
    /// The CAs' certificates, the older first.
    pub(super) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let signing = Some(self.signing.certificate.clone());
        let (first, second) = match self.stage {
            Stage::Settled | Stage::Announced => (signing, self.other.clone()),
            Stage::Switched => (self.other.clone(), signing),
        };
        first.into_iter().chain(second).collect()
    }
}

/// What there is of the CAs.
enum Kept {
    Whole {
        key: Zeroizing<KeyPair>,
        bundle: String,
    },
    /// The key was written, and the process ended before the certificate was; or the certificate was
    /// moved away.
    KeyOnly,
    Nothing,
}

impl ProjectKeystore {
    /// The CAs, if they are there. Without a lock: what another process is about to finish may be
    /// missing.
    pub(super) fn authorities(&self) -> Result<Option<Authorities>, PkiError> {
        match self.kept()? {
            Kept::Whole { key, bundle } => self.sort_out(key, bundle).map(Some),
            Kept::KeyOnly | Kept::Nothing => Ok(None),
        }
    }

    /// The CAs; what is missing of them is made, and what a crash left of a rotation is removed.
    pub(super) fn authorities_by(
        &self,
        held: &Held,
        now: Timestamp,
    ) -> Result<Authorities, PkiError> {
        let (key, bundle) = match self.kept()? {
            Kept::Whole { key, bundle } => (key, bundle),
            Kept::KeyOnly => self.certify(held, now)?,
            Kept::Nothing => {
                let key = issue::new_key()?;
                self.write_key(held, "ca.key", &key)?;
                self.certify(held, now)?
            }
        };
        let authorities = self.sort_out(key, bundle)?;
        self.sort_keys(held, authorities.stage)?;
        Ok(authorities)
    }

    /// The CAs, made if there are none.
    pub(super) fn authorities_made(&self, now: Timestamp) -> Result<Authorities, PkiError> {
        match self.authorities()? {
            Some(authorities) => Ok(authorities),
            None => self.authorities_by(&self.hold()?, now),
        }
    }

    /// All CAs, able to sign, the one that does first; and where a rotation stands.
    pub(super) fn signers(
        &self,
        held: &Held,
        now: Timestamp,
    ) -> Result<(Stage, Vec<Ca>), PkiError> {
        let authorities = self.authorities_by(held, now)?;
        let other = self.other_ca(&authorities)?;
        let cas = std::iter::once(authorities.signing).chain(other).collect();
        Ok((authorities.stage, cas))
    }

    /// The other CA of a rotation, able to sign.
    fn other_ca(&self, authorities: &Authorities) -> Result<Option<Ca>, PkiError> {
        let (Some(certificate), Some(file)) = (&authorities.other, authorities.stage.other_key())
        else {
            return Ok(None);
        };
        let key = self.ca_key(file)?.ok_or_else(|| PkiError::CaKeyMissing {
            key: self.file(file),
            certificate: self.ca_certificate(),
        })?;
        let facts = Facts::read(certificate).ok_or_else(|| self.bad_bundle())?;
        if facts.public_key != issue::public_key(&key) {
            return Err(self.ca_key_unfit(file, "it is the key of another certificate"));
        }
        let pem = issue::certificate_pem(certificate);
        Ok(Some(Ca {
            certificate: certificate.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            pem,
            key,
        }))
    }

    /// The certificate is looked for first because it is written last: with it, its key is there.
    fn kept(&self) -> Result<Kept, PkiError> {
        let bundle = files::if_there(files::read_text(&self.ca_certificate()))?;
        match (self.ca_key("ca.key")?, bundle) {
            (Some(key), Some(bundle)) => Ok(Kept::Whole { key, bundle }),
            (Some(_), None) => Ok(Kept::KeyOnly),
            (None, None) => Ok(Kept::Nothing),
            (None, Some(_)) => {
                let (key, certificate) = (self.file("ca.key"), self.ca_certificate());
                Err(PkiError::CaKeyMissing { key, certificate })
            }
        }
    }

    /// The key of a CA, if it is there.
    fn ca_key(&self, file: &'static str) -> Result<Option<Zeroizing<KeyPair>>, PkiError> {
        let unusable = || self.ca_key_unfit(file, "it is damaged, or not one for ECDSA P-256");
        match files::if_there(self.read_key(file)) {
            Ok(Some(key)) => issue::take_up(&key).map(Some).ok_or_else(unusable),
            Ok(None) => Ok(None),
            Err(PkiError::BadKey { .. }) => Err(unusable()),
            Err(error) => Err(error),
        }
    }

    fn ca_key_unfit(&self, file: &str, what: &'static str) -> PkiError {
        PkiError::CaKeyUnfit {
            key: self.file(file),
            what,
        }
    }

    fn bad_bundle(&self) -> PkiError {
        PkiError::BadCertificate {
            path: self.ca_certificate(),
            what: "expected the CA's certificate, and during a rotation the other CA's. Moved away, it \
                   is made again from ca.key"
                .to_owned(),
        }
    }

    /// Makes the certificates anew, of every CA whose key is there.
    fn certify(
        &self,
        held: &Held,
        now: Timestamp,
    ) -> Result<(Zeroizing<KeyPair>, String), PkiError> {
        let missing = || PkiError::CaKeyMissing {
            key: self.file("ca.key"),
            certificate: self.ca_certificate(),
        };
        let signing = self.ca_key("ca.key")?.ok_or_else(missing)?;
        let is_another =
            |key: &Zeroizing<KeyPair>| issue::public_key(key) != issue::public_key(&signing);
        // A CA that is being dropped has its key in neither file, so it does not come back.
        let old = self.ca_key(OLD_KEY)?.filter(is_another);
        let next = self.ca_key(NEXT_KEY)?.filter(is_another);
        // A crash can leave a key of a step that was not taken, but not the keys of two.
        let next = next.filter(|_| old.is_none());
        let mut bundle = String::new();
        for key in old.iter().chain([&signing]).chain(&next) {
            bundle += &issue::ca(&self.name, key, now)?.pem();
        }
        held.replace(&self.ca_certificate(), &bundle, Readers::Everybody)?;
        Ok((signing, bundle))
    }

    /// Which certificate signs, which is the other.
    fn sort_out(&self, key: Zeroizing<KeyPair>, bundle: String) -> Result<Authorities, PkiError> {
        let bad = || self.bad_bundle();
        let file = self.ca_certificate();
        let certificates = files::parse_chain(&file, bundle.as_bytes()).map_err(|_| bad())?;
        let facts: Option<Vec<Facts>> = certificates.iter().map(Facts::read).collect();
        let facts = facts.ok_or_else(bad)?;
        let public = issue::public_key(&key);
        let signs = |facts: &&Facts| facts.public_key == public;
        let (stage, mine, other) = match (certificates.as_slice(), facts.as_slice()) {
            ([_], [only]) if !signs(&only) => {
                return Err(self.ca_key_unfit("ca.key", "it is the key of another certificate"));
            }
            ([certificate], [_]) => (Stage::Settled, certificate, None),
            ([_, _], [older, newer]) if signs(&older) == signs(&newer) => return Err(bad()),
            ([mine, other], [older, _]) if signs(&older) => (Stage::Announced, mine, Some(other)),
            ([other, mine], [_, _]) => (Stage::Switched, mine, Some(other)),
            _ => return Err(bad()),
        };
        let facts = facts.iter().find(signs).ok_or_else(bad)?;
        Ok(Authorities {
            signing: Ca {
                certificate: mine.clone(),
                pem: issue::certificate_pem(mine),
                not_before: facts.not_before,
                not_after: facts.not_after,
                key,
            },
            other: other.cloned(),
            stage,
            bundle,
        })
    }

    /// Refuses a CA that is not valid now.
    pub(super) fn check_dates(&self, ca: &Ca, now: Timestamp) -> Result<(), PkiError> {
        if (ca.not_before..=ca.not_after).contains(&now) {
            return Ok(());
        }
        Err(PkiError::CaNotValid {
            certificate: self.ca_certificate(),
            not_before: ca.not_before,
            not_after: ca.not_after,
        })
    }

    /// Reads a private key of the folder, unsealed.
    pub(super) fn read_key(
        &self,
        file: &str,
    ) -> Result<Zeroizing<rustls::pki_types::PrivateKeyDer<'static>>, PkiError> {
        let path = self.file(file);
        let private = sealed::read(&path, self.ring())?;
        files::parse_key(&path, &private.contents)
    }

    /// Writes a private key to the folder, sealed if keys are.
    pub(super) fn write_key(&self, held: &Held, file: &str, key: &KeyPair) -> Result<(), PkiError> {
        self.write_private(held, file, issue::key_pem(key).as_bytes())
    }

    /// Writes a private file to the folder, sealed if keys are.
    pub(super) fn write_private(
        &self,
        held: &Held,
        file: &str,
        contents: &[u8],
    ) -> Result<(), PkiError> {
        let text = sealed::to_write(contents, self.ring())?;
        held.replace(&self.file(file), &text, Readers::Owner)
    }
}
