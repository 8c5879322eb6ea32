//! Keys and certificates as files: read with care, written so that a crash at any point leaves the
//! old file or the new one, never half of one.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::PkiError;

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Readers {
    /// Its owner only: a private key.
    Owner,
    /// Everybody: a certificate.
    Everybody,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

/// No key and no chain comes near this size, in bytes.
const LARGEST: u64 = 1 << 20;

/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".unfinished-";

/// The file whose lock says who is at work in a directory.
const LOCK: &str = ".lock";

/// How long to leave a lock alone that another holds.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Creates a directory with this mode if there is none.
pub(super) fn create_directory(path: &Path, mode: u32) -> Result<(), PkiError> {
    if path.is_dir() {
        return Ok(());
    }
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(PkiError::io("create the directory", path))?;
    let synced = File::open(parent(path)).and_then(|parent| parent.sync_all());
    synced.map_err(PkiError::io("write the directory of", path))
}

/// A directory held by this process alone, until dropped.
#[derive(Debug)]
pub(super) struct Held {
    directory: File,
    _lock: File,
}

impl Held {
    /// Waits this long for other processes and threads to let go of the directory.
    ///
    /// The lock is on a file that its owner alone can open: whoever can open a file can lock it, so
    /// on the directory itself any account of the machine could stop the gate.
    pub(super) fn wait(directory: &Path, patience: Duration) -> Result<Self, PkiError> {
        let path = directory.join(LOCK);
        let lock = open_lock(&path).map_err(PkiError::io("open", &path))?;
        let until = Instant::now() + patience;
        while !take(&lock).map_err(PkiError::io("lock", &path))? {
            if Instant::now() >= until {
                return Err(PkiError::Locked { path, patience });
            }
            thread::sleep(BETWEEN_TRIES);
        }
        Self::with(directory, lock)
    }

    /// The directory, if nobody else holds it and it can be held at all.
    pub(super) fn now(directory: &Path) -> Option<Self> {
        let lock = open_lock(&directory.join(LOCK)).ok()?;
        let held = take(&lock).unwrap_or(false);
        held.then(|| Self::with(directory, lock).ok()).flatten()
    }

    fn with(directory: &Path, lock: File) -> Result<Self, PkiError> {
        let directory = File::open(directory).map_err(PkiError::io("open", directory))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// Removes what a crash left unfinished, which may hold a key.
    pub(super) fn tidy(&self, directory: &Path) -> Result<(), PkiError> {
        for path in unfinished(directory)? {
            fs::remove_file(&path).map_err(PkiError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Removes a file of the directory, if it is there, and waits until that is on the disk.
    pub(super) fn remove(&self, path: &Path) -> Result<(), PkiError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.directory.sync_all()),
        }
        .map_err(PkiError::io("remove", path))
    }

    /// Gives a file of the directory the name of another, in whose place it comes.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), PkiError> {
        let renamed = fs::rename(from, to).and_then(|()| self.directory.sync_all());
        renamed.map_err(PkiError::io("rename", from))
    }

    /// Replaces a file of the directory as a whole, and waits until it is on the disk.
    pub(super) fn replace(
        &self,
        path: &Path,
        contents: &str,
        readers: Readers,
    ) -> Result<(), PkiError> {
        let written = Unfinished::write(path, contents, readers);
        written.map_err(PkiError::io("write", path))?.finish()?;
        let synced = self.directory.sync_all();
        synced.map_err(PkiError::io("write", path))
    }
}

/// A file whose contents are on the disk, and that doesn't have its name yet.
#[derive(Debug)]
pub(super) struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
}

impl Unfinished {
    /// Writes what is to be the file `path`, beside it.
    pub(super) fn write(path: &Path, contents: &str, readers: Readers) -> io::Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(parent(path))?;
        file.write_all(contents.as_bytes())?;
        let mode = Permissions::from_mode(readers.mode());
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Gives it to whom its directory belongs to: the open file, for what its name stands for is up to
    /// whoever may write to the directory.
    pub(super) fn for_owner_of_directory(self) -> io::Result<Self> {
        let (of, file) = (fs::metadata(parent(&self.path))?, self.file.as_file());
        if of.uid() != file.metadata()?.uid() {
            fchown(file, Some(of.uid()), Some(of.gid()))?;
        }
        Ok(self)
    }

    /// Puts it in its place; that may not be on the disk yet.
    pub(super) fn finish(self) -> Result<(), PkiError> {
        let Self { file, path } = self;
        let put = file.persist(&path).map_err(io::Error::from);
        put.map(drop).map_err(PkiError::io("write", &path))
    }
}

/// The names of the folders in a directory.
pub(super) fn folders(directory: &Path) -> Result<Vec<String>, PkiError> {
    let list = || -> io::Result<Vec<_>> {
        let entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        let folders = entries.iter().filter(|entry| entry.path().is_dir());
        Ok(folders
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    };
    list().map_err(PkiError::io("list", directory))
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mode = Readers::Owner.mode();
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).mode(mode).open(path)?;
    if file.metadata()?.mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Whether the lock could be had.
fn take(lock: &File) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What a crash left of files that were being written, or what somebody writes just now.
pub(super) fn unfinished(directory: &Path) -> Result<Vec<PathBuf>, PkiError> {
    let list = || -> io::Result<Vec<_>> {
        let entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
        Ok(entries
            .iter()
            .filter(|entry| {
                let name = entry.file_name();
                name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
            })
            .map(DirEntry::path)
            .collect())
    };
    list().map_err(PkiError::io("list", directory))
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

/// Makes nothing of a file that isn't there.
pub(super) fn if_there<T>(read: Result<T, PkiError>) -> Result<Option<T>, PkiError> {
    match read {
        Ok(contents) => Ok(Some(contents)),
        Err(PkiError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes nothing of a file that isn't there, or that isn't what it should be.
pub(super) fn if_sound<T>(read: Result<T, PkiError>) -> Result<Option<T>, PkiError> {
    match read {
        Err(
            PkiError::BadKey { .. }
            | PkiError::BadCertificate { .. }
            | PkiError::SealDamaged { .. },
        ) => Ok(None),
        read => if_there(read),
    }
}

/// Reads what is no secret.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, PkiError> {
    read(path, |_| Ok(()))
}

/// Reads a text.
pub(super) fn read_text(path: &Path) -> Result<String, PkiError> {
    String::from_utf8(read(path, |_| Ok(()))?).map_err(|_| PkiError::BadCertificate {
        path: path.to_owned(),
        what: "it is no text".to_owned(),
    })
}

/// Reads a chain of certificates: at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    parse_chain(path, &read(path, |_| Ok(()))?)
}

/// Takes a chain of certificates out of a file's contents: at least one.
pub(super) fn parse_chain(
    path: &Path,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let bad = |what: &str| PkiError::BadCertificate {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let chain = CertificateDer::pem_slice_iter(contents)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad("its PEM is damaged"))?;
    if chain.is_empty() {
        Err(bad("it holds no PEM block CERTIFICATE"))
    } else {
        Ok(chain)
    }
}

/// Reads a private key, if only its owner can.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<PrivateKeyDer<'static>>, PkiError> {
    parse_key(path, &read_secret(path)?)
}

/// Takes a private key out of a file's contents.
pub(super) fn parse_key(
    path: &Path,
    contents: &[u8],
) -> Result<Zeroizing<PrivateKeyDer<'static>>, PkiError> {
    // The parser's own error may quote the file, so it goes no further (T34).
    let key = PrivateKeyDer::from_pem_slice(contents).map_err(|_| PkiError::BadKey {
        path: path.to_owned(),
    })?;
    Ok(Zeroizing::new(key))
}

/// Reads a secret of any kind, if only its owner can.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    read(path, |file| refuse_exposed(path, file)).map(Zeroizing::new)
}

/// Checks that only its owner can read a file.
pub(super) fn check_secret(path: &Path) -> Result<(), PkiError> {
    let file = File::open(path).map_err(PkiError::io("read", path))?;
    refuse_exposed(path, &file)
}

fn refuse_exposed(path: &Path, file: &File) -> Result<(), PkiError> {
    let metadata = file.metadata().map_err(PkiError::io("look at", path))?;
    let mode = metadata.mode() & 0o7777;
    if is_exposed(mode, metadata.uid()) {
        return Err(PkiError::KeyExposed {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// PostgreSQL's own rule for `ssl_key_file`: the owner's alone, or root's with a group that may
/// read, which is how systems hand out a shared key.
const fn is_exposed(mode: u32, owner: u32) -> bool {
    mode & if owner == 0 { 0o037 } else { 0o077 } != 0
}

fn read(
    path: &Path,
    check: impl FnOnce(&File) -> Result<(), PkiError>,
) -> Result<Vec<u8>, PkiError> {
    let file = File::open(path).map_err(PkiError::io("read", path))?;
    check(&file)?;
    let mut contents = Vec::with_capacity(file.metadata().map_or(0, |data| capacity(data.len())));
    let limited = file.take(LARGEST + 1).read_to_end(&mut contents);
    limited.map_err(PkiError::io("read", path))?;
    if contents.len() > capacity(LARGEST) {
        return Err(PkiError::TooLarge {
            path: path.to_owned(),
            limit: LARGEST,
        });
    }
    Ok(contents)
}

/// Room for the whole file at once: a buffer that grows would leave pieces of a key in freed memory.
fn capacity(length: u64) -> usize {
    usize::try_from(length.min(LARGEST)).map_or(0, |length| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_its_owners_alone_or_roots_with_a_reading_group() {
        for (mode, owner, exposed) in [
            (0o600, 1000, false),
            (0o400, 1000, false),
            (0o640, 1000, true),
            (0o604, 1000, true),
            (0o640, 0, false),
            (0o660, 0, true),
            (0o644, 0, true),
        ] {
            assert_eq!(is_exposed(mode, owner), exposed, "{mode:o} of {owner}");
        }
    }

    #[test]
    fn a_file_of_absurd_size_is_not_read_into_memory() {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        assert!(matches!(
            read_chain(file.path()),
            Err(PkiError::TooLarge { .. })
        ));
    }
}
