//! A chain and key of the user's own, checked before any client sees it.

use std::path::Path;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::CertificateDer;

use super::certificate::{Facts, verify};
use super::{Identity, PkiError, files};
use crate::address::Host;

/// See [`Identity::from_files`].
pub(super) fn load(
    chain_file: &Path,
    key_file: &Path,
    hosts: &[Host],
    now: Timestamp,
) -> Result<Identity, PkiError> {
    let chain = Chain::read(chain_file)?;
    let key = files::read_key(key_file)?;
    let signing = any_supported_type(&key);
    let signing = signing.map_err(|_| PkiError::BadKey {
        path: key_file.to_owned(),
    })?;
    let public_key = signing.public_key();
    if public_key.is_none_or(|public| *public != *chain.leaf.public_key) {
        let (key, chain) = (key_file.to_owned(), chain_file.to_owned());
        return Err(PkiError::KeyMismatch { key, chain });
    }
    chain.check_dates(now)?;
    chain.check_order(now)?;
    chain.check_hosts(hosts)?;
    Identity::new(chain.certificates, &key, hosts.to_vec())
}

struct Chain<'a> {
    file: &'a Path,
    certificates: Vec<CertificateDer<'static>>,
    leaf: Facts,
    issuers: Vec<Facts>,
}

impl<'a> Chain<'a> {
    fn read(file: &'a Path) -> Result<Self, PkiError> {
        let certificates = files::read_chain(file)?;
        let bad = |index: usize| PkiError::BadCertificate {
            path: file.to_owned(),
            what: format!("certificate {} in it is damaged", index + 1),
        };
        let mut facts = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            facts.push(Facts::read(certificate).ok_or_else(|| bad(index))?);
        }
        let mut facts = facts.into_iter();
        let leaf = facts.next().ok_or_else(|| bad(0))?;
        if leaf.is_edwards {
            return Err(PkiError::NoChannelBinding {
                chain: file.to_owned(),
            });
        }
        Ok(Self {
            file,
            certificates,
            leaf,
            issuers: facts.collect(),
        })
    }

    /// All certificates, each with its place, counted from 1 as people do.
    fn places(&self) -> impl Iterator<Item = (usize, &Facts)> {
        (1..).zip(std::iter::once(&self.leaf).chain(&self.issuers))
    }

    fn check_dates(&self, now: Timestamp) -> Result<(), PkiError> {
        let Some((position, facts)) = self.places().find(|(_, facts)| !facts.is_valid_at(now))
        else {
            return Ok(());
        };
        Err(PkiError::NotValid {
            chain: self.file.to_owned(),
            position,
            subject: facts.subject.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// Each certificate must have signed the one before it; a lone leaf is taken as it is.
    fn check_order(&self, now: Timestamp) -> Result<(), PkiError> {
        let out_of_order = |position, what| PkiError::ChainOrder {
            chain: self.file.to_owned(),
            position,
            what,
        };
        for ((_, signed), (position, signer)) in self.places().zip(self.places().skip(1)) {
            if signed.issuer_raw != signer.subject_raw {
                return Err(out_of_order(position, format!("it is {}", signer.subject)));
            }
        }
        match self.certificates.split_last() {
            Some((root, chain)) if !chain.is_empty() => verify(chain, root, now)
                .map_err(|error| out_of_order(self.certificates.len(), error.to_string())),
            Some(_) | None => Ok(()),
        }
    }

    fn check_hosts(&self, hosts: &[Host]) -> Result<(), PkiError> {
        let Some(host) = hosts.iter().find(|host| !self.leaf.covers(host)) else {
            return Ok(());
        };
        Err(PkiError::HostNotCovered {
            chain: self.file.to_owned(),
            host: host.clone(),
            names: self.leaf.hosts.iter().map(ToString::to_string).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
