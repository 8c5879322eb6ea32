//! [`UserMap`]: which names on certificates may be which users.

use std::fmt;

use super::LONGEST_USER;

/// Which names on certificates may be which users, as `pg_ident.conf` says it for PostgreSQL. A map
/// without entries lets every name be the user of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserMap(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Pattern,
    users: Vec<Pattern>,
}

/// A text with at most one `*` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(Box<str>),
    /// What stands before the `*`, and what behind it.
    Star(Box<str>, Box<str>),
}

/// Why an entry of a map can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserMap {
    /// More than one `*`.
    #[error("\"{0}\" has more than one *")]
    Stars(String),
    /// A `*` among the users that stands for nothing.
    #[error("the user \"{0}\" has a *, and the certificate's name beside it has none")]
    StarOfNothing(String),
    /// A name or a user of no characters.
    #[error("a name can't be empty")]
    Empty,
    /// No user.
    #[error("\"{0}\" may be nobody: name a user, or leave it out")]
    Nobody(String),
    /// A user's name that PostgreSQL would cut.
    #[error("the user \"{0}\" is longer than the 63 bytes that PostgreSQL takes")]
    TooLong(String),
}

impl UserMap {
    /// Adds an entry: who has a certificate with this name may be each of `users`. A `*` in the name
    /// stands for any text but an empty one, and a `*` in a user for the same text.
    ///
    /// # Errors
    /// [`InvalidUserMap`].
    pub fn add(&mut self, name: &str, users: &[String]) -> Result<(), InvalidUserMap> {
        let parsed = Pattern::parse(name)?;
        if users.is_empty() {
            return Err(InvalidUserMap::Nobody(name.to_owned()));
        }
        let users = users.iter().map(|user| parsed.user(user));
        let users = users.collect::<Result<_, _>>()?;
        self.0.push(Entry {
            name: parsed,
            users,
        });
        Ok(())
    }

    /// Whether it has no entries.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether who has a certificate with this name may be `user`.
    #[must_use]
    pub fn allows(&self, name: &str, user: &[u8]) -> bool {
        if self.0.is_empty() {
            return !name.is_empty() && name.as_bytes() == user;
        }
        self.0.iter().any(|entry| entry.allows(name, user))
    }

    /// The entries: each name with its users, as they are written.
    pub fn iter(&self) -> impl Iterator<Item = (String, Vec<String>)> {
        self.0.iter().map(|entry| {
            let users = entry.users.iter().map(ToString::to_string).collect();
            (entry.name.to_string(), users)
        })
    }
}

impl Entry {
    fn allows(&self, name: &str, user: &[u8]) -> bool {
        let Some(star) = self.name.matches(name) else {
            return false;
        };
        let is_user = |pattern: &Pattern| pattern.with(star).as_bytes() == user;
        self.users.iter().any(is_user)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidUserMap> {
        match text.split_once('*') {
            None if text.is_empty() => Err(InvalidUserMap::Empty),
            None => Ok(Self::Exact(text.into())),
            Some((_, behind)) if behind.contains('*') => {
                Err(InvalidUserMap::Stars(text.to_owned()))
            }
            Some((before, behind)) => Ok(Self::Star(before.into(), behind.into())),
        }
    }

    /// Parses a user that stands beside this name.
    fn user(&self, text: &str) -> Result<Self, InvalidUserMap> {
        match (self, Self::parse(text)?) {
            (Self::Exact(_), Self::Star(..)) => Err(InvalidUserMap::StarOfNothing(text.to_owned())),
            (_, Self::Exact(user)) if user.len() > LONGEST_USER => {
                Err(InvalidUserMap::TooLong(text.to_owned()))
            }
            (Self::Exact(_) | Self::Star(..), user) => Ok(user),
        }
    }

    /// What the `*` stands for in this text, which is empty where there is no `*`; none if the text
    /// is another.
    fn matches<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Exact(exact) => (**exact == *text).then_some(""),
            Self::Star(before, behind) => text
                .strip_prefix(&**before)?
                .strip_suffix(&**behind)
                .filter(|star| !star.is_empty()),
        }
    }

    /// The text with the `*` replaced.
    fn with(&self, star: &str) -> String {
        match self {
            Self::Exact(exact) => exact.to_string(),
            Self::Star(before, behind) => format!("{before}{star}{behind}"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &[&str])]) -> UserMap {
        let mut map = UserMap::default();
        for (name, users) in entries {
            let users: Vec<_> = users.iter().map(ToString::to_string).collect();
            map.add(name, &users).unwrap();
        }
        map
    }

    #[test]
    fn without_entries_a_name_is_the_user_of_that_very_name() {
        let none = UserMap::default();
        assert!(none.allows("alice", b"alice"));
        for (name, user) in [("alice", &b"Alice"[..]), ("alice", b"alice "), ("", b"")] {
            assert!(!none.allows(name, user), "{name:?}");
        }
    }

    #[test]
    fn with_entries_only_they_count() {
        let map = map(&[("Alice Adams", &["alice", "reports"])]);
        assert!(map.allows("Alice Adams", b"alice") && map.allows("Alice Adams", b"reports"));
        assert!(!map.allows("Alice Adams", b"Alice Adams"));
        assert!(!map.allows("bob", b"bob"));
    }

    #[test]
    fn a_star_stands_for_the_same_text_on_both_sides_and_never_for_none() {
        let map = map(&[
            ("*@example.com", &["*"]),
            ("spiffe://acme/*", &["svc_*", "all"]),
        ]);
        assert!(map.allows("alice@example.com", b"alice"));
        assert!(map.allows("spiffe://acme/web", b"svc_web"));
        assert!(map.allows("spiffe://acme/web", b"all"));
        for (name, user) in [
            ("alice@example.com.evil.org", &b"alice"[..]),
            ("alice@example.com", b"bob"),
            ("alice@example.com", b"*"),
            ("@example.com", b""),
            ("spiffe://acme/", b"svc_"),
            ("spiffe://acme/web", b"web"),
        ] {
            assert!(!map.allows(name, user), "{name}");
        }
    }

    #[test]
    fn the_ends_of_a_pattern_may_not_share_a_character() {
        let map = map(&[("ab*ba", &["x"])]);
        assert!(!map.allows("aba", b"x") && !map.allows("abba", b"x"));
        assert!(map.allows("abcba", b"x"));
    }

    #[test]
    fn a_user_named_in_bytes_that_are_no_text_is_nobodys() {
        assert!(!map(&[("*", &["*"])]).allows("\u{fffd}", b"\xff"));
    }

    #[test]
    fn an_entry_that_could_not_mean_anything_is_refused() {
        let refused = |name: &str, users: &[&str]| {
            let users: Vec<_> = users.iter().map(ToString::to_string).collect();
            UserMap::default().add(name, &users).unwrap_err()
        };
        let long = "x".repeat(64);
        assert_eq!(
            refused("a*b*", &["x"]),
            InvalidUserMap::Stars("a*b*".into())
        );
        assert_eq!(refused("a*", &["**"]), InvalidUserMap::Stars("**".into()));
        assert_eq!(
            refused("a", &["*"]),
            InvalidUserMap::StarOfNothing("*".into())
        );
        assert_eq!(refused("a", &[""]), InvalidUserMap::Empty);
        assert_eq!(refused("", &["a"]), InvalidUserMap::Empty);
        assert_eq!(refused("a", &[]), InvalidUserMap::Nobody("a".into()));
        assert_eq!(
            refused("a", &[&long]),
            InvalidUserMap::TooLong(long.clone())
        );
    }
}
