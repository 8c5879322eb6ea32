//! [`Minter`]: short-lived certificates by which the gate logs in to a backend in a user's name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::ProvenUser;
use crate::backend::{ClientIdentity, InvalidIdentity};
use crate::pki::{ClientIssuer, ClientName, PkiError};

/// How long a certificate is good for. It is needed for one handshake.
const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// How long one is used again: what is left of its life then is for a backend whose clock is ahead.
const USED: SignedDuration = SignedDuration::from_mins(5);

/// The most users whose certificates are kept.
const MOST: usize = 1024;

/// Makes certificates by which the gate logs in to a backend, each for one user, and keeps those that
/// are in use. Making one takes some tens of microseconds, and no file.
pub struct Minter {
    issuer: ClientIssuer,
    minted: Mutex<HashMap<Box<str>, Minted>>,
}

struct Minted {
    identity: ClientIdentity,
    until: Timestamp,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No certificate can state the user's name.
    #[error("no certificate can be made for this user: {0}")]
    Name(#[from] crate::pki::InvalidClientName),
    /// It could not be signed.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// It could not be used.
    #[error(transparent)]
    Identity(#[from] InvalidIdentity),
}

impl Minter {
    /// Signs by the CA of `issuer`.
    #[must_use]
    pub fn new(issuer: ClientIssuer) -> Self {
        Self {
            issuer,
            minted: Mutex::default(),
        }
    }

    /// Whether it signs by the CA of `issuer`, so that what it has made is what would be made now.
    #[must_use]
    pub fn is_by(&self, issuer: &ClientIssuer) -> bool {
        self.issuer.is_by_ca_of(issuer)
    }

    /// The certificate by which the gate logs in as `user`, who has proved by its own that it is that.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, user: ProvenUser<'_>, now: Timestamp) -> Result<ClientIdentity, MintError> {
        if let Some(kept) = self.kept(user, now) {
            return Ok(kept);
        }
        // Made beside the lock: two logins at once may make two, and the later is kept.
        let name: ClientName = user.as_str().parse()?;
        let made = self.issuer.issue(&name, LIFE, now)?;
        let chain = vec![made.certificate().clone()];
        let identity = ClientIdentity::new(chain, made.key())?;
        let until = now.saturating_add(USED).unwrap_or(now);
        let minted = Minted {
            identity: identity.clone(),
            until: until.min(made.not_after()),
        };
        let mut all = self.lock();
        if all.len() >= MOST {
            make_room(&mut all, now);
        }
        all.insert(user.as_str().into(), minted);
        Ok(identity)
    }

    fn kept(&self, user: ProvenUser<'_>, now: Timestamp) -> Option<ClientIdentity> {
        let all = self.lock();
        let minted = all.get(user.as_str()).filter(|minted| now < minted.until)?;
        Some(minted.identity.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Minted>> {
        self.minted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets those that are over; if none is, all: they are made again at a moment's cost.
fn make_room(all: &mut HashMap<Box<str>, Minted>, now: Timestamp) {
    all.retain(|_, minted| now < minted.until);
    if all.len() >= MOST {
        all.clear();
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::auth::certificate::{
        CertificateResult, ClientCertificates, Demand, NameKind, Naming, UserMap,
    };
    use crate::pki::{ClientCas, ClientTrust, Keystore, ProjectKeystore, Shown};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn project() -> (TempDir, ProjectKeystore) {
        let directory = TempDir::new().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        (directory, keystore.project(&"acme".parse().unwrap()))
    }

    fn minter() -> (TempDir, Minter) {
        let (directory, project) = project();
        let issuer = project.client_issuer(now()).unwrap();
        (directory, Minter::new(issuer))
    }

    fn is_same(a: &ClientIdentity, b: &ClientIdentity) -> bool {
        a.leaf_der() == b.leaf_der()
    }

    #[test]
    fn a_certificate_is_used_again_for_five_minutes_and_for_its_own_user_only() {
        let (_directory, minter) = minter();
        let first = minter.mint(ProvenUser("alice"), now()).unwrap();
        let soon = now() + SignedDuration::from_secs(299);
        assert!(is_same(
            &first,
            &minter.mint(ProvenUser("alice"), soon).unwrap()
        ));
        assert!(!is_same(
            &first,
            &minter.mint(ProvenUser("bob"), soon).unwrap()
        ));
        let later = now() + SignedDuration::from_mins(5);
        assert!(!is_same(
            &first,
            &minter.mint(ProvenUser("alice"), later).unwrap()
        ));
    }

    #[test]
    fn a_certificate_is_by_the_projects_ca_names_its_user_and_is_over_in_ten_minutes() {
        let (_directory, project) = project();
        let minter = Minter::new(project.client_issuer(now()).unwrap());
        let minted = minter.mint(ProvenUser("alice"), now()).unwrap();
        let cas = ClientCas {
            project: true,
            ..ClientCas::default()
        };
        let trust = Arc::new(ClientTrust::load(&cas, &project, now()).unwrap());
        let naming = Naming::Named(NameKind::CommonName, UserMap::default());
        let demands = ClientCertificates::Required(Demand { trust, naming }.into());
        let chain = [minted.leaf_der().clone()];
        let result = |user: &str, minutes| {
            let at = now() + SignedDuration::from_mins(minutes);
            let judged = demands.judge(Shown::of(Some(&chain)), user.as_bytes(), at);
            judged.map_or_else(|refused| refused.result(), |who| who.result())
        };
        assert_eq!(result("alice", 9), CertificateResult::Accepted);
        assert_eq!(result("bob", 9), CertificateResult::OtherUser);
        assert_eq!(result("alice", 11), CertificateResult::Expired);
    }

    #[test]
    fn the_certificates_that_are_kept_are_of_bounded_number() {
        let (_directory, minter) = minter();
        for user in 0..=MOST {
            let user = user.to_string();
            minter.mint(ProvenUser(&user), now()).unwrap();
        }
        assert!(minter.lock().len() <= MOST);
    }

    #[test]
    fn a_user_that_no_certificate_can_name_gets_none() {
        let (_directory, minter) = minter();
        for user in ["", "a\nb", &"x".repeat(64)] {
            let refused = minter.mint(ProvenUser(user), now());
            assert!(matches!(refused, Err(MintError::Name(_))), "{user:?}");
        }
    }
}
