//! [`Identified`]: the client's certificate is what the project demands, or the project demands none.
//!
//! TLS has checked only that the client has the key of the certificate that it showed. The verdict
//! comes here, after StartupMessage: the project is known for certain, and so is the user; and who is
//! refused can be told why. A CancelRequest doesn't come this way (T9).

use std::sync::Arc;

use jiff::Timestamp;

use super::admitted::{Admission, Admissions};
use super::facts::Facts;
use super::refused::Refused;
use super::started::Started;
use crate::auth::certificate::{CertificateRefused, Identification};
use crate::pki::Shown;
use crate::refusal::Refusal;
use crate::relay::ClientStream;
use crate::served::Served;
use crate::wire::startup::StartupMessage;

/// A connection of which it is known who it is, as far as a certificate can tell. Only this type goes
/// on to the backend.
pub(super) struct Identified {
    pub(super) client: ClientStream,
    pub(super) admission: Admission,
    pub(super) startup: StartupMessage,
    /// What the client was shown.
    pub(super) served: Arc<Served>,
    /// What the client's own certificate has proved.
    pub(super) who: Identification,
}

impl Started {
    /// Decides on the client's certificate as the project demands it.
    ///
    /// # Errors
    /// It has none, or it is not to be trusted, or not this user's.
    pub(super) fn identify(
        self,
        by: &Admissions<'_>,
        facts: &mut Facts,
    ) -> Result<Identified, Refused> {
        let Self {
            client,
            admission,
            startup,
            served,
        } = self;
        match judge(&client, &admission, &startup) {
            Ok(who) => {
                if admission.project.clients.trust().is_some() {
                    facts.certificate = Some(who.result());
                }
                facts.who = who.clone();
                Ok(Identified {
                    client,
                    admission,
                    startup,
                    served,
                    who,
                })
            }
            Err(refused) => {
                facts.certificate = Some(refused.result());
                let refusal = Refusal::ClientCertificate(refused);
                Err(Refused::new(refusal, by.channel(client, facts)))
            }
        }
    }
}

fn judge(
    client: &ClientStream,
    admission: &Admission,
    startup: &StartupMessage,
) -> Result<Identification, CertificateRefused> {
    let shown = Shown::of(client.state().peer_certificates());
    let user = startup.user().unwrap_or_default();
    let demands = &admission.project.clients;
    demands.judge(shown, user, Timestamp::now())
}
