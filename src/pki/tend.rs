//! What is looked after while nobody asks: private keys are sealed that are not, and revocation lists
//! are signed anew before their time is over.

use jiff::{SignedDuration, Timestamp};

use super::certificate::Facts;
use super::rotation::{GONE_KEY, NEXT_KEY, OLD_KEY};
use super::{Keystore, PkiError, ProjectKeystore, Sharer, files, sealed};
use crate::id::ProjectName;

/// The files that are sealed where keys are.
const PRIVATE: [&str; 6] = [
    "ca.key",
    NEXT_KEY,
    OLD_KEY,
    GONE_KEY,
    "server.key",
    "scram.seed",
];

/// How long before the renewal of a leaf that servers share they are reminded of: as long, and up to two
/// hours more, so that who looks every hour sees each, and sees it twice at most.
const REMINDERS: [SignedDuration; 2] = [SignedDuration::from_hours(23), SignedDuration::ZERO];
const REMINDED_FOR: SignedDuration = SignedDuration::from_hours(2);

/// What looking after a project came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tended {
    /// Files that were sealed, or sealed by another key.
    pub sealed: usize,
    /// Whether the revocation lists were signed anew.
    pub lists_renewed: bool,
    /// The renewal of the leaf, if it comes within a day or an hour and servers share the leaf, which
    /// then have to be told.
    pub shared_renewal: Option<SharedRenewal>,
}

/// The renewal of a leaf that servers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedRenewal {
    /// When it comes.
    pub at: Timestamp,
    /// Who shares it: at least one.
    pub sharers: Vec<Sharer>,
}

/// What came of looking after one project.
pub type TendedOrNot = Result<Tended, PkiError>;

impl Keystore {
    /// Looks after every project that has a folder. Blocks on the file system, and reads a file or
    /// two of each.
    ///
    /// # Errors
    /// A directory that can't be read. What is wrong with one project keeps nothing from the others.
    pub fn tend(&self, now: Timestamp) -> Result<Vec<(ProjectName, TendedOrNot)>, PkiError> {
        let tend = |name: ProjectName| {
            let tended = self.project(&name).tend(now);
            (name, tended)
        };
        Ok(self.projects()?.into_iter().map(tend).collect())
    }
}

impl ProjectKeystore {
    /// Looks after the project.
    ///
    /// # Errors
    /// A file that can't be read or written, or unsealed.
    pub fn tend(&self, now: Timestamp) -> Result<Tended, PkiError> {
        // A key that can't be sealed must not keep the lists from being renewed, which would in time
        // shut out everybody.
        let (sealed, lists_renewed) = (self.reseal(), self.renew_crls(now));
        Ok(Tended {
            sealed: sealed?,
            lists_renewed: lists_renewed?,
            shared_renewal: self.shared_renewal(now)?,
        })
    }

    /// The renewal of a leaf that servers share, if it is time for a reminder.
    fn shared_renewal(&self, now: Timestamp) -> Result<Option<SharedRenewal>, PkiError> {
        let sharers = self.sharers()?;
        if sharers.is_empty() {
            return Ok(None);
        }
        let chain = files::if_sound(files::read_chain(&self.file("server.crt")))?;
        let leaf = chain.and_then(|chain| Facts::read(chain.first()?));
        let at = leaf.map(|leaf| self.renew_at(&leaf)).filter(|at| {
            let left = now.duration_until(*at);
            let is_in = |before: &SignedDuration| (*before..*before + REMINDED_FOR).contains(&left);
            REMINDERS.iter().any(is_in)
        });
        Ok(at.map(|at| SharedRenewal { at, sharers }))
    }

    /// Seals by the first key-encryption key whatever is not, and says how many files that were. Does
    /// nothing without such keys.
    ///
    /// # Errors
    /// A file that can't be read or written, or unsealed.
    pub fn reseal(&self) -> Result<usize, PkiError> {
        if self.ring().is_none() {
            return Ok(0);
        }
        let is_due = |file: &&str| {
            let kept = files::if_there(sealed::read(&self.file(file), self.ring()));
            kept.map(|kept| kept.is_some_and(|kept| !kept.is_as_wanted))
        };
        let mut due = false;
        for file in &PRIVATE {
            due |= is_due(file)?;
        }
        if !due {
            return Ok(0);
        }
        let held = self.hold()?;
        let mut count = 0;
        for file in PRIVATE {
            let kept = files::if_there(sealed::read(&self.file(file), self.ring()))?;
            if let Some(kept) = kept.filter(|kept| !kept.is_as_wanted) {
                self.write_private(&held, file, &kept.contents)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
