//! A rule: whom it is about, and whether they may come in.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::network::{InvalidNetwork, Network, excerpt};

/// One line of a project's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names the rule, in the audit, in hits and on the command line; unique within a list.
    pub id: RuleId,
    /// What becomes of whoever it matches.
    pub verdict: Verdict,
    /// Whom it matches.
    pub source: Source,
    /// None if there is nothing in it: there may be a million rules.
    remarks: Option<Box<Remarks>>,
}

/// What a rule may say besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Why it is there, in its author's words.
    pub note: Option<Note>,
    /// From this moment on the rule is as if absent.
    pub expires: Option<Timestamp>,
    /// Who wrote it.
    pub author: Option<Author>,
}

impl Rule {
    /// A rule with its derived id (see [`RuleId::derived`]) and nothing more.
    #[must_use]
    pub fn new(verdict: Verdict, source: Source) -> Self {
        let id = RuleId::derived(verdict, &source);
        Self {
            id,
            verdict,
            source,
            remarks: None,
        }
    }

    /// The rule with these remarks, and no others.
    #[must_use]
    pub fn with(self, remarks: Remarks) -> Self {
        let is_empty = remarks == Remarks::default();
        Self {
            remarks: (!is_empty).then(|| remarks.into()),
            ..self
        }
    }

    /// Why it is there, in its author's words.
    #[must_use]
    pub fn note(&self) -> Option<&Note> {
        self.remarks.as_ref()?.note.as_ref()
    }

    /// From this moment on the rule is as if absent.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.remarks.as_ref()?.expires
    }

    /// Who wrote it.
    #[must_use]
    pub fn author(&self) -> Option<&Author> {
        self.remarks.as_ref()?.author.as_ref()
    }

    /// Bytes that the rule has on the heap.
    pub(super) fn heap_size(&self) -> usize {
        let source = match &self.source {
            Source::Network(_) | Source::Anywhere | Source::Nowhere => 0,
            Source::Tag(name) => name.0.len(),
            Source::Endpoint(id) => id.0.len(),
        };
        let id = match &self.id.0 {
            Name::Derived(_) => 0,
            Name::Given(text) => text.len(),
        };
        let remarks = self.remarks.as_ref().map_or(0, |remarks| {
            let note = remarks.note.as_ref().map_or(0, |note| note.0.len());
            let author = remarks.author.as_ref().map_or(0, |author| author.0.len());
            size_of::<Remarks>() + note + author
        });
        source + id + remarks
    }

    /// Whether the rule still counts at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires().is_none_or(|expires| now < expires)
    }
}

/// What a rule says of whom it matches. `Deny` is the greater: it wins between equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They may come in.
    Allow,
    /// They may not.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl FromStr for Verdict {
    type Err = InvalidVerdict;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            _ => Err(InvalidVerdict),
        }
    }
}

/// The text is not a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rule says `allow` or `deny`")]
pub struct InvalidVerdict;

/// Whom a rule is about. `Display` gives the canonical text, which parses back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The addresses of a network.
    Network(Network),
    /// `anywhere`: every address of both families, as the shortest prefix there is.
    Anywhere,
    /// `nowhere`: nobody. A list that holds it is closed on purpose, not by an oversight.
    Nowhere,
    /// `tag:NAME`: a named set of networks, kept once and shared by projects.
    Tag(TagName),
    /// `endpoint:ID`: whoever comes through this private endpoint, as a PROXY header's TLV tells;
    /// never an address.
    Endpoint(EndpointId),
}

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("tag:") {
            return Ok(Self::Tag(name.parse()?));
        }
        if let Some(id) = text.strip_prefix("endpoint:") {
            return Ok(Self::Endpoint(id.parse()?));
        }
        match text {
            "anywhere" => Ok(Self::Anywhere),
            "nowhere" => Ok(Self::Nowhere),
            "any" | "all" | "everywhere" | "everyone" | "*" => Err(InvalidSource::Word {
                text: text.into(),
                meant: "anywhere",
                or: "0.0.0.0/0 for IPv4 alone",
            }),
            "none" | "nobody" => Err(InvalidSource::Word {
                text: text.into(),
                meant: "nowhere",
                or: "the addresses that may come in",
            }),
            _ => Ok(Self::Network(text.parse()?)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => fmt::Display::fmt(network, f),
            Self::Anywhere => f.write_str("anywhere"),
            Self::Nowhere => f.write_str("nowhere"),
            Self::Tag(name) => write!(f, "tag:{name}"),
            Self::Endpoint(id) => write!(f, "endpoint:{id}"),
        }
    }
}

/// Why a text is not a source. Each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// A word that other products use.
    #[error("`{text}` is not a source; write {meant}, or {or}")]
    Word {
        /// What was written.
        text: Box<str>,
        /// The word for it here.
        meant: &'static str,
        /// What else may have been meant.
        or: &'static str,
    },
    /// `tag:` with something else than a tag's name.
    #[error(transparent)]
    Tag(#[from] InvalidTagName),
    /// `endpoint:` with something else than an id.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpointId),
    /// Anything else must be a network.
    #[error(transparent)]
    Network(#[from] InvalidNetwork),
}

/// A text of bounded length without control characters; each kind has its own alphabet.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:literal, $error:ident, $told:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The longest such text, in characters.
            pub const MAX_LENGTH: usize = $max;

            /// The text as it was written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits = !text.is_empty() && text.chars().nth(Self::MAX_LENGTH).is_none();
                let allowed: fn(char) -> bool = $allowed;
                if fits && text.chars().all(allowed) {
                    Ok(Self(text.into()))
                } else {
                    Err($error { text: excerpt(text) })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        #[doc = concat!("The text is not a [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error($told)]
        pub struct $error {
            /// What was written (shortened).
            pub text: Box<str>,
        }
    };
}

text_type!(
    /// A tag's name: 1 to 63 of `a-z`, `0-9`, `-` and `_`.
    TagName, 63, InvalidTagName,
    "`{text}` is not a tag's name, which is 1 to 63 of a-z, 0-9, '-' and '_'",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c)
);

text_type!(
    /// A private endpoint's id as its cloud writes it: 1 to 255 visible ASCII characters
    /// (`vpce-0123456789abcdef0`, a link id, a connection id).
    EndpointId, 255, InvalidEndpointId,
    "`{text}` is not an endpoint's id, which is 1 to 255 letters, digits and ASCII punctuation",
    |c| c.is_ascii_graphic()
);

text_type!(
    /// Why a rule is there: 1 to 1024 characters, none of them a control character (it ends up in
    /// terminals and logs).
    Note, 1024, InvalidNote,
    "a note is 1 to 1024 characters on one line, not `{text}`",
    |c| !c.is_control()
);

text_type!(
    /// Who wrote a rule: 1 to 255 characters, none of them a control character.
    Author, 255, InvalidAuthor,
    "an author is 1 to 255 characters on one line, not `{text}`",
    |c| !c.is_control()
);

/// A rule's name within its list: given by whoever wrote it, or derived.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(Name);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Derived([u8; 5]),
    Given(Box<str>),
}

impl RuleId {
    /// The longest id that can be given, in bytes.
    pub const MAX_LENGTH: usize = 63;

    /// The id of a rule that was given none: the first ten hexadecimal digits of the SHA-256 of the
    /// verdict, a space and the source's canonical text (`allow 203.0.113.0/24`). It survives a
    /// reload, a reordering, and a change of note, expiry or author.
    #[must_use]
    pub fn derived(verdict: Verdict, source: &Source) -> Self {
        let hash = digest(&SHA256, format!("{verdict} {source}").as_bytes());
        Self(Name::Derived(
            hash.as_ref().first_chunk().copied().unwrap_or_default(),
        ))
    }

    /// Whether the id was derived rather than given.
    #[must_use]
    pub const fn is_derived(&self) -> bool {
        matches!(self.0, Name::Derived(_))
    }
}

impl FromStr for RuleId {
    type Err = InvalidRuleId;

    /// Accepts 1 to 63 of letters, digits, `-`, `_` and `.`; ten lower-case hexadecimal digits are
    /// the same id as a derived one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=Self::MAX_LENGTH).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(InvalidRuleId {
                text: excerpt(text),
            });
        }
        Ok(Self(
            parse_derived(text).map_or_else(|| Name::Given(text.into()), Name::Derived),
        ))
    }
}

fn parse_derived(text: &str) -> Option<[u8; 5]> {
    let is_hex = text.len() == 10
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let bytes = u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| is_hex)?
        .to_be_bytes();
    bytes.last_chunk().copied()
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Derived(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Name::Given(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a rule's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rule's id, which is 1 to 63 letters, digits, '-', '_' and '.'")]
pub struct InvalidRuleId {
    /// What was written (shortened).
    pub text: Box<str>,
}

#[cfg(test)]
mod tests;
