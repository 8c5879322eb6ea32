//! A project's verifiers, with a mock for everybody who has none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scram::{Iterations, MockSecret, Verifier};
use super::seed::{Seed, Seedless};
use super::userlist::Userlist;

/// By what the users of a project prove themselves to the gate.
#[derive(Debug)]
pub struct Verifiers {
    file: PathBuf,
    list: Arc<Userlist>,
    /// That of the mocks.
    iterations: Iterations,
    seed: Seed,
}

impl Verifiers {
    /// Those of the list that a file held. `seed` makes the mocks.
    #[must_use]
    pub fn new(file: PathBuf, list: Arc<Userlist>, seed: Seed) -> Self {
        // A mock with another count than everybody else has would give itself away.
        let iterations = list.usual_iterations().unwrap_or(Iterations::DEFAULT);
        Self {
            file,
            list,
            iterations,
            seed,
        }
    }

    /// The list, if it is that of `file`.
    #[must_use]
    pub fn list_of(&self, file: &Path) -> Option<&Arc<Userlist>> {
        (self.file == file).then_some(&self.list)
    }

    /// The user's verifier, or a mock that looks like one and that no proof satisfies (T20, T29).
    ///
    /// # Errors
    /// Mocks can't be made. Then nobody gets a verifier, whether there is one or not.
    pub async fn of(&self, user: &[u8]) -> Result<Arc<Verifier>, Seedless> {
        let mocks = MockSecret::from_seed(self.seed.get().await?, self.iterations);
        Ok(Verifier::or_mock(self.list.get(user), user, &mocks))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::auth::scram::Salt;
    use crate::pki::Keystore;

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

    fn verifiers(directory: &Path, users: &[(&str, u32)]) -> Verifiers {
        let keystore = Keystore::open(directory.to_owned()).unwrap();
        let seed = Seed::of(keystore.project(&"acme".parse().unwrap()));
        Verifiers::new("users.txt".into(), list(users), seed)
    }

    #[tokio::test]
    async fn t29_a_mock_has_the_iteration_count_that_most_users_have() {
        let directory = tempfile::tempdir().unwrap();
        let users = [("alice", 7), ("bob", 8), ("carol", 8)];
        let known = verifiers(directory.path(), &users);
        let of = async |verifiers: &Verifiers, user: &[u8]| {
            verifiers.of(user).await.unwrap().iterations()
        };
        assert_eq!(of(&known, b"mallory").await.count().get(), 8);
        assert_eq!(of(&known, b"alice").await.count().get(), 7);
        let nobody = verifiers(directory.path(), &[]);
        assert_eq!(of(&nobody, b"mallory").await, Iterations::DEFAULT);
    }

    #[tokio::test]
    async fn t29_a_mock_is_the_same_whenever_it_is_asked_for() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let salt = async |directory: &TempDir| {
            let verifiers = verifiers(directory.path(), &[]);
            verifiers.of(b"mallory").await.unwrap().salt().clone()
        };
        assert_eq!(salt(&one).await, salt(&one).await);
        assert_ne!(salt(&one).await, salt(&other).await);
    }

    #[tokio::test]
    async fn t29_without_a_mock_nobody_has_a_verifier() {
        let directory = tempfile::tempdir().unwrap();
        let known = verifiers(directory.path(), &[("alice", 7)]);
        fs::write(directory.path().join("acme"), "in its way").unwrap();
        assert!(known.of(b"alice").await.is_err());
        assert!(known.of(b"mallory").await.is_err());
    }
}
