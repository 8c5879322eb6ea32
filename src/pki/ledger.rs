//! What was issued to others: `issued`, a line each, so that it can be found and revoked.

use std::fmt;

use jiff::Timestamp;

use super::files::{self, Held, Readers};
use super::{PkiError, ProjectKeystore, Serial};

/// A certificate that was issued to somebody. Those that the gate makes for itself are not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its serial number.
    pub serial: Serial,
    /// To what.
    pub kind: Kind,
    /// By which CA: the dnQualifier of its name.
    pub by: String,
    /// To whom: the client's name, or the backend's hosts.
    pub name: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client of the gate.
    Client,
    /// A server behind the gate.
    Backend,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Record {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut field = || fields.next();
        Some(Self {
            serial: field()?.parse().ok()?,
            kind: match field()? {
                "client" => Kind::Client,
                "backend" => Kind::Backend,
                _ => return None,
            },
            issued: field()?.parse().ok()?,
            not_after: field()?.parse().ok()?,
            by: field()?.to_owned(),
            name: field()?.to_owned(),
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            serial,
            kind,
            name,
            issued,
            not_after,
            by,
        } = self;
        writeln!(f, "{serial}\t{kind}\t{issued}\t{not_after}\t{by}\t{name}")
    }
}

impl ProjectKeystore {
    /// What was issued, the oldest first. Lines that say nothing are passed over.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn records(&self) -> Result<Vec<Record>, PkiError> {
        let text = files::if_there(files::read_text(&self.file("issued")))?;
        Ok(text
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(Record::read)
            .collect())
    }

    /// Adds a record; before the certificate is handed out, so that none is out that can't be found.
    /// Those that ended more than thirty days ago are dropped.
    pub(super) fn record(&self, held: &Held, record: &Record) -> Result<(), PkiError> {
        let forget = jiff::SignedDuration::from_hours(30 * 24);
        let still = |old: &Record| old.not_after.duration_until(record.issued) < forget;
        let mut text: String = self
            .records()?
            .iter()
            .filter(|old| still(old))
            .map(ToString::to_string)
            .collect();
        text += &record.to_string();
        held.replace(&self.file("issued"), &text, Readers::Owner)
    }
}
