//! A project's verifiers, with a mock for everybody who has none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scram::{Iterations, MockSecret, Verifier};
use super::userlist::Userlist;

/// By what the users of a project prove themselves to the gate.
#[derive(Debug)]
pub struct Verifiers {
    file: PathBuf,
    list: Arc<Userlist>,
    mocks: MockSecret,
}

impl Verifiers {
    /// Those of the list that a file held. `seed` makes the mocks: something that stays the same, that every instance of
    /// the gate has, and that nobody else knows.
    #[must_use]
    pub fn new(file: PathBuf, list: Arc<Userlist>, seed: &[u8]) -> Self {
        // A mock with another count than everybody else has would give itself away.
        let iterations = list.usual_iterations().unwrap_or(Iterations::DEFAULT);
        let mocks = MockSecret::from_seed(seed, iterations);
        Self { file, list, mocks }
    }

    /// The list, if it is that of `file`.
    #[must_use]
    pub fn list_of(&self, file: &Path) -> Option<&Arc<Userlist>> {
        (self.file == file).then_some(&self.list)
    }

    /// The user's verifier, or a mock that looks like one and that no proof satisfies (T20, T29).
    #[must_use]
    pub fn of(&self, user: &[u8]) -> Arc<Verifier> {
        Verifier::or_mock(self.list.get(user), user, &self.mocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::Salt;

    fn list(users: &[(&str, u32)]) -> Arc<Userlist> {
        let line = |(user, iterations): &(&str, u32)| {
            let salt = Salt::random().unwrap();
            let iterations = Iterations::new(*iterations).unwrap();
            let verifier = Verifier::from_password(b"secret", salt, iterations);
            format!("\"{user}\" \"{}\"\n", *verifier.to_text())
        };
        let file: String = users.iter().map(line).collect();
        Arc::new(Userlist::parse(file.as_bytes()).unwrap())
    }

    #[test]
    fn t29_a_mock_has_the_iteration_count_that_most_users_have() {
        let users = [("alice", 7), ("bob", 8), ("carol", 8)];
        let verifiers = Verifiers::new("users.txt".into(), list(&users), b"seed");
        assert_eq!(verifiers.of(b"mallory").iterations().count().get(), 8);
        assert_eq!(verifiers.of(b"alice").iterations().count().get(), 7);
        let nobody = Verifiers::new("users.txt".into(), list(&[]), b"seed");
        assert_eq!(nobody.of(b"mallory").iterations(), Iterations::DEFAULT);
    }

    #[test]
    fn t29_a_mock_is_the_same_whenever_it_is_asked_for() {
        let salt = |seed| {
            let verifiers = Verifiers::new("users.txt".into(), list(&[]), seed);
            verifiers.of(b"mallory").salt().clone()
        };
        assert_eq!(salt(b"seed"), salt(b"seed"));
        assert_ne!(salt(b"seed"), salt(b"another"));
    }
}
