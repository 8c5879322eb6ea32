//! Where the CAs live.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::certificate::{Facts, verify};
use super::files::{self, Held, Readers};
use super::issue::{self, Ca};
use super::{ClientIssuer, ClientRoots, Identity, PkiError};
use crate::address::Host;
use crate::id::ProjectName;

/// How long another process may be at work in a project's folder: making four files takes
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The directory of all projects' CAs.
#[derive(Debug, Clone)]
pub struct Keystore {
    directory: PathBuf,
}

impl Keystore {
    /// Opens the directory, creating it (0755: a CA's certificate is for everybody to read) if it is missing.
    ///
    /// # Errors
    /// [`PkiError::Io`] if it can't be created or isn't a directory.
    pub fn open(directory: PathBuf) -> Result<Self, PkiError> {
        files::create_directory(&directory, 0o755)?;
        Ok(Self { directory })
    }

    /// Where the certificate of a project's CA is, or would be, if the keystore is in `directory`.
    #[must_use]
    pub fn ca_certificate_in(directory: &Path, project: &ProjectName) -> PathBuf {
        let keystore = Self {
            directory: directory.to_owned(),
        };
        keystore.project(project).ca_certificate()
    }

    /// One project's folder in it, which need not be there yet.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> ProjectKeystore {
        ProjectKeystore {
            folder: self.directory.join(name.as_str()),
            name: name.clone(),
            patience: PATIENCE,
        }
    }
}

/// One project's folder:
///
/// | file | what it is | mode |
/// |---|---|---|
/// | `ca.crt` | the CA's certificate, to hand out as `sslrootcert` | 0644 |
/// | `ca.key` | the CA's key | 0600 |
/// | `server.crt` | the chain as it is sent: the leaf, then the CA's certificate | 0644 |
/// | `server.key` | the leaf's key | 0600 |
/// | `.lock` | nothing; locked by who writes the others | 0600 |
///
/// The CA's certificate is sent along (a client needs it only if it trusts something else that vouches
/// for it) so that a CA can be replaced by one that the old one has signed, and so that whoever looks
/// at a connection sees whose it is.
#[derive(Debug, Clone)]
pub struct ProjectKeystore {
    folder: PathBuf,
    name: ProjectName,
    patience: Duration,
}

impl ProjectKeystore {
    /// The file to hand out to clients as `sslrootcert`; there once [`Self::load_or_create`] was.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files by which a change of the leaf is seen; each may be missing.
    #[must_use]
    pub fn leaf_files(&self) -> Vec<PathBuf> {
        vec![self.ca_certificate(), self.ca_key(), self.server_chain()]
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    fn server_chain(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    fn server_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// The project's identity for these hosts: what is kept, where it fits; else a CA is made if
    /// there is none, and a leaf issued. A kept leaf fits while less than two thirds of its life are
    /// over, if it is for exactly these hosts, is the CA's and has its key. Blocks on the file
    /// system, and, only if something must be written, for some seconds at most while another
    /// process is at work in the folder.
    ///
    /// A CA is never replaced: clients hold its certificate.
    ///
    /// # Errors
    /// No hosts; a key that others can read; a CA whose key is missing, damaged or not its own, or
    /// that is not valid now; a file that can't be read or written; another process that doesn't
    /// come to an end.
    pub fn load_or_create(&self, hosts: &[Host], now: Timestamp) -> Result<Identity, PkiError> {
        if hosts.is_empty() {
            return Err(PkiError::NoHosts);
        }
        if let Some(identity) = self.kept(hosts, now)? {
            self.tidy();
            return Ok(identity);
        }
        files::create_directory(&self.folder, 0o755)?;
        let held = Held::wait(&self.folder, self.patience)?;
        held.tidy(&self.folder)?;
        // All of it again: who held the folder may have made what is needed.
        let ca = self.ca(&held, now)?;
        match self.kept_leaf(&ca, hosts, now)? {
            Some(identity) => Ok(identity),
            None => self.issue(&held, &ca, (hosts, now)),
        }
    }

    /// What signs certificates for the project's clients, in memory from then on. Makes the CA if
    /// there is none. Blocks on the file system.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`] that have to do with the CA.
    pub fn client_issuer(&self, now: Timestamp) -> Result<ClientIssuer, PkiError> {
        self.signing_ca(now).map(ClientIssuer::new)
    }

    /// Whom to trust for the certificates of the project's clients. Makes the CA if there is none.
    /// Blocks on the file system.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`] that have to do with the CA.
    pub fn client_roots(&self, now: Timestamp) -> Result<ClientRoots, PkiError> {
        let ca = self.signing_ca(now)?;
        Ok(ClientRoots {
            certificates: vec![ca.certificate],
            crls: Vec::new(),
        })
    }

    /// The CA that signs now, made if there is none.
    fn signing_ca(&self, now: Timestamp) -> Result<Ca, PkiError> {
        match self.kept_ca()? {
            KeptCa::Whole { key, pem } => self.check_ca(key, pem, now),
            KeptCa::KeyOnly(_) | KeptCa::Nothing => {
                files::create_directory(&self.folder, 0o755)?;
                let held = Held::wait(&self.folder, self.patience)?;
                held.tidy(&self.folder)?;
                self.ca(&held, now)
            }
        }
    }

    /// The identity that is kept, if nothing needs to be written.
    fn kept(&self, hosts: &[Host], now: Timestamp) -> Result<Option<Identity>, PkiError> {
        match self.kept_ca()? {
            KeptCa::Whole { key, pem } => {
                self.kept_leaf(&self.check_ca(key, pem, now)?, hosts, now)
            }
            KeptCa::KeyOnly(_) | KeptCa::Nothing => Ok(None),
        }
    }

    /// Removes what a crash left, which may hold a key: now if nobody is in the way, else another
    /// time. Nothing depends on it.
    fn tidy(&self) {
        if files::unfinished(&self.folder).is_ok_and(|left| !left.is_empty())
            && let Some(held) = Held::now(&self.folder)
        {
            held.tidy(&self.folder).ok();
        }
    }

    fn ca(&self, held: &Held, now: Timestamp) -> Result<Ca, PkiError> {
        match self.kept_ca()? {
            KeptCa::Whole { key, pem } => self.check_ca(key, pem, now),
            KeptCa::KeyOnly(key) => self.certify_ca(held, key, now),
            KeptCa::Nothing => {
                let key = issue::new_key()?;
                held.replace(&self.ca_key(), &issue::key_pem(&key), Readers::Owner)?;
                self.certify_ca(held, key, now)
            }
        }
    }

    /// The certificate is looked for first because it is written last: with it, its key is there.
    fn kept_ca(&self) -> Result<KeptCa, PkiError> {
        let pem = files::if_there(files::read_text(&self.ca_certificate()))?;
        match (self.kept_ca_key()?, pem) {
            (Some(key), Some(pem)) => Ok(KeptCa::Whole { key, pem }),
            (Some(key), None) => Ok(KeptCa::KeyOnly(key)),
            (None, None) => Ok(KeptCa::Nothing),
            (None, Some(_)) => {
                let (key, certificate) = (self.ca_key(), self.ca_certificate());
                Err(PkiError::CaKeyMissing { key, certificate })
            }
        }
    }

    fn kept_ca_key(&self) -> Result<Option<Zeroizing<KeyPair>>, PkiError> {
        let unusable = || self.ca_key_unfit("it is damaged, or not one for ECDSA P-256");
        match files::if_there(files::read_key(&self.ca_key())) {
            Ok(Some(key)) => issue::take_up(&key).map(Some).ok_or_else(unusable),
            Ok(None) => Ok(None),
            Err(PkiError::BadKey { .. }) => Err(unusable()),
            Err(error) => Err(error),
        }
    }

    fn ca_key_unfit(&self, what: &'static str) -> PkiError {
        PkiError::CaKeyUnfit {
            key: self.ca_key(),
            what,
        }
    }

    fn certify_ca(
        &self,
        held: &Held,
        key: Zeroizing<KeyPair>,
        now: Timestamp,
    ) -> Result<Ca, PkiError> {
        let pem = issue::ca(&self.name, &key, now)?.pem();
        held.replace(&self.ca_certificate(), &pem, Readers::Everybody)?;
        self.check_ca(key, pem, now)
    }

    fn check_ca(
        &self,
        key: Zeroizing<KeyPair>,
        pem: String,
        now: Timestamp,
    ) -> Result<Ca, PkiError> {
        let file = self.ca_certificate();
        let bad = || PkiError::BadCertificate {
            path: file.clone(),
            what: "expected one certificate. Moved away, it is made again from ca.key".to_owned(),
        };
        let certificates = files::parse_chain(&file, pem.as_bytes()).map_err(|_| bad())?;
        let [certificate] = <[_; 1]>::try_from(certificates).map_err(|_| bad())?;
        let facts = Facts::read(&certificate).ok_or_else(bad)?;
        if facts.public_key != issue::public_key(&key) {
            return Err(self.ca_key_unfit("it is the key of another certificate"));
        }
        if !facts.is_valid_at(now) {
            let Facts {
                not_before,
                not_after,
                ..
            } = facts;
            return Err(PkiError::CaNotValid {
                certificate: file,
                not_before,
                not_after,
            });
        }
        Ok(Ca {
            certificate,
            pem,
            key,
            not_after: facts.not_after,
        })
    }

    /// The leaf that is kept, if it fits. Damage is no obstacle here: a leaf can be issued anew.
    fn kept_leaf(
        &self,
        ca: &Ca,
        hosts: &[Host],
        now: Timestamp,
    ) -> Result<Option<Identity>, PkiError> {
        let chain = files::if_sound(files::read_chain(&self.server_chain()))?;
        let key = files::if_sound(files::read_key(&self.server_key()))?;
        let (Some(chain), Some(key)) = (chain, key) else {
            return Ok(None);
        };
        if !fits(&chain, ca, hosts, now) {
            return Ok(None);
        }
        // A key that isn't the leaf's: the process ended between the writing of the two.
        let identity = Identity::new(chain, &key, hosts.to_vec()).ok();
        Ok(identity.map(|identity| identity.issued_by_keystore(&self.folder, ca)))
    }

    fn issue(
        &self,
        held: &Held,
        ca: &Ca,
        (hosts, now): (&[Host], Timestamp),
    ) -> Result<Identity, PkiError> {
        let leaf = issue::leaf(ca, hosts, now)?;
        held.replace(
            &self.server_key(),
            &issue::key_pem(&leaf.key),
            Readers::Owner,
        )?;
        let pem = leaf.certificate.pem() + &ca.pem;
        held.replace(&self.server_chain(), &pem, Readers::Everybody)?;
        let chain = vec![leaf.certificate.into(), ca.certificate.clone()];
        let identity = Identity::new(chain, &issue::private_key(&leaf.key), hosts.to_vec())?;
        let identity = identity.issued_by_keystore(&self.folder, ca);
        Ok(identity.with_renewal_put_off(now))
    }
}

/// What there is of a CA.
enum KeptCa {
    Whole {
        key: Zeroizing<KeyPair>,
        pem: String,
    },
    /// The key was written, and the process ended before the certificate was.
    KeyOnly(Zeroizing<KeyPair>),
    Nothing,
}

/// Whether a kept chain is what would be issued now.
fn fits(chain: &[CertificateDer<'_>], ca: &Ca, hosts: &[Host], now: Timestamp) -> bool {
    let [leaf, issuer] = chain else { return false };
    let for_these_hosts_yet = Facts::read(leaf).is_some_and(|facts| {
        now < facts.two_thirds() && BTreeSet::from_iter(&facts.hosts) == BTreeSet::from_iter(hosts)
    });
    let by_this_ca =
        *issuer == ca.certificate && verify(slice::from_ref(leaf), issuer, now).is_ok();
    for_these_hosts_yet && by_this_ca
}

#[cfg(test)]
mod tests;
