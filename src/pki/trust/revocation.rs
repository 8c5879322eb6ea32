//! Lists of revoked certificates (RFC 5280 section 5).

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use webpki::{
    CertRevocationList, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::Link;
use crate::pki::{PkiError, files};

/// Several lists.
#[derive(Default)]
pub(super) struct Revocations(Vec<List>);

struct List {
    list: CertRevocationList<'static>,
    /// Until when it may be believed that it names all.
    next_update: Option<Timestamp>,
}

impl Revocations {
    /// Takes up a file of lists, PEM: at least one.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), PkiError> {
        let bad = |what: String| PkiError::BadRevocations {
            path: path.to_owned(),
            what,
        };
        let contents = files::read_bytes(path)?;
        let lists = CertificateRevocationListDer::pem_slice_iter(&contents)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| bad("its PEM is damaged".to_owned()))?;
        if lists.is_empty() {
            return Err(bad("it holds no PEM block X509 CRL".to_owned()));
        }
        for (der, position) in lists.iter().zip(1..) {
            let unreadable = || {
                bad(format!(
                    "list {position} in it: its nextUpdate can't be read"
                ))
            };
            let list = List::read(der, Some(next_update(der).ok_or_else(unreadable)?));
            self.0
                .push(list.map_err(|error| bad(format!("list {position} in it: {error}")))?);
        }
        Ok(())
    }

    /// Takes up lists that the gate itself keeps in the CA's folder: they are never out of date, for
    /// whoever could revoke anything would have written it there.
    pub(super) fn take_up_our_own(
        &mut self,
        lists: &[CertificateRevocationListDer<'_>],
        path: &Path,
    ) -> Result<(), PkiError> {
        for der in lists {
            let list = List::read(der, None);
            self.0.push(list.map_err(|error| PkiError::BadRevocations {
                path: path.to_owned(),
                what: format!("a list of the CA's own: {error}"),
            })?);
        }
        Ok(())
    }

    pub(super) fn lists(&self) -> Vec<&CertRevocationList<'static>> {
        self.0.iter().map(|list| &list.list).collect()
    }

    /// Whether a list of that issuer has the serial number. A list that can't be searched has it.
    pub(super) fn have(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.of(issuer)
            .any(|list| !matches!(list.list.find_serial(serial), Ok(None)))
    }

    /// Whether all that is known of one of the certificates is out of date.
    pub(super) fn are_stale(&self, links: &[Link], now: Timestamp) -> bool {
        let is_over = |list: &List| list.next_update.is_some_and(|until| until < now);
        links.iter().any(|link| {
            let mut lists = self.of(&link.issuer).peekable();
            lists.peek().is_some() && lists.all(is_over)
        })
    }

    /// Whether there is a list by the issuer of each of the certificates.
    pub(super) fn know_all(&self, links: &[Link]) -> bool {
        links
            .iter()
            .all(|link| self.of(&link.issuer).next().is_some())
    }

    fn of(&self, issuer: &[u8]) -> impl Iterator<Item = &List> {
        self.0
            .iter()
            .filter(move |list| list.list.issuer() == issuer)
    }
}

impl List {
    fn read(der: &[u8], next_update: Option<Timestamp>) -> Result<Self, webpki::Error> {
        Ok(Self {
            list: OwnedCertRevocationList::from_der(der)?.into(),
            next_update,
        })
    }
}

fn next_update(der: &[u8]) -> Option<Timestamp> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    Timestamp::from_second(list.next_update()?.timestamp()).ok()
}

/// Every certificate on the way to the CA is looked up. A CA of which there is no list has revoked
/// nothing; whether a list is out of date is looked at apart, for a text of its own.
pub(super) fn options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options
        .with_depth(RevocationCheckDepth::Chain)
        .with_status_policy(UnknownStatusPolicy::Allow);
    Some(options.build())
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revocations").field(&self.0.len()).finish()
    }
}
