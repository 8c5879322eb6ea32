//! What there is in a project's folder, for people to read: nothing is made, and nothing written.

use std::fmt;

use aws_lc_rs::digest;
use jiff::Timestamp;

use super::certificate::Facts;
use super::rotation::Stage;
use super::{
    PkiError, ProjectKeystore, Record, RevocationList, Revoked, Serial, Sharer, files, issue,
};
use crate::address::Host;

/// What a CA is in a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It signs.
    Signing,
    /// It will sign: clients are to be given its certificate.
    Announced,
    /// It signed before, and is trusted yet.
    Retiring,
}

/// A certificate, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whom it is about.
    pub subject: String,
    /// The SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// What tells its key from others: a CA's dnQualifier.
    pub qualifier: String,
    /// Its serial number.
    pub serial: Option<Serial>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// What it is for.
    pub hosts: Vec<Host>,
}

/// The SHA-256 of a certificate, written as openssl does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl Described {
    fn of(der: &[u8]) -> Option<Self> {
        let facts = Facts::read(&der.into())?;
        let digest = digest::digest(&digest::SHA256, der);
        Some(Self {
            subject: facts.subject,
            fingerprint: Fingerprint(*digest.as_ref().first_chunk()?),
            qualifier: issue::qualifier(&facts.public_key),
            serial: facts.serial,
            not_before: facts.not_before,
            not_after: facts.not_after,
            hosts: facts.hosts,
        })
    }
}

/// What there is in a project's folder.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Where a rotation stands.
    pub stage: Stage,
    /// The CAs, the older first.
    pub authorities: Vec<(Role, Described)>,
    /// The leaf that the gate shows, and when it is to be renewed; none if there is none yet.
    pub leaf: Option<(Described, Timestamp)>,
    /// The servers that show the same leaf.
    pub sharers: Vec<Sharer>,
    /// What was issued to others.
    pub records: Vec<Record>,
    /// What is revoked.
    pub revoked: Vec<Revoked>,
    /// By when there is to be another revocation list; none while there is none.
    pub next_update: Option<Timestamp>,
    /// Whether the keys are sealed at rest.
    pub sealed: bool,
}

impl Survey {
    /// Since when a certificate is revoked.
    #[must_use]
    pub fn revoked_at(&self, serial: &Serial) -> Option<Timestamp> {
        let mut revoked = self.revoked.iter();
        revoked
            .find(|revoked| revoked.serial == *serial)
            .map(|revoked| revoked.at)
    }

    /// What was issued and still counts: neither over nor revoked.
    pub fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| {
            now <= record.not_after && self.revoked_at(&record.serial).is_none()
        })
    }
}

impl ProjectKeystore {
    /// What there is in the project's folder; none if there is no CA yet.
    ///
    /// # Errors
    /// A file that can't be read, unsealed, or isn't what it should be.
    pub fn survey(&self) -> Result<Option<Survey>, PkiError> {
        let Some(authorities) = self.authorities()? else {
            return Ok(None);
        };
        let roles: &[Role] = match authorities.stage {
            Stage::Settled => &[Role::Signing],
            Stage::Announced => &[Role::Signing, Role::Announced],
            Stage::Switched => &[Role::Retiring, Role::Signing],
        };
        let certificates = authorities.certificates();
        let described = certificates.iter().map(|der| Described::of(der));
        let described = roles.iter().copied().zip(described.flatten()).collect();
        let lists = self.revocation_lists()?;
        let mut revoked: Vec<Revoked> = Vec::new();
        for one in lists.iter().flat_map(|list| &list.revoked) {
            if !revoked.contains(one) {
                revoked.push(one.clone());
            }
        }
        Ok(Some(Survey {
            stage: authorities.stage,
            authorities: described,
            leaf: self.described_leaf()?,
            sharers: self.sharers()?,
            records: self.records()?,
            next_update: lists.iter().map(RevocationList::next_update).min(),
            sealed: self.is_sealed("ca.key")?,
            revoked,
        }))
    }

    fn described_leaf(&self) -> Result<Option<(Described, Timestamp)>, PkiError> {
        let chain = files::if_sound(files::read_chain(&self.file("server.crt")))?;
        Ok(chain.and_then(|chain| {
            let leaf = chain.first()?;
            let renew_at = self.renew_at(&Facts::read(leaf)?);
            Some((Described::of(leaf)?, renew_at))
        }))
    }
}
