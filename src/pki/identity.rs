//! What the gate shows to clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::authority::Authorities;
use super::certificate::Facts;
use super::{PkiError, ProjectKeystore, issue, own};
use crate::address::{Host, HostName};

/// The name on a leaf that nobody vouches for: a top-level domain that never exists (RFC 2606
/// section 2).
const NOBODY: &str = "portcullis.invalid";

/// The least time from the issuing of a leaf to its renewal, however soon it ends; a renewal that is
/// due at once would follow another without end.
const SHORTEST_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// The longest time until a renewal that failed is tried again.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// A certificate chain with its private key: what the gate shows to clients in one project's name.
/// Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    hosts: Arc<[Host]>,
    not_after: Timestamp,
    renew_at: Timestamp,
    source: Source,
}

/// Whence it comes, and so whose the leaf is to renew.
#[derive(Clone)]
enum Source {
    Keystore {
        folder: Arc<Path>,
        ca_bundle_pem: Arc<str>,
        ca_not_after: Timestamp,
    },
    Files {
        chain: Arc<Path>,
        key: Arc<Path>,
    },
    Memory,
}

impl Identity {
    /// Takes up a chain and a key of the user's own, PEM: the chain with the leaf first, the key as
    /// PKCS #8, SEC1 or PKCS #1. Blocks on the file system.
    ///
    /// # Errors
    /// A file that can't be read or is damaged, a key that others can read or that isn't the leaf's,
    /// a certificate that isn't valid now, a chain in the wrong order, a host that the leaf's subject
    /// alternative names don't cover, an Ed25519 leaf. The root may be missing from the chain; who
    /// trusts it is for the clients to decide.
    pub fn from_files(
        chain: &Path,
        key: &Path,
        hosts: &[Host],
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let identity = own::load(chain, key, hosts, now)?;
        let (chain, key) = (chain.into(), key.into());
        Ok(Self {
            source: Source::Files { chain, key },
            ..identity
        })
    }

    /// A self-signed leaf in memory, for those who name no project that there is: their TLS must
    /// finish all the same, or they couldn't read why they are refused (T13).
    ///
    /// # Errors
    /// [`PkiError::Issue`], which only lack of memory or randomness explains.
    pub fn throwaway(now: Timestamp) -> Result<Self, PkiError> {
        let hosts: Vec<Host> = NOBODY
            .parse::<HostName>()
            .map(Host::Name)
            .into_iter()
            .collect();
        let issued = issue::self_signed(&hosts, now)?;
        let key = issue::private_key(&issued.key);
        Self::new(vec![issued.certificate.into()], &key, hosts)
    }

    /// Puts together a leaf with its key. Fails if the key is not the leaf's.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        hosts: Vec<Host>,
    ) -> Result<Self, PkiError> {
        let unreadable = || PkiError::Issue("the leaf cannot be read".to_owned());
        let leaf = chain.first().cloned().ok_or_else(unreadable)?;
        let facts = Facts::read(&leaf).ok_or_else(unreadable)?;
        let certified = CertifiedKey::new(chain, any_supported_type(key)?);
        certified.keys_match()?;
        Ok(Self {
            certified: Arc::new(certified),
            leaf,
            hosts: hosts.into(),
            not_after: facts.not_after,
            renew_at: facts.not_after,
            source: Source::Memory,
        })
    }

    /// Says that this CA of the keystore issued it, and renews it.
    pub(super) fn issued_by_keystore(self, store: &ProjectKeystore, by: &Authorities) -> Self {
        let leaf = Facts::read(&self.leaf);
        Self {
            renew_at: leaf.map_or(self.not_after, |leaf| store.renew_at(&leaf)),
            source: Source::Keystore {
                folder: store.folder().into(),
                ca_bundle_pem: by.bundle.as_str().into(),
                ca_not_after: by.signing.not_after,
            },
            ..self
        }
    }

    /// Puts its renewal off: to a twentieth of what is left of its life from now, at least a minute,
    /// at most an hour. For when a renewal has failed, and when a leaf is as good as over when it is
    /// issued, because its CA is.
    #[must_use]
    pub fn with_renewal_put_off(self, now: Timestamp) -> Self {
        let wait = now.duration_until(self.not_after) / 20;
        let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let earliest = now.saturating_add(wait).unwrap_or(self.not_after);
        Self {
            renew_at: self.renew_at.max(earliest),
            ..self
        }
    }

    /// The chain as it is sent, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The leaf, DER.
    #[must_use]
    pub const fn leaf_der(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// Chain and signing key as rustls takes them.
    #[must_use]
    pub const fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The hosts that the leaf was issued for, or was checked to cover.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// When the leaf expires.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// When to ask the keystore again, which then issues the next leaf: about two thirds of the leaf's
    /// life after its beginning, and never at once. None if the leaf is not the gate's to renew.
    #[must_use]
    pub const fn renew_at(&self) -> Option<Timestamp> {
        match &self.source {
            Source::Keystore { .. } => Some(self.renew_at),
            Source::Files { .. } | Source::Memory => None,
        }
    }

    /// Whether it was read from these files.
    #[must_use]
    pub fn is_from_files(&self, chain: &Path, key: &Path) -> bool {
        match &self.source {
            Source::Files {
                chain: ours,
                key: with,
            } => **ours == *chain && **with == *key,
            Source::Keystore { .. } | Source::Memory => false,
        }
    }

    /// Whether it is from that folder of the keystore.
    #[must_use]
    pub fn is_from_keystore(&self, store: &ProjectKeystore) -> bool {
        match &self.source {
            Source::Keystore { folder, .. } => **folder == *store.folder(),
            Source::Files { .. } | Source::Memory => false,
        }
    }

    /// When the keystore's CA ends, and with it every leaf that it signs. None if the leaf is not by
    /// the keystore's CA.
    #[must_use]
    pub const fn ca_not_after(&self) -> Option<Timestamp> {
        match &self.source {
            Source::Keystore { ca_not_after, .. } => Some(*ca_not_after),
            Source::Files { .. } | Source::Memory => None,
        }
    }

    /// What clients take as `sslrootcert`, PEM. None if the leaf is not by the keystore's CA.
    #[must_use]
    pub fn ca_bundle_pem(&self) -> Option<&str> {
        match &self.source {
            Source::Keystore { ca_bundle_pem, .. } => Some(ca_bundle_pem),
            Source::Files { .. } | Source::Memory => None,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("hosts", &self.hosts)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
