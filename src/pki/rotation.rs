//! One CA takes over from another, in three steps that may lie days apart.
//!
//! | stage | `ca.crt` | `ca.key` | beside it |
//! |---|---|---|---|
//! | settled | A | A | |
//! | announced | A, B | A | `ca-next.key`: B |
//! | switched | A, B | B | `ca-old.key`: A |
//! | settled | B | B | |
//!
//! What each step writes, in this order; the one in bold is the step:
//!
//! | step | writes |
//! |---|---|
//! | announce | `ca-next.key`: B; `ca.crl` of A and B; **`ca.crt`: A, B** |
//! | switch | `ca-old.key`: A; **`ca-next.key` becomes `ca.key`**; `ca.crl` of B and A |
//! | retire | `ca-old.key` becomes `ca-gone.key`; **`ca.crt`: B**; `ca-gone.key` goes; `ca.crl` of B |
//! | undo, announced | `ca-next.key` becomes `ca-gone.key`; **`ca.crt`: A**; `ca-gone.key` goes; `ca.crl` of A |
//! | undo, switched | `ca-next.key`: B; **`ca-old.key` becomes `ca.key`**; `ca.crl` of A and B |
//!
//! Whoever reads the folder sees the stage before that write, or the one behind it: `ca.crt` and
//! `ca.key` alone tell the stage. Whoever writes to it next puts the keys in order, which takes back
//! what a crash left before that write and removes what it left behind it, and the same step once more
//! finishes the rest. `ca-gone.key` is there because a `ca.crt` that is lost is made again of every CA
//! whose key is there: one that was retired must not come back by that.

use jiff::Timestamp;

use super::authority::Authorities;
use super::files::{Held, Readers};
use super::issue::{self, Ca};
use super::{PkiError, ProjectKeystore, sealed};

/// The key of the CA that is announced.
pub(super) const NEXT_KEY: &str = "ca-next.key";
/// The key of the CA that has signed until now.
pub(super) const OLD_KEY: &str = "ca-old.key";
/// The key of a CA that is being dropped.
pub(super) const GONE_KEY: &str = "ca-gone.key";

/// Where a project's CAs stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// There is one CA.
    Settled,
    /// There is a next CA: clients are to be given its certificate. It signs nothing yet.
    Announced,
    /// The next CA signs, and the old one is still trusted.
    Switched,
}

impl Stage {
    /// The file with the key of the CA that does not sign; none if there is one CA only.
    pub(super) const fn other_key(self) -> Option<&'static str> {
        match self {
            Self::Settled => None,
            Self::Announced => Some(NEXT_KEY),
            Self::Switched => Some(OLD_KEY),
        }
    }
}

/// What is to be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Make the next CA, and hand its certificate out with the old one's.
    Announce,
    /// Have the next CA sign.
    Switch,
    /// Have done with the old one. There is no way back from here.
    Retire,
    /// Go back one step.
    Undo,
}

impl ProjectKeystore {
    /// Takes a step; one that is taken already is no error, and only finishes what a crash left of it.
    /// Makes the first CA if there is none. The leaf is not touched: [`Self::load_or_create`] has it
    /// issued by the CA that signs.
    ///
    /// # Errors
    /// [`PkiError::WrongStep`] for one that can't be taken from where the rotation stands; a key that
    /// is missing or damaged; a file that can't be written.
    pub fn rotate(&self, step: Step, now: Timestamp) -> Result<Stage, PkiError> {
        let held = self.hold()?;
        let authorities = self.authorities_by(&held, now)?;
        let done = match (step, authorities.stage) {
            (Step::Announce, Stage::Settled) => self.announce(&held, &authorities, now),
            (Step::Switch, Stage::Announced) => self.exchange(&held, (NEXT_KEY, OLD_KEY)),
            (Step::Retire, Stage::Switched) | (Step::Undo, Stage::Announced) => {
                self.drop_other(&held, &authorities)
            }
            (Step::Undo, Stage::Switched) => self.exchange(&held, (OLD_KEY, NEXT_KEY)),
            (Step::Announce, Stage::Announced)
            | (Step::Switch, Stage::Switched)
            | (Step::Retire | Step::Undo, Stage::Settled) => Ok(()),
            (Step::Announce, Stage::Switched) => Err(PkiError::WrongStep(
                "the next CA signs already: --retire ends this rotation before another can begin, and \
                 --undo goes back to where the next CA was only announced",
            )),
            (Step::Switch, Stage::Settled) => Err(PkiError::WrongStep(
                "there is no next CA yet: begin with --announce, and give the clients the new ca.crt",
            )),
            (Step::Retire, Stage::Announced) => Err(PkiError::WrongStep(
                "the old CA still signs: --switch comes before --retire",
            )),
        };
        done?;
        let (stage, cas) = self.signers(&held, now)?;
        let cas: Vec<&Ca> = cas.iter().collect();
        self.write_crls(&held, &cas, now)?;
        Ok(stage)
    }

    fn announce(&self, held: &Held, before: &Authorities, now: Timestamp) -> Result<(), PkiError> {
        let key = issue::new_key()?;
        self.write_key(held, NEXT_KEY, &key)?;
        let next = issue::ca(&self.name, &key, now)?;
        let next = issue::authority(next, key, now);
        // First the list of what the next CA has revoked: whoever trusts it must have one.
        self.write_crls(held, &[&before.signing, &next], now)?;
        let bundle = format!("{}{}", before.signing.pem, next.pem);
        held.replace(&self.ca_certificate(), &bundle, Readers::Everybody)
    }

    /// The key in the file `comes` signs from now on, and the one that did goes to the file `goes`.
    fn exchange(&self, held: &Held, (comes, goes): (&str, &str)) -> Result<(), PkiError> {
        let signing = sealed::read(&self.file("ca.key"), self.ring())?;
        self.write_private(held, goes, &signing.contents)?;
        held.rename(&self.file(comes), &self.file("ca.key"))
    }

    /// Has done with the CA that does not sign.
    fn drop_other(&self, held: &Held, before: &Authorities) -> Result<(), PkiError> {
        // One whose key is lost can be dropped, too.
        let key = before.stage.other_key().map(|key| self.file(key));
        if let Some(key) = key.filter(|key| key.exists()) {
            held.rename(&key, &self.file(GONE_KEY))?;
        }
        let one = &before.signing.pem;
        held.replace(&self.ca_certificate(), one, Readers::Everybody)?;
        held.remove(&self.file(GONE_KEY))
    }

    /// Puts the keys in order for where the rotation stands: a CA that was to be dropped, and was not,
    /// has its key again, and the others' keys go.
    pub(super) fn sort_keys(&self, held: &Held, stage: Stage) -> Result<(), PkiError> {
        let wanted = stage.other_key();
        if let Some(wanted) = wanted.map(|wanted| self.file(wanted))
            && self.file(GONE_KEY).exists()
            && !wanted.exists()
        {
            held.rename(&self.file(GONE_KEY), &wanted)?;
        }
        let strays = [NEXT_KEY, OLD_KEY, GONE_KEY].map(Some);
        let mut strays = strays.iter().filter(|key| **key != wanted).flatten();
        strays.try_for_each(|key| held.remove(&self.file(key)))
    }

    /// Whether there is a CA's key that does not belong to where the rotation stands.
    pub(super) fn has_stray_keys(&self) -> bool {
        let mut there = [NEXT_KEY, OLD_KEY, GONE_KEY].to_vec();
        there.retain(|key| self.file(key).exists());
        if there.is_empty() {
            return false;
        }
        let stage = self.authorities().ok().flatten().map(|cas| cas.stage);
        stage.is_some_and(|stage| there.iter().any(|key| Some(*key) != stage.other_key()))
    }
}

#[cfg(test)]
mod tests;
