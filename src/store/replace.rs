//! A file replaced as a whole, by one writer at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

/// The right to replace a file, among all who ask for it here; given back by drop.
#[derive(Debug)]
pub(super) struct Lock {
    /// The file itself, behind any symbolic link.
    target: PathBuf,
    _held: File,
}

impl Lock {
    /// Waits for the right to replace `path`. The lock lies beside the file, as `<name>.lock`: the
    /// file itself is another one after each replacement.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let target = path.canonicalize()?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let lock = target.with_file_name(name);
        let held = OpenOptions::new().create(true).append(true).open(lock)?;
        held.lock()?;
        Ok(Self {
            target,
            _held: held,
        })
    }

    /// Replaces the file by `text`, with the same mode and owner: whoever looks sees all of the
    /// old or all of the new, also after a crash.
    pub(super) fn replace(&self, text: &str) -> io::Result<()> {
        // A rename needs no right to the file itself: ask for it, or its mode would mean nothing.
        let old = OpenOptions::new()
            .write(true)
            .open(&self.target)?
            .metadata()?;
        let directory = self.target.parent().unwrap_or(&self.target);
        let mut new = tempfile::Builder::new()
            .prefix(".proxy.toml.")
            .tempfile_in(directory)?;
        new.write_all(text.as_bytes())?;
        let owner = new.as_file().metadata()?;
        if (owner.uid(), owner.gid()) != (old.uid(), old.gid()) {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
        new.as_file().set_permissions(old.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&self.target).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    }

    /// Reads the file as it is now.
    pub(super) fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.target)
    }
}
