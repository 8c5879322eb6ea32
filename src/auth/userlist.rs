//! A file of verifiers, as PgBouncer's `auth_file`: a line `"user" "SCRAM-SHA-256$..."` each.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::scram::{Iterations, Verifier, VerifierError};

/// The verifiers of a file, by user.
#[derive(Clone, Default)]
pub struct Userlist {
    verifiers: HashMap<Box<[u8]>, Arc<Verifier>>,
}

/// What is wrong with one line. Shows nothing of it (T34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct UserlistError {
    /// The line, the first being 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Not two quoted fields.
    #[error("expected \"user\" \"verifier\", each in double quotes")]
    Layout,
    /// A quote that is not closed before the line's end.
    #[error("a quote is not closed")]
    UnclosedQuote,
    /// A user without a name, or with a zero byte in it.
    #[error("the user's name is empty or holds a zero byte")]
    UserName,
    /// Something after the second field.
    #[error("unexpected text after the verifier")]
    TrailingText,
    /// The second field is no verifier.
    #[error("{0}")]
    Verifier(#[from] VerifierError),
    /// The user is there already.
    #[error("the user is already on line {first_line}")]
    Duplicate {
        /// Where it is first.
        first_line: usize,
    },
}

impl Userlist {
    /// Reads a file. Blank lines and lines that begin with `;` or `#` say nothing; a quote within a
    /// field is doubled.
    ///
    /// # Errors
    /// All lines that are wrong, in order: a file with one bad line is not used at all (T25).
    pub fn parse(file: &[u8]) -> Result<Self, Vec<UserlistError>> {
        let mut reader = Reader::default();
        for (line, text) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            if let Err(problem) = reader.read(line, text.trim_ascii()) {
                reader.errors.push(UserlistError { line, problem });
            }
        }
        if reader.errors.is_empty() {
            Ok(reader.list)
        } else {
            Err(reader.errors)
        }
    }

    /// A user's verifier. The name is that of StartupMessage, byte for byte.
    #[must_use]
    pub fn get(&self, user: &[u8]) -> Option<Arc<Verifier>> {
        self.verifiers.get(user).cloned()
    }

    /// The iteration count that most verifiers have, the higher of two that are equally frequent;
    /// none if there are no users.
    #[must_use]
    pub fn usual_iterations(&self) -> Option<Iterations> {
        let mut counts: HashMap<_, usize> = HashMap::new();
        for verifier in self.verifiers.values() {
            let count = counts.entry(verifier.iterations()).or_default();
            *count = count.saturating_add(1);
        }
        let usual = counts
            .into_iter()
            .max_by_key(|(iterations, count)| (*count, iterations.count()));
        usual.map(|(iterations, _)| iterations)
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.verifiers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.verifiers.is_empty()
    }
}

impl fmt::Debug for Userlist {
    /// Shows how many there are (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userlist")
            .field("users", &self.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Reader {
    list: Userlist,
    lines: HashMap<Box<[u8]>, usize>,
    errors: Vec<UserlistError>,
}

impl Reader {
    fn read(&mut self, line: usize, text: &[u8]) -> Result<(), LineProblem> {
        if matches!(text.first(), None | Some(b';' | b'#')) {
            return Ok(());
        }
        let (user, rest) = take_quoted(text)?;
        let (secret, rest) = take_quoted(rest.trim_ascii_start())?;
        if user.is_empty() || user.contains(&0) {
            return Err(LineProblem::UserName);
        }
        if !rest.is_empty() {
            return Err(LineProblem::TrailingText);
        }
        let verifier = Verifier::parse(&secret)?;
        let user = Box::from(user.as_slice());
        if let Some(&first_line) = self.lines.get(&user) {
            return Err(LineProblem::Duplicate { first_line });
        }
        self.lines.insert(user.clone(), line);
        self.list.verifiers.insert(user, Arc::new(verifier));
        Ok(())
    }
}

/// Takes a field in quotes; gives it without them, and what follows.
fn take_quoted(text: &[u8]) -> Result<(Zeroizing<Vec<u8>>, &[u8]), LineProblem> {
    let mut rest = text.strip_prefix(b"\"").ok_or(LineProblem::Layout)?;
    let mut field = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        rest = match rest {
            [b'"', b'"', rest @ ..] => {
                field.push(b'"');
                rest
            }
            [b'"', rest @ ..] => return Ok((field, rest)),
            [byte, rest @ ..] => {
                field.push(*byte);
                rest
            }
            [] => return Err(LineProblem::UnclosedQuote),
        };
    }
}

#[cfg(test)]
mod tests;
