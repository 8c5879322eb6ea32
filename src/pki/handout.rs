//! What a project's CA issues to others: clients, and servers behind the gate.

use std::fmt;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use rcgen::Certificate;
use zeroize::Zeroizing;

use super::authority::Authorities;
use super::files::{self, Held, Readers, Unfinished};
use super::issue::{self, Issued, Signed};
use super::{ClientName, Kind, PkiError, ProjectKeystore, Record, sealed};
use crate::address::Host;

/// A certificate to hand out.
pub struct Handout {
    /// The certificate, PEM; a server's with its CA's behind it.
    pub certificate_pem: String,
    /// Its key, PKCS #8 in PEM: none if whoever asked has it.
    pub key_pem: Option<Zeroizing<String>>,
    /// What was recorded of it.
    pub record: Record,
}

impl fmt::Debug for Handout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handout")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// A server behind the gate that shows the gate's own leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharer {
    /// The name by which the gate dials it.
    pub host: Host,
    /// Where its `server.crt` and `server.key` are put whenever there is a new leaf.
    pub directory: PathBuf,
}

impl fmt::Display for Sharer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, in {}", self.host, self.directory.display())
    }
}

impl Sharer {
    /// Writes the files there, without their names yet: the key first, for a server that reads them in
    /// between keeps what it has. A server reads its key only if it owns it.
    fn prepare(&self, chain: &str, key: &str) -> Result<[Unfinished; 2], PkiError> {
        let write = |file: &str, contents, readers| {
            let path = self.directory.join(file);
            Unfinished::write(&path, contents, readers)
                .and_then(Unfinished::for_owner_of_directory)
                .map_err(PkiError::io("write", &path))
        };
        Ok([
            write("server.key", key, Readers::Owner)?,
            write("server.crt", chain, Readers::Everybody)?,
        ])
    }
}

impl ProjectKeystore {
    /// A certificate for a client, with a new key, recorded so that it can be revoked. Makes the CA
    /// and its revocation list if there are none.
    ///
    /// # Errors
    /// A CA that is missing its key, is damaged or over; a file that can't be written.
    pub fn issue_to_client(
        &self,
        name: &ClientName,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<Handout, PkiError> {
        self.hand_out((Kind::Client, name.as_str()), now, |by| {
            let issued = issue::client(&by.signing, name, life, now)?;
            Ok(with_key(issued))
        })
    }

    /// A certificate for a client that keeps its key to itself: for the key of its signing request,
    /// PEM, of which nothing else is taken.
    ///
    /// # Errors
    /// [`PkiError::BadRequest`]; those of [`Self::issue_to_client`].
    pub fn issue_for_request(
        &self,
        name: &ClientName,
        (request, life): (&str, SignedDuration),
        now: Timestamp,
    ) -> Result<Handout, PkiError> {
        self.hand_out((Kind::Client, name.as_str()), now, |by| {
            let signed = issue::client_for_request(&by.signing, name, (request, life), now)?;
            Ok((signed, None))
        })
    }

    /// A certificate for a server behind the gate, with a new key, recorded so that it can be revoked.
    ///
    /// # Errors
    /// [`PkiError::NoHosts`]; those of [`Self::issue_to_client`].
    pub fn issue_to_backend(
        &self,
        hosts: &[Host],
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<Handout, PkiError> {
        if hosts.is_empty() {
            return Err(PkiError::NoHosts);
        }
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut handout = self.hand_out((Kind::Backend, &names.join(" ")), now, |by| {
            let issued = issue::server(&by.signing, hosts, life, now)?;
            Ok(with_key(issued))
        })?;
        if let Some(by) = self.authorities()? {
            handout.certificate_pem += &by.signing.pem;
        }
        Ok(handout)
    }

    fn hand_out(
        &self,
        (kind, name): (Kind, &str),
        now: Timestamp,
        issue: impl FnOnce(&Authorities) -> Result<(Signed, Option<Zeroizing<String>>), PkiError>,
    ) -> Result<Handout, PkiError> {
        let held = self.hold()?;
        let authorities = self.authorities_by(&held, now)?;
        self.check_dates(&authorities.signing, now)?;
        let (signed, key_pem) = issue(&authorities)?;
        self.begin_crls(&held, now)?;
        let record = Record {
            serial: signed.serial,
            kind,
            name: name.to_owned(),
            issued: now,
            not_after: signed.not_after,
            by: issue::qualifier(&issue::public_key(&authorities.signing.key)),
        };
        self.record(&held, &record)?;
        Ok(Handout {
            certificate_pem: signed.certificate.pem(),
            key_pem,
            record,
        })
    }

    /// Has a server behind the gate show the gate's own leaf: the leaf that is issued next, which is
    /// now if the one there is doesn't name the server, and every one after it is put into a
    /// directory of the server's.
    ///
    /// # Errors
    /// A directory that can't be written to; those of [`Self::load_or_create`].
    pub fn share_with(
        &self,
        sharer: Sharer,
        hosts: &[Host],
        now: Timestamp,
    ) -> Result<(), PkiError> {
        let before = self.sharers()?;
        let others = before
            .iter()
            .filter(|old| old.directory != sharer.directory);
        let with_it: Vec<_> = others.chain([&sharer]).cloned().collect();
        self.write_sharers(&with_it)?;
        let shared = self.share_leaf(&sharer, hosts, now);
        if shared.is_err() {
            // One that can't be given the leaf would keep the gate from ever showing another.
            self.write_sharers(&before)?;
        }
        shared
    }

    fn share_leaf(&self, with: &Sharer, hosts: &[Host], now: Timestamp) -> Result<(), PkiError> {
        self.load_or_create(hosts, now)?;
        let chain = files::read_text(&self.file("server.crt"))?;
        let key = sealed::read(&self.file("server.key"), self.ring())?;
        let files = with.prepare(&chain, &String::from_utf8_lossy(&key.contents))?;
        files.into_iter().try_for_each(Unfinished::finish)
    }

    fn write_sharers(&self, sharers: &[Sharer]) -> Result<(), PkiError> {
        let line =
            |Sharer { host, directory }: &Sharer| format!("{host}\t{}\n", directory.display());
        let text: String = sharers.iter().map(line).collect();
        self.hold()?
            .replace(&self.file("shared"), &text, Readers::Everybody)
    }

    /// The servers that show the gate's own leaf.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn sharers(&self) -> Result<Vec<Sharer>, PkiError> {
        let text = files::if_there(files::read_text(&self.file("shared")))?;
        let read = |line: &str| {
            let (host, directory) = line.split_once('\t')?;
            Some(Sharer {
                host: host.parse().ok()?,
                directory: directory.into(),
            })
        };
        Ok(text
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(read)
            .collect())
    }

    /// Puts a leaf where the servers that share it look for it: before the gate shows it, so that
    /// one of them can be the first, and not be found wanting. Where one of them can't have it, none
    /// gets it: the gate goes on with the old one, and so must they.
    pub(super) fn provide_sharers(&self, _: &Held, chain: &str, key: &str) -> Result<(), PkiError> {
        let sharers = self.sharers()?;
        let prepared = sharers.iter().map(|sharer| sharer.prepare(chain, key));
        let prepared: Vec<_> = prepared.collect::<Result<_, _>>()?;
        let mut files = prepared.into_iter().flatten();
        files.try_for_each(Unfinished::finish)
    }
}

fn with_key(issued: Issued) -> (Signed, Option<Zeroizing<String>>) {
    let key = issue::key_pem(&issued.key);
    (issued.into(), Some(key))
}

impl From<Issued> for Signed {
    fn from(issued: Issued) -> Self {
        let certificate: Certificate = issued.certificate;
        Self {
            certificate,
            serial: issued.serial,
            not_after: issued.not_after,
        }
    }
}

#[cfg(test)]
mod tests;
