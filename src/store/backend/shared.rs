//! [`SharedTls`]: TLS towards backends, made once for all projects that demand the same of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{BackendTls, InvalidBackend, SslMode, TrustedRoots};
use crate::config::RootCert;
use crate::stamp::Stamp;

/// TLS towards backends, by what is demanded of it. The CAs of a system, some hundreds of kilobytes of
/// them, are read and kept once, however many projects trust them.
#[derive(Debug, Default)]
pub(in crate::store) struct SharedTls(Mutex<HashMap<Demand, Kept>>);

/// What projects may have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Demand {
    mode: SslMode,
    roots: Option<RootCert>,
}

#[derive(Debug)]
struct Kept {
    /// What the file of the roots looked like before it was read, if it is one file.
    stamp: Option<Stamp>,
    tls: BackendTls,
}

impl SharedTls {
    /// TLS of that mode, verified by these roots, which are read if nobody has yet, or if their file
    /// has changed since. Blocks on the file system.
    ///
    /// # Errors
    /// The roots can't be had.
    pub(super) fn of(
        &self,
        mode: SslMode,
        roots: Option<&RootCert>,
        read: impl FnOnce() -> Result<Option<TrustedRoots>, InvalidBackend>,
    ) -> Result<BackendTls, InvalidBackend> {
        let demand = Demand {
            mode,
            roots: roots.cloned(),
        };
        let stamp = match roots {
            Some(RootCert::File(path)) => Some(Stamp::of(path)),
            Some(RootCert::System | RootCert::Project) | None => None,
        };
        if let Some(kept) = self.lock().get(&demand).filter(|kept| kept.stamp == stamp) {
            return Ok(kept.tls.clone());
        }
        let tls = BackendTls::new(mode, read()?.as_ref())?;
        let kept = Kept {
            stamp,
            tls: tls.clone(),
        };
        self.lock().insert(demand, kept);
        Ok(tls)
    }

    /// Forgets what no project uses any more; and the CAs of the system, which have no single file
    /// by which a change could be seen.
    pub(in crate::store) fn tidy(&self) {
        let is_of_system = |demand: &Demand| demand.roots == Some(RootCert::System);
        self.lock()
            .retain(|demand, kept| kept.tls.is_shared() && !is_of_system(demand));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Demand, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;

    use super::*;
    use crate::pki::Keystore;

    #[test]
    fn roots_are_read_once_until_their_file_changes_or_nobody_uses_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.crt");
        let keystore = Keystore::open(directory.path().join("certs")).unwrap();
        let ca = keystore.project(&"acme".parse().unwrap());
        ca.load_or_create(&["a.example".parse().unwrap()], Timestamp::now())
            .unwrap();
        fs::copy(ca.ca_certificate(), &path).unwrap();
        let (shared, root) = (SharedTls::default(), RootCert::File(path.clone()));
        let reads = std::cell::Cell::new(0);
        let tls = || {
            shared.of(SslMode::VerifyFull, Some(&root), || {
                reads.set(reads.get() + 1);
                TrustedRoots::from_file(&path).map(Some)
            })
        };
        let first = tls().unwrap();
        assert!(tls().unwrap().is_same(&first));
        shared.tidy();
        assert!(tls().unwrap().is_same(&first));
        assert_eq!(reads.get(), 1);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "hush").unwrap();
        assert!(tls().is_err());
        fs::write(&path, good).unwrap();
        assert!(!tls().unwrap().is_same(&first));
        assert_eq!(reads.get(), 3);
        shared.tidy();
        drop(tls().unwrap());
        assert_eq!(reads.get(), 4);
    }
}
