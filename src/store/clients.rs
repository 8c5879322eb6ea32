//! What is demanded of clients' certificates, with the files that it is made of.

use std::sync::Arc;

use jiff::Timestamp;

use crate::auth::certificate::{ClientCertificates, Demand};
use crate::config::ClientCertificateSpec;
use crate::pki::{ClientCas, ClientTrust, PkiError, ProjectKeystore};

/// What `spec` demands, and what is to be said of it: the CAs and lists that `previous` had, if they
/// are to be the same and can't be had any more (T25).
///
/// # Errors
/// They can't be had.
pub(super) fn client_certificates(
    spec: &ClientCertificateSpec,
    previous: Option<&ClientCertificates>,
    (store, now): (&ProjectKeystore, Timestamp),
) -> Result<(ClientCertificates, Option<String>), PkiError> {
    let before = previous.and_then(ClientCertificates::trust);
    let trust = |cas: &ClientCas| trust(cas, before, (store, now));
    Ok(match spec {
        ClientCertificateSpec::Off => (ClientCertificates::Off, None),
        ClientCertificateSpec::Optional(cas) => {
            let (trust, text) = trust(cas)?;
            (ClientCertificates::Optional(trust), text)
        }
        ClientCertificateSpec::Required(cas, naming) => {
            let (trust, text) = trust(cas)?;
            let naming = naming.clone();
            let demand = Demand { trust, naming };
            (ClientCertificates::Required(demand.into()), text)
        }
    })
}

fn trust(
    cas: &ClientCas,
    before: Option<&Arc<ClientTrust>>,
    (store, now): (&ProjectKeystore, Timestamp),
) -> Result<(Arc<ClientTrust>, Option<String>), PkiError> {
    let same = before.filter(|before| before.cas() == cas);
    match (ClientTrust::load(cas, store, now), same) {
        (Ok(trust), _) => Ok((Arc::new(trust), None)),
        (Err(error), Some(before)) => {
            let text = format!("{error}; client certificates are still judged as before");
            Ok((Arc::clone(before), Some(text)))
        }
        (Err(error), None) => Err(error),
    }
}
