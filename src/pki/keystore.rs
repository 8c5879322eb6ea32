//! Where the CAs live.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::authority::Authorities;
use super::certificate::{Facts, two_thirds, verify};
use super::files::{self, Held, Readers};
use super::issue::{self, Ca};
use super::{ClientIssuer, ClientRoots, Identity, KeyRing, PkiError};
use crate::address::Host;
use crate::id::ProjectName;

/// How long another process may be at work in a project's folder: making four files takes
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The directory of all projects' CAs.
#[derive(Debug, Clone)]
pub struct Keystore {
    directory: PathBuf,
    ring: Option<Arc<KeyRing>>,
}

impl Keystore {
    /// Opens the directory, creating it (0755: a CA's certificate is for everybody to read) if it is missing.
    ///
    /// # Errors
    /// [`PkiError::Io`] if it can't be created or isn't a directory.
    pub fn open(directory: PathBuf) -> Result<Self, PkiError> {
        files::create_directory(&directory, 0o755)?;
        let ring = None;
        Ok(Self { directory, ring })
    }

    /// Has private keys sealed by the first of these keys from now on, and unsealed by any of them.
    #[must_use]
    pub fn sealed_by(self, ring: Option<KeyRing>) -> Self {
        let ring = ring.map(Arc::new);
        Self { ring, ..self }
    }

    /// Where the certificate of a project's CA is, or would be, if the keystore is in `directory`.
    #[must_use]
    pub fn ca_certificate_in(directory: &Path, project: &ProjectName) -> PathBuf {
        let keystore = Self {
            directory: directory.to_owned(),
            ring: None,
        };
        keystore.project(project).ca_certificate()
    }

    /// One project's folder in it, which need not be there yet.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> ProjectKeystore {
        ProjectKeystore {
            folder: self.directory.join(name.as_str()),
            name: name.clone(),
            ring: self.ring.clone(),
            patience: PATIENCE,
        }
    }

    /// The projects that have a folder in it, in the order of their names.
    ///
    /// # Errors
    /// A directory that can't be read.
    pub fn projects(&self) -> Result<Vec<ProjectName>, PkiError> {
        let names = files::folders(&self.directory)?;
        let names = names.iter().filter_map(|name| name.parse().ok());
        let names: BTreeSet<ProjectName> = names.collect();
        Ok(names.into_iter().collect())
    }
}

/// One project's folder:
///
/// | file | what it is | mode |
/// |---|---|---|
/// | `ca.crt` | the CA's certificate, to hand out as `sslrootcert`; during a rotation the other's, too | 0644 |
/// | `ca.key` | the key of the CA that signs | 0600 |
/// | `ca-next.key`, `ca-old.key` | the other's, during a rotation | 0600 |
/// | `ca-gone.key` | the other's, while it is being dropped | 0600 |
/// | `ca.crl` | what the CAs have revoked | 0644 |
/// | `issued` | what they have issued to clients and backends | 0600 |
/// | `server.crt` | the chain as it is sent: the leaf, then the CA's certificate | 0644 |
/// | `server.key` | the leaf's key | 0600 |
/// | `shared` | the servers that show the same leaf, and where they look for it | 0644 |
/// | `.lock` | nothing; locked by who writes the others | 0600 |
///
/// The CA's certificate is sent along (a client needs it only if it trusts something else that vouches
/// for it) so that a CA can be replaced by one that the old one has signed, and so that whoever looks
/// at a connection sees whose it is.
#[derive(Debug, Clone)]
pub struct ProjectKeystore {
    folder: PathBuf,
    pub(super) name: ProjectName,
    ring: Option<Arc<KeyRing>>,
    patience: Duration,
}

impl ProjectKeystore {
    /// The file to hand out to clients as `sslrootcert`; there once [`Self::load_or_create`] was.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files by which a change is seen of what the gate shows and of whom it trusts; each may be
    /// missing.
    #[must_use]
    pub fn leaf_files(&self) -> Vec<PathBuf> {
        ["ca.crt", "ca.key", "ca.crl", "server.crt", "shared"]
            .map(|name| self.file(name))
            .into()
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What private keys are sealed by.
    pub(super) fn ring(&self) -> Option<&KeyRing> {
        self.ring.as_deref()
    }

    /// Holds the folder, which is made if it isn't there, and removes what a crash left in it.
    pub(super) fn hold(&self) -> Result<Held, PkiError> {
        files::create_directory(&self.folder, 0o755)?;
        let held = Held::wait(&self.folder, self.patience)?;
        held.tidy(&self.folder)?;
        Ok(held)
    }

    /// The project's identity for these hosts: what is kept, where it fits; else a CA is made if
    /// there is none, and a leaf issued. A kept leaf fits until about two thirds of its life are over (a
    /// moment of the project's own, so that many projects don't renew theirs at once), if it is for
    /// exactly these hosts, is by the CA that signs and has its key. Blocks on the file
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
        if let Some(identity) = self.kept_identity(hosts, now)? {
            self.tidy(now);
            return Ok(identity);
        }
        let held = self.hold()?;
        // All of it again: who held the folder may have made what is needed.
        let authorities = self.authorities_by(&held, now)?;
        self.check_dates(&authorities.signing, now)?;
        match self.kept_leaf(&authorities, hosts, now)? {
            Some(identity) => Ok(identity),
            None => self.issue(&held, &authorities, (hosts, now)),
        }
    }

    /// Issues the leaf anew, whatever there is.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`].
    pub fn renew_leaf(&self, hosts: &[Host], now: Timestamp) -> Result<Identity, PkiError> {
        if hosts.is_empty() {
            return Err(PkiError::NoHosts);
        }
        let held = self.hold()?;
        let authorities = self.authorities_by(&held, now)?;
        self.check_dates(&authorities.signing, now)?;
        self.issue(&held, &authorities, (hosts, now))
    }

    /// What signs certificates for the project's clients, in memory from then on. Makes the CA if
    /// there is none. Blocks on the file system.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`] that have to do with the CA.
    pub fn client_issuer(&self, now: Timestamp) -> Result<ClientIssuer, PkiError> {
        let signing = self.authorities_made(now)?.signing;
        self.check_dates(&signing, now)?;
        Ok(ClientIssuer::new(signing))
    }

    /// Whom to trust for the certificates of the project's clients. Makes the CA if there is none.
    /// Blocks on the file system.
    ///
    /// # Errors
    /// Those of [`Self::load_or_create`] that have to do with the CA; a revocation list that can't be
    /// read.
    pub fn client_roots(&self, now: Timestamp) -> Result<ClientRoots, PkiError> {
        let certificates = self.authorities_made(now)?.certificates();
        let lists = self.revocation_lists()?;
        Ok(ClientRoots {
            certificates,
            crls: lists.into_iter().map(|list| list.der).collect(),
        })
    }

    /// The identity that is kept, if nothing needs to be written.
    fn kept_identity(&self, hosts: &[Host], now: Timestamp) -> Result<Option<Identity>, PkiError> {
        let Some(authorities) = self.authorities()? else {
            return Ok(None);
        };
        self.check_dates(&authorities.signing, now)?;
        self.kept_leaf(&authorities, hosts, now)
    }

    /// Removes what a crash left, which may hold a key: now if nobody is in the way, else another
    /// time. Nothing depends on it.
    fn tidy(&self, now: Timestamp) {
        let is_unfinished = files::unfinished(&self.folder).is_ok_and(|left| !left.is_empty());
        if (is_unfinished || self.has_stray_keys())
            && let Some(held) = Held::now(&self.folder)
        {
            held.tidy(&self.folder).ok();
            self.authorities_by(&held, now).ok();
        }
    }

    /// The leaf that is kept, if it fits. Damage is no obstacle here: a leaf can be issued anew.
    fn kept_leaf(
        &self,
        authorities: &Authorities,
        hosts: &[Host],
        now: Timestamp,
    ) -> Result<Option<Identity>, PkiError> {
        let chain = files::if_sound(files::read_chain(&self.file("server.crt")))?;
        let key = files::if_sound(self.read_key("server.key"))?;
        let (Some(chain), Some(key)) = (chain, key) else {
            return Ok(None);
        };
        if !self.fits(&chain, &authorities.signing, (&self.names(hosts)?, now)) {
            return Ok(None);
        }
        // A key that isn't the leaf's: the process ended between the writing of the two.
        let identity = Identity::new(chain, &key, hosts.to_vec()).ok();
        Ok(identity.map(|identity| identity.issued_by_keystore(self, authorities)))
    }

    fn issue(
        &self,
        held: &Held,
        authorities: &Authorities,
        (hosts, now): (&[Host], Timestamp),
    ) -> Result<Identity, PkiError> {
        let ca = &authorities.signing;
        let leaf = issue::leaf(ca, &self.names(hosts)?, now)?;
        let pem = leaf.certificate.pem() + &ca.pem;
        self.provide_sharers(held, &pem, &issue::key_pem(&leaf.key))?;
        self.write_key(held, "server.key", &leaf.key)?;
        held.replace(&self.file("server.crt"), &pem, Readers::Everybody)?;
        let chain = vec![leaf.certificate.into(), ca.certificate.clone()];
        let identity = Identity::new(chain, &issue::private_key(&leaf.key), hosts.to_vec())?;
        let identity = identity.issued_by_keystore(self, authorities);
        Ok(identity.with_renewal_put_off(now))
    }

    /// What the leaf is for: the project's hosts, and the servers that share it.
    fn names(&self, hosts: &[Host]) -> Result<Vec<Host>, PkiError> {
        let mut names = hosts.to_vec();
        for sharer in self.sharers()? {
            if !names.contains(&sharer.host) {
                names.push(sharer.host);
            }
        }
        Ok(names)
    }

    /// Whether a kept chain is what would be issued now.
    fn fits(
        &self,
        chain: &[CertificateDer<'_>],
        ca: &Ca,
        (hosts, now): (&[Host], Timestamp),
    ) -> bool {
        let [leaf, issuer] = chain else { return false };
        let for_these_hosts_yet = Facts::read(leaf).is_some_and(|facts| {
            now < self.renew_at(&facts)
                && BTreeSet::from_iter(&facts.hosts) == BTreeSet::from_iter(hosts)
        });
        let by_this_ca =
            *issuer == ca.certificate && verify(slice::from_ref(leaf), issuer, now).is_ok();
        for_these_hosts_yet && by_this_ca
    }

    /// When the project's leaf is to be renewed: at two thirds of its life, or up to a twentieth of it
    /// earlier. How much earlier is the project's own, and always the same.
    pub(super) fn renew_at(&self, leaf: &Facts) -> Timestamp {
        let life = leaf.not_before.duration_until(leaf.not_after);
        let digest = digest::digest(&digest::SHA256, self.name.as_str().as_bytes());
        let share = digest.as_ref().first().copied().unwrap_or_default();
        let early = life / 20 / 256 * i32::from(share);
        let two_thirds = two_thirds(leaf.not_before, leaf.not_after);
        two_thirds.saturating_sub(early).unwrap_or(two_thirds)
    }
}

#[cfg(test)]
mod tests;
