//! The control socket's file: there for whoever owns the gate, and for nobody else.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A bound control socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct ControlListener {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

impl ControlListener {
    /// Binds `path` with mode 0600. A socket that lies there already gives way, for the process
    /// that started last is the one to ask; anything else that lies there doesn't.
    ///
    /// # Errors
    /// The directory isn't there or can't be written to, the path is too long for a socket (107
    /// bytes on Linux), or a file that is no socket is in the way.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                let why = "a file that is no socket is in the way";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        // A socket is born with the mode that the umask leaves it: where nobody else can look.
        let private = tempfile::Builder::new()
            .prefix(".c")
            .tempdir_in(directory)?;
        let born = private.path().join("s");
        let listener = UnixListener::bind(&born)?;
        fs::set_permissions(&born, Permissions::from_mode(0o600))?;
        let file = SocketFile {
            path: path.to_path_buf(),
            identity: identity(&born)?,
        };
        // One step: whoever asks meets the old process or this one.
        fs::rename(&born, path)?;
        Ok(Self { listener, file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// The file of a socket of ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A process that started since has its own there.
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn only_the_owner_can_use_the_socket_and_it_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let bound = ControlListener::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_gives_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(UnixStream::connect(&path).is_err());
        let _bound = ControlListener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn the_process_that_started_last_is_asked_and_keeps_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let older = ControlListener::bind(&path).unwrap();
        let newer = ControlListener::bind(&path).unwrap();
        drop(older);
        UnixStream::connect(&path).unwrap();
        newer.listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        fs::write(&path, "mine").unwrap();
        let error = ControlListener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
