//! A secret of the project's that is no key of a certificate.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{PkiError, ProjectKeystore, files, sealed};

/// Its length before it is made a text, in bytes.
const LENGTH: usize = 32;

/// Where it is.
const FILE: &str = "scram.seed";

/// What the SCRAM verifiers of users that don't exist are made of: the project's `scram.seed`, mode
/// 0600, made when there is none. It stays, so that a user that doesn't exist looks the same
/// tomorrow, and on every instance that has the file. Blocks on the file system.
///
/// # Errors
/// A file that can't be read or written, that others can read, or that is too short.
pub fn scram_seed(project: &ProjectKeystore) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    if let Some(seed) = kept(project)? {
        return Ok(seed);
    }
    let held = project.hold()?;
    // Again: who held the folder may have made it.
    if let Some(seed) = kept(project)? {
        return Ok(seed);
    }
    let mut raw = Zeroizing::new([0; LENGTH]);
    rand::fill(raw.as_mut_slice()).map_err(|_| PkiError::Issue("no random bytes".to_owned()))?;
    let text = Zeroizing::new(STANDARD.encode(raw.as_slice()));
    project.write_private(&held, FILE, text.as_bytes())?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

fn kept(project: &ProjectKeystore) -> Result<Option<Zeroizing<Vec<u8>>>, PkiError> {
    let path = project.file(FILE);
    match files::if_there(sealed::read(&path, project.ring()))? {
        Some(seed) if seed.contents.len() < LENGTH => Err(PkiError::BadKey { path }),
        seed => Ok(seed.map(|seed| seed.contents)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::pki::Keystore;

    #[test]
    fn a_seed_is_made_once_for_each_project_and_kept_from_others() {
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(directory.path().to_owned()).unwrap();
        let project = |name: &str| keystore.project(&name.parse().unwrap());
        let seed = scram_seed(&project("acme")).unwrap();
        assert_eq!(*scram_seed(&project("acme")).unwrap(), *seed);
        assert_ne!(*scram_seed(&project("globex")).unwrap(), *seed);

        let path = directory.path().join("acme/scram.seed");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        fs::write(&path, "short").unwrap();
        assert!(matches!(
            scram_seed(&project("acme")),
            Err(PkiError::BadKey { .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            scram_seed(&project("acme")),
            Err(PkiError::KeyExposed { .. })
        ));
    }
}
