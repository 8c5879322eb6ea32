//! `GET /crl/PROJECT`: what a project's CA has revoked, for servers that check clients themselves.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Admin;
use crate::id::ProjectName;
use crate::pki::{PkiError, ProjectKeystore};

/// RFC 2585 section 4.2.
const DER: &str = "application/pkix-crl";
/// No registered type is for revocation lists in PEM; this is what servers send.
const PEM: &str = "application/x-pem-file";

/// `/crl/PROJECT` is the list of the CA that signs, DER; `/crl/PROJECT.pem` is every CA's, as a server
/// takes them.
pub(super) async fn crl(State(admin): State<Admin>, Path(asked): Path<String>) -> Response {
    let (name, kind) = match asked.strip_suffix(".pem") {
        Some(name) => (name, PEM),
        None => (asked.as_str(), DER),
    };
    // Nothing but a project's name goes into a path.
    let Ok(name) = name.parse::<ProjectName>() else {
        return nothing();
    };
    let store = admin.keystore.project(&name);
    let read = tokio::task::spawn_blocking(move || list(&store, kind)).await;
    match read {
        Ok(Ok(Some(list))) => ([(CONTENT_TYPE, kind)], list).into_response(),
        Ok(Ok(None)) => nothing(),
        Ok(Err(_)) | Err(_) => {
            let why = "the revocation list can't be read\n";
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

fn list(store: &ProjectKeystore, kind: &str) -> Result<Option<Vec<u8>>, PkiError> {
    if kind == PEM {
        store.revocation_lists_pem()
    } else {
        let list = store.revocation_list_der()?;
        Ok(list.map(|list| list.to_vec()))
    }
}

fn nothing() -> Response {
    (StatusCode::NOT_FOUND, "no revocation list\n").into_response()
}
