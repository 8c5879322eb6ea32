//! One CA takes over from another, in three steps that may lie days apart.
//!
//! | stage | `ca.crt` | `ca.key` | beside it |
//! |---|---|---|---|
//! | settled | A | A | |
//! | announced | A, B | A | `ca-next.key`: B |
//! | switched | A, B | B | `ca-old.key`: A |
//! | settled | B | B | |
//!
//! Each step has one write that is the step: of `ca.crt` (announced, retired) or the rename of a key
//! (switched). What a crash leaves before that write is of no account; what it leaves behind it is
//! removed by whoever writes to the folder next.

use jiff::Timestamp;

use super::authority::Authorities;
use super::files::{Held, Readers};
use super::issue::{self, Ca};
use super::{PkiError, ProjectKeystore, sealed};

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
    /// Takes a step; one that is taken already is no error, and changes nothing. Makes the first CA if
    /// there is none. The leaf is not touched: [`Self::load_or_create`] has it issued by the CA that
    /// signs.
    ///
    /// # Errors
    /// [`PkiError::WrongStep`] for one that can't be taken from where the rotation stands; a key that
    /// is missing or damaged; a file that can't be written.
    pub fn rotate(&self, step: Step, now: Timestamp) -> Result<Stage, PkiError> {
        let held = self.hold()?;
        let authorities = self.authorities_by(&held, now)?;
        let done = match (step, authorities.stage) {
            (Step::Announce, Stage::Settled) => self.announce(&held, &authorities, now),
            (Step::Switch, Stage::Announced) => self.exchange(&held, ("ca-next.key", "ca-old.key")),
            (Step::Retire, Stage::Switched) | (Step::Undo, Stage::Announced) => {
                let one = &authorities.signing.pem;
                held.replace(&self.ca_certificate(), one, Readers::Everybody)
            }
            (Step::Undo, Stage::Switched) => self.exchange(&held, ("ca-old.key", "ca-next.key")),
            (Step::Announce, Stage::Announced)
            | (Step::Switch, Stage::Switched)
            | (Step::Retire | Step::Undo, Stage::Settled) => return Ok(authorities.stage),
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
        self.write_key(held, "ca-next.key", &key)?;
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
}

#[cfg(test)]
mod tests;
