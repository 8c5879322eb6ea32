//! [`Secured`]: TLS is finished with the project's leaf. From here on the client can be told
//! anything (T7).

use std::sync::Arc;
use std::time::Instant;

use super::admitted::{Admitted, Standing};
use super::facts::{Facts, TlsFacts};
use super::handshakes::Handshakes;
use super::refused::{Channel, Refused};
use crate::refusal::Refusal;
use crate::relay::ClientStream;
use crate::served::Served;

/// A connection inside TLS.
pub(super) struct Secured {
    pub(super) client: ClientStream,
    /// What the client was shown.
    pub(super) served: Arc<Served>,
    pub(super) standing: Standing,
}

impl Admitted {
    /// Finishes the TLS handshake.
    ///
    /// # Errors
    /// The two sides could not agree; the alert has been sent.
    pub(super) async fn secure(
        self,
        handshakes: &Handshakes,
        facts: &mut Facts,
    ) -> Result<Secured, Refused> {
        let Self {
            hello,
            served,
            standing,
        } = self;
        let begun = Instant::now();
        let handshake = handshakes.answer(hello, Arc::clone(&served.tls)).await;
        match handshake.finish().await {
            Ok(client) => {
                facts.handshake = Some(begun.elapsed());
                facts.tls = Some(TlsFacts::of(&client));
                Ok(Secured {
                    client,
                    served,
                    standing,
                })
            }
            Err((error, socket)) => Err(Refused::new(
                Refusal::from_tls(&error),
                Channel::Alerted(socket),
            )),
        }
    }
}

impl TlsFacts {
    pub(super) fn of(client: &ClientStream) -> Self {
        let state = client.state();
        let group = state
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        Self {
            version: state.protocol_version(),
            group,
        }
    }
}
