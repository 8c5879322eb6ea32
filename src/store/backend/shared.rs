//! [`SharedTls`]: TLS towards backends, made once for all projects that demand the same of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{BackendTls, Dialling, InvalidBackend, SslMode, TrustedRoots};
use crate::config::RootCert;
use crate::stamp::Stamp;

/// TLS towards backends, by what is demanded of it. The CAs of a system, some hundreds of kilobytes of
/// them, are read and kept once, however many projects trust them.
#[derive(Debug, Default)]
pub(in crate::store) struct SharedTls(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    tls: HashMap<Demand, Kept>,
    /// All that dials by it, with what else there is to dialling: most projects say nothing of that.
    dialling: HashSet<Arc<Dialling>>,
}

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
        // Held while they are read, so that all who come meanwhile have the very same.
        let known = &mut self.lock().tls;
        if let Some(kept) = known.get(&demand).filter(|kept| kept.stamp == stamp) {
            return Ok(kept.tls.clone());
        }
        let tls = BackendTls::new(mode, read()?.as_ref())?;
        let kept = Kept {
            stamp,
            tls: tls.clone(),
        };
        known.insert(demand, kept);
        Ok(tls)
    }

    /// The same way of dialling, kept once for all who dial so.
    #[expect(
        clippy::mutable_key_type,
        reason = "it is told apart by which TLS it has, not by what is in that"
    )]
    pub(super) fn dialling(&self, dialling: Dialling) -> Arc<Dialling> {
        let known = &mut self.lock().dialling;
        if let Some(known) = known.get(&dialling) {
            return Arc::clone(known);
        }
        let dialling = Arc::new(dialling);
        known.insert(Arc::clone(&dialling));
        dialling
    }

    /// Forgets what no project uses any more; and the CAs of the system, which have no single file
    /// by which a change could be seen.
    pub(in crate::store) fn tidy(&self) {
        let is_of_system = |demand: &Demand| demand.roots == Some(RootCert::System);
        let Shared { tls, dialling } = &mut *self.lock();
        // First, since each of them uses the TLS by which it dials.
        dialling.retain(|dialling| Arc::strong_count(dialling) > 1);
        tls.retain(|demand, kept| kept.tls.is_shared() && !is_of_system(demand));
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::backend::NameCaching;
    use crate::pki::Keystore;
    use crate::relay::TcpTuning;

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
        assert_eq!(tls().unwrap(), first);
        shared.tidy();
        assert_eq!(tls().unwrap(), first);
        assert_eq!(reads.get(), 1);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "hush").unwrap();
        assert!(tls().is_err());
        fs::write(&path, good).unwrap();
        assert_ne!(tls().unwrap(), first);
        assert_eq!(reads.get(), 3);
        shared.tidy();
        drop(tls().unwrap());
        assert_eq!(reads.get(), 4);
    }

    #[test]
    fn projects_that_dial_alike_share_it_until_none_is_left() {
        let shared = SharedTls::default();
        let dialling = |seconds| {
            shared.dialling(Dialling {
                tls: BackendTls::new(SslMode::Disable, None).unwrap(),
                connect_timeout: Duration::from_secs(seconds),
                names: NameCaching::default(),
                tcp: TcpTuning::default(),
            })
        };
        let (one, other) = (dialling(1), dialling(2));
        assert!(Arc::ptr_eq(&one, &dialling(1)) && one != other);
        drop(other);
        shared.tidy();
        assert_eq!(shared.lock().dialling.len(), 1);
        assert!(Arc::ptr_eq(&one, &dialling(1)));
    }
}
