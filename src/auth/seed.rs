//! [`Seed`]: what the mocks of users that don't exist are made of.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::pki::{PkiError, ProjectKeystore, scram_seed};

/// A secret of a project's: something that stays the same, that every instance of the gate has, and that
/// nobody else knows. Read, or made if there is none, for the first login that needs it.
pub struct Seed {
    project: ProjectKeystore,
    kept: OnceCell<Zeroizing<Vec<u8>>>,
}

/// Why a project's seed can't be had; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Seedless(Arc<str>);

impl Seed {
    /// The seed of the project whose secrets are kept there.
    #[must_use]
    pub fn of(project: ProjectKeystore) -> Self {
        Self {
            project,
            kept: OnceCell::new(),
        }
    }

    /// Reads or makes it now, so that what is wrong with it shows at once. Blocks on the file system.
    ///
    /// # Errors
    /// It can't be had.
    pub fn read(&self) -> Result<(), PkiError> {
        let seed = scram_seed(&self.project)?;
        // Somebody else has set it to the same meanwhile, if at all.
        drop(self.kept.set(seed));
        Ok(())
    }

    /// The seed: read or made beside the workers, once for all who wait.
    ///
    /// # Errors
    /// It can't be had. The next one to ask tries again.
    pub async fn get(&self) -> Result<&[u8], Seedless> {
        let seedless = |why: &dyn fmt::Display| Seedless(why.to_string().into());
        let make = || async {
            let project = self.project.clone();
            match spawn_blocking(move || scram_seed(&project)).await {
                Ok(made) => made.map_err(|error| seedless(&error)),
                Err(panic) => Err(seedless(&panic)),
            }
        };
        let seed = self.kept.get_or_try_init(make).await;
        seed.map(|seed| seed.as_slice())
    }
}

impl fmt::Debug for Seed {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed")
            .field("is_kept", &self.kept.initialized())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pki::Keystore;

    #[tokio::test]
    async fn a_seed_is_made_once_by_a_crowd_and_not_before_anybody_asks() {
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let store = || keystore.project(&"acme".parse().unwrap());
        // Two instances of a gate, or two snapshots of one.
        let seeds = [Seed::of(store()), Seed::of(store())].map(Arc::new);
        let path = directory.path().join("acme/scram.seed");
        assert!(!path.exists());
        let crowd: Vec<_> = (0..20)
            .map(|at| {
                let seed = Arc::clone(&seeds[at % 2]);
                tokio::spawn(async move { seed.get().await.unwrap().to_vec() })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.unwrap(), fs::read(&path).unwrap());
        }
    }

    #[tokio::test]
    async fn a_seed_that_can_not_be_had_is_asked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let seed = Seed::of(keystore.project(&"acme".parse().unwrap()));
        let path = directory.path().join("acme");
        fs::write(&path, "in its way").unwrap();
        assert!(seed.read().is_err());
        let error = seed.get().await.unwrap_err();
        assert!(error.to_string().contains("acme"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(!seed.get().await.unwrap().is_empty());
    }
}
