//! Revocation: a list for each of the project's CAs, one behind the other in `ca.crl`.

use jiff::Timestamp;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::two_thirds;
use super::files::{self, Held, Readers};
use super::issue::{self, Ca};
use super::ledger::Record;
use super::{PkiError, ProjectKeystore, Serial};

/// A certificate that counts no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Serial,
    /// Since when.
    pub at: Timestamp,
}

/// What a revocation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is revoked now.
    Done,
    /// It was before.
    Already,
}

/// A revocation list, as far as the gate asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// DER.
    pub(super) der: CertificateRevocationListDer<'static>,
    issuer_raw: Vec<u8>,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    /// What is on it.
    pub revoked: Vec<Revoked>,
}

impl RevocationList {
    fn read(der: CertificateRevocationListDer<'static>) -> Option<Self> {
        let (rest, list) = CertificateRevocationList::from_der(&der).ok()?;
        let entries = list.iter_revoked_certificates().map(|entry| {
            Some(Revoked {
                serial: Serial::from_der_integer(entry.raw_serial())?,
                at: Timestamp::from_second(entry.revocation_date.timestamp()).ok()?,
            })
        });
        let number = list.crl_number()?.try_into().ok()?;
        let read = Self {
            issuer_raw: list.issuer().as_raw().to_vec(),
            number,
            this_update: Timestamp::from_second(list.last_update().timestamp()).ok()?,
            next_update: Timestamp::from_second(list.next_update()?.timestamp()).ok()?,
            revoked: entries.collect::<Option<_>>()?,
            der: CertificateRevocationListDer::from(Vec::new()),
        };
        rest.is_empty().then_some(Self { der, ..read })
    }

    fn is_by(&self, ca: &Ca) -> bool {
        X509Certificate::from_der(&ca.certificate)
            .is_ok_and(|(_, ca)| ca.subject().as_raw() == self.issuer_raw)
    }

    /// By when there is to be another.
    #[must_use]
    pub const fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// When the gate signs another: two thirds of the way to `next_update`.
    fn renew_at(&self) -> Timestamp {
        two_thirds(self.this_update, self.next_update)
    }
}

impl ProjectKeystore {
    /// Revokes a certificate that was issued to a client or a backend. The gate and every server that
    /// is given the new list refuse it from then on.
    ///
    /// # Errors
    /// [`PkiError::UnknownSerial`] if no such certificate was recorded; a CA's key that is missing or
    /// damaged; a file that can't be read or written.
    pub fn revoke(&self, serial: &Serial, now: Timestamp) -> Result<Revocation, PkiError> {
        let held = self.hold()?;
        let records = self.records()?;
        let is_it = |record: &&Record| record.serial == *serial;
        if !records.iter().any(|record| is_it(&record)) {
            return Err(PkiError::UnknownSerial(serial.clone()));
        }
        let kept = self.revocation_lists()?;
        let is_on = |list: &RevocationList| list.revoked.iter().any(|old| old.serial == *serial);
        if kept.iter().any(is_on) {
            return Ok(Revocation::Already);
        }
        let revoked = Revoked {
            serial: serial.clone(),
            at: now,
        };
        // On every CA's list: serial numbers are random, so it is on that of no other certificate.
        self.sign_crls(&held, (&kept, Some(revoked)), now)?;
        Ok(Revocation::Done)
    }

    /// The lists that are kept, each CA's; none while nothing was ever issued to a client.
    ///
    /// # Errors
    /// A file that can't be read, or that holds anything else, or that is missing although something
    /// was issued.
    pub fn revocation_lists(&self) -> Result<Vec<RevocationList>, PkiError> {
        let path = self.crl_file();
        let Some(text) = files::if_there(files::read_text(&path))? else {
            // It is written before the first certificate is recorded: a file that is lost must not
            // pass for one that says that nothing is revoked.
            return match self.records()?.is_empty() {
                true => Ok(Vec::new()),
                false => Err(PkiError::RevocationListMissing { path }),
            };
        };
        let bad = || PkiError::BadRevocationList { path: path.clone() };
        let lists = CertificateRevocationListDer::pem_slice_iter(text.as_bytes())
            .map(|der| der.ok().and_then(RevocationList::read).ok_or_else(bad))
            .collect::<Result<Vec<_>, _>>()?;
        if lists.is_empty() {
            Err(bad())
        } else {
            Ok(lists)
        }
    }

    /// The list of the CA that signs now, DER; none while there is no list.
    ///
    /// # Errors
    /// Those of [`Self::revocation_lists`].
    pub fn revocation_list_der(
        &self,
    ) -> Result<Option<CertificateRevocationListDer<'static>>, PkiError> {
        // By whose it is, not by its place: a switch that was interrupted leaves them in the old order.
        let lists = self.revocation_lists()?;
        let Some(authorities) = self.authorities()? else {
            return Ok(None);
        };
        let is_by = |list: &RevocationList| list.is_by(&authorities.signing);
        Ok(lists.into_iter().find(is_by).map(|list| list.der))
    }

    /// The lists of all CAs, PEM; none while there is no list.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn revocation_lists_pem(&self) -> Result<Option<Vec<u8>>, PkiError> {
        let text = files::if_there(files::read_text(&self.crl_file()))?;
        Ok(text.map(String::into_bytes))
    }

    /// Where the lists are kept, PEM.
    #[must_use]
    pub fn crl_file(&self) -> std::path::PathBuf {
        self.file("ca.crl")
    }

    /// Signs the lists anew if that is due. Says whether it was.
    pub(super) fn renew_crls(&self, now: Timestamp) -> Result<bool, PkiError> {
        let due = |lists: &[RevocationList]| lists.iter().any(|list| list.renew_at() <= now);
        if !due(&self.revocation_lists()?) {
            return Ok(false);
        }
        let held = self.hold()?;
        let kept = self.revocation_lists()?;
        if !due(&kept) {
            return Ok(false);
        }
        self.sign_crls(&held, (&kept, None), now)?;
        Ok(true)
    }

    /// Makes the lists if there are none yet.
    pub(super) fn begin_crls(&self, held: &Held, now: Timestamp) -> Result<(), PkiError> {
        if !self.revocation_lists()?.is_empty() {
            return Ok(());
        }
        self.sign_crls(held, (&[], None), now)
    }

    /// If there are lists, makes them those of these CAs, in this order.
    pub(super) fn write_crls(
        &self,
        held: &Held,
        cas: &[&Ca],
        now: Timestamp,
    ) -> Result<(), PkiError> {
        let kept = self.revocation_lists()?;
        let mut pairs = kept.iter().zip(cas);
        let are_theirs = kept.len() == cas.len() && pairs.all(|(list, ca)| list.is_by(ca));
        if kept.is_empty() || are_theirs {
            return Ok(());
        }
        let pem = signed(cas, (&kept, None), now)?;
        held.replace(&self.crl_file(), &pem, Readers::Everybody)
    }

    /// Has all CAs sign their lists anew, with one entry more.
    fn sign_crls(
        &self,
        held: &Held,
        entries: (&[RevocationList], Option<Revoked>),
        now: Timestamp,
    ) -> Result<(), PkiError> {
        let (_, cas) = self.signers(held, now)?;
        let cas: Vec<&Ca> = cas.iter().collect();
        let pem = signed(&cas, entries, now)?;
        held.replace(&self.crl_file(), &pem, Readers::Everybody)
    }
}

/// A list of each CA, with what was on it before and one entry more; PEM.
fn signed(
    cas: &[&Ca],
    (kept, more): (&[RevocationList], Option<Revoked>),
    now: Timestamp,
) -> Result<String, PkiError> {
    let mut pem = String::new();
    for ca in cas {
        let before = kept.iter().find(|list| list.is_by(ca));
        let mut revoked = before.map_or_else(Vec::new, |list| list.revoked.clone());
        revoked.extend(more.clone());
        // The time, so that a list that was lost has a lower number than the one that follows it.
        let clock = u64::try_from(now.as_second()).unwrap_or_default();
        let number = before.map_or(0, |list| list.number.saturating_add(1));
        pem += &issue::revocation_list(ca, number.max(clock), &revoked, now)?.pem()?;
    }
    Ok(pem)
}

#[cfg(test)]
mod tests;
