//! Values as they are written in TOML, and how they are shown again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use toml::de::DeValue;

use super::reader::{Item, Spot};
use crate::address::{BackendAddr, Host};
use crate::gate::rule::{Author, Note, RuleId, Source};
use crate::id::ProjectName;

/// The widest array that is shown on one line, in bytes.
const LINE: usize = 80;

/// Something that a key can be set to.
pub(super) trait Value: Sized {
    /// Reads it; none, and a problem noted, if it is not what it must be.
    fn read(item: &mut Item<'_, '_>) -> Option<Self>;

    /// The value as TOML that reads back as the same value. A secret shows that there is one.
    fn show(&self) -> String;
}

/// A text as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

impl Value for bool {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        item.value
            .as_bool()
            .or_else(|| item.refuse_type("true or false"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let DeValue::Integer(number) = item.value else {
            return item.refuse_type("a whole number");
        };
        let read = Self::from_str_radix(number.as_str(), number.radix());
        read.ok()
            .or_else(|| item.refuse(format!("{number} is not within 0 to {}", Self::MAX)))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        item.text("a string")
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Value for Duration {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str = "a duration such as \"30s\", \"1m 30s\" or \"500ms\"";
        let text = item.text(EXPECTED)?;
        let read = text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|read| read.try_into().ok());
        read.or_else(|| item.refuse(format!("{} is not {EXPECTED}", quoted(&text))))
    }

    fn show(&self) -> String {
        let shown = SignedDuration::try_from(*self).unwrap_or(SignedDuration::MAX);
        quoted(&format!("{shown:#}"))
    }
}

impl Value for SocketAddr {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str = "an address and a port such as \"127.0.0.1:6432\" or \"[::]:6432\"";
        let text = item.text(EXPECTED)?;
        text.parse()
            .ok()
            .or_else(|| item.refuse(format!("{} is not {EXPECTED}", quoted(&text))))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A path, relative paths being meant from the directory of the configuration.
impl Value for PathBuf {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let text = item.text("a path")?;
        if text.is_empty() {
            return item.refuse("a path can't be empty");
        }
        Some(item.reader.resolve(&text))
    }

    fn show(&self) -> String {
        show_path(self)
    }
}

/// A path as a TOML string. Paths come from TOML, or are checked to be UTF-8 on the way in, so that
/// nothing is lost here.
pub(super) fn show_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Implements [`Value`] for a type that reads itself from text and says itself what is wrong.
macro_rules! text_value {
    ($type:ty, $expected:literal) => {
        impl Value for $type {
            fn read(item: &mut Item<'_, '_>) -> Option<Self> {
                let text = item.text($expected)?;
                // The text itself stays out of the message: it may hold a password (T34).
                text.parse().map_or_else(|error| item.refuse(error), Some)
            }

            fn show(&self) -> String {
                quoted(&self.to_string())
            }
        }
    };
}

text_value!(ProjectName, "a project's name");
text_value!(Host, "a host name");
text_value!(Source, "a source such as \"203.0.113.0/24\"");
text_value!(Note, "a note");
text_value!(Author, "an author");
text_value!(RuleId, "a rule's id");
text_value!(
    BackendAddr,
    "a backend such as \"postgres://10.0.0.5:5432\" or a socket's directory"
);

/// A value that remembers where it is written; a default is written nowhere.
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) spot: Option<Spot>,
}

impl<T> At<T> {
    pub(super) const fn unwritten(value: T) -> Self {
        Self { value, spot: None }
    }
}

impl<T: Value> Value for At<T> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        Some(Self {
            value: T::read(item)?,
            spot: Some(item.spot.clone()),
        })
    }

    fn show(&self) -> String {
        self.value.show()
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        item.elements()
    }

    fn show(&self) -> String {
        let shown: Vec<_> = self.iter().map(Value::show).collect();
        let line = format!("[{}]", shown.join(", "));
        if line.len() <= LINE {
            return line;
        }
        format!(
            "[\n{}]",
            shown
                .iter()
                .map(|one| format!("    {one},\n"))
                .collect::<String>()
        )
    }
}

/// A choice among words.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// Every word with what it stands for.
    const WORDS: &'static [(&'static str, Self)];
}

/// A [`Words`] as a value.
#[derive(Clone, Copy)]
pub(super) struct Word<T>(pub(super) T);

impl<T: Words> Value for Word<T> {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let expected = one_of(T::WORDS.iter().map(|(word, _)| quoted(word)).collect());
        let text = item.text(&expected)?;
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        match found {
            Some((_, meaning)) => Some(Self(*meaning)),
            None => item.refuse(format!("{} is not {expected}", quoted(&text))),
        }
    }

    fn show(&self) -> String {
        let word = T::WORDS.iter().find(|(_, meaning)| *meaning == self.0);
        word.map(|(word, _)| quoted(word)).unwrap_or_default()
    }
}

fn one_of(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() {
        last
    } else {
        format!("{} or {last}", words.join(", "))
    }
}
