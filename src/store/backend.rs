//! A project's backend, from how it is kept to what can be dialled.

mod shared;

use std::sync::Arc;

use jiff::Timestamp;

use crate::backend::{
    Backend, BackendTls, ClientIdentity, Dialling, InvalidBackend, InvalidIdentity, TrustedRoots,
};
use crate::config::{ClientCertificate, ProjectSpec, RootCert};
use crate::pki::{PkiError, ProjectKeystore, read_client_certificate};

pub(super) use shared::SharedTls;

/// Why a project's backend can't be.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error(transparent)]
    Backend(#[from] InvalidBackend),
    #[error(transparent)]
    Certificate(#[from] PkiError),
    #[error("{0}")]
    Identity(#[from] InvalidIdentity),
}

/// The backend of a project whose CA is kept in `store`, and what is to be said of it: the `previous` one,
/// if it was made of the same specification and can't be had again, as when the file of its CA has
/// vanished. Blocks on the file system.
pub(super) fn backend(
    project: &ProjectSpec,
    (store, shared): (&ProjectKeystore, &SharedTls),
    previous: Option<(&Arc<Backend>, bool)>,
) -> Result<(Arc<Backend>, Option<String>), BackendError> {
    let made = make(project, (store, shared));
    match (made, previous) {
        (Ok(backend), Some((before, _))) if backend.is_same(before) => {
            Ok((Arc::clone(before), None))
        }
        (Ok(backend), Some((before, _))) => Ok((Arc::new(backend.carrying_on_from(before)), None)),
        (Ok(backend), None) => Ok((Arc::new(backend), None)),
        (Err(error), Some((before, true))) => {
            let text =
                format!("{error}; the backend is still verified by what there was from before");
            Ok((Arc::clone(before), Some(text)))
        }
        (Err(error), _) => Err(error),
    }
}

/// Makes the backend of a project whose CA is kept in `store`.
fn make(
    project: &ProjectSpec,
    (store, shared): (&ProjectKeystore, &SharedTls),
) -> Result<Backend, BackendError> {
    let spec = &project.backend;
    let root = spec.sslrootcert.as_ref();
    let tls = match &spec.sslrootcert {
        Some(RootCert::Project) => {
            // Which makes the CA, should there be none yet.
            let identity = store.load_or_create(&project.hosts, Timestamp::now())?;
            let bundle = identity.ca_bundle_pem().unwrap_or_default().as_bytes();
            let roots = TrustedRoots::from_pem(bundle, &store.ca_certificate())?;
            let revoked = store.revocation_lists()?.into_iter();
            let revoked = revoked.flat_map(|list| list.revoked);
            let roots = roots.without(revoked.map(|revoked| revoked.serial));
            BackendTls::new(spec.sslmode, Some(&roots))?
        }
        Some(RootCert::File(path)) => shared.of(spec.sslmode, root, || {
            TrustedRoots::from_file(path).map(Some)
        })?,
        Some(RootCert::System) => {
            shared.of(spec.sslmode, root, || TrustedRoots::of_system().map(Some))?
        }
        None => shared.of(spec.sslmode, root, || Ok(None))?,
    };
    let tls = tls.negotiated(spec.sslnegotiation);
    let tls = match &spec.client_certificate {
        Some(files) => tls.showing(&client_identity(files)?),
        None => tls,
    };
    let dialling = Dialling {
        tls,
        connect_timeout: spec.connect_timeout,
        names: spec.names,
        tcp: spec.tcp,
    };
    let is_own = root == Some(&RootCert::Project) || spec.client_certificate.is_some();
    let dialling = if is_own {
        Arc::new(dialling)
    } else {
        shared.dialling(dialling)
    };
    Ok(Backend::new(
        spec.addresses.clone(),
        dialling,
        spec.balance,
    )?)
}

fn client_identity(files: &ClientCertificate) -> Result<ClientIdentity, BackendError> {
    let (chain, key) = read_client_certificate(&files.chain, &files.key)?;
    Ok(ClientIdentity::new(chain, &key)?)
}
