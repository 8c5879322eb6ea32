//! Looks after the keystore: keys are sealed that are not, and revocation lists are signed anew
//! before their time is over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::leaves::named;
use crate::pki::{Keystore, SharedRenewal, Tended};

/// How often every project's folder is looked at, whether or not the project is in use. A revocation
/// list is renewed ten days before its time is over.
const PERIOD: Duration = Duration::from_secs(3600);

/// Goes on for as long as the task lives; first at once.
pub(super) async fn tend(keystore: Keystore) {
    let mut hours = interval(PERIOD);
    hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        let keystore = keystore.clone();
        // It blocks, and the workers have sessions to carry.
        let tended = spawn_blocking(move || keystore.tend(Timestamp::now())).await;
        let all = match tended {
            Ok(Ok(all)) => all,
            Ok(Err(error)) => {
                tracing::error!("the keystore can't be looked after: {error}");
                continue;
            }
            Err(panic) => {
                tracing::error!("the keystore can't be looked after: {panic}");
                continue;
            }
        };
        for (project, tended) in all {
            match tended {
                Ok(Tended {
                    sealed,
                    lists_renewed,
                    shared_renewal,
                }) => {
                    if sealed > 0 {
                        tracing::info!(%project, files = sealed, "private keys sealed");
                    }
                    if lists_renewed {
                        tracing::info!(%project, "revocation list signed anew");
                    }
                    if let Some(SharedRenewal { at, sharers }) = shared_renewal {
                        let servers = named(&sharers);
                        tracing::warn!(%project, renewal = %at, servers,
                            "the certificate is renewed soon, and the servers that share it must reload then: \
                             select pg_reload_conf()");
                    }
                }
                Err(error) => tracing::error!(%project, "its keys can't be looked after: {error}"),
            }
        }
    }
}
