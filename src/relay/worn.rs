//! The end of a session whose keys have been used as often as they may be.
//!
//! A key of TLS 1.2 can't be replaced, and AES-GCM keeps its secrets for so many records and no more
//! (RFC 8446 section 5.5, which gives TLS 1.3 its KeyUpdate): 2^24, as rustls counts. Of small
//! answers that is a few hours of a busy connection in a pool.

use std::time::Duration;

use super::{Cut, Leg};
use crate::wire::encode::{FatalResponse, fatal};

/// How long a client may take to read it.
const GRACE: Duration = Duration::from_secs(1);

/// The least plaintext in bytes of all full records that are sent.
const FULL: usize = 8 * 1024;

/// How many records were encrypted for a leg since the login, or more: a write's last one need not
/// be full, and towards a backend they are larger. As many as can be counted stand for any more.
#[derive(Debug, Default)]
pub(super) struct Records(u32);

impl Records {
    /// Counts those of one write.
    pub(super) fn count(&mut self, bytes: usize) {
        let records = u32::try_from(bytes.div_ceil(FULL)).unwrap_or(u32::MAX);
        self.0 = self.0.saturating_add(records);
    }

    /// Whether only a sixteenth is left of those that there may be: for the login's, and so that most
    /// sessions come to the end of a message before they come to the last record.
    pub(super) fn is_all_but(&self, last: Option<u64>) -> bool {
        last.is_some_and(|last| u64::from(self.0) >= last - last / 16)
    }
}

/// The end of a session, one leg of which has worn its keys out.
pub(super) fn out(leg: Leg) -> Cut {
    let (message, hint) = match leg {
        Leg::Client => (
            "terminating connection: the keys of this TLS 1.2 connection are used up",
            "Connect again. A client that speaks TLS 1.3 renews its keys as it goes, and is not ended.",
        ),
        Leg::Backend => (
            "terminating connection: the keys of the gate's TLS 1.2 connection to the server are used up",
            "Connect again. A server that speaks TLS 1.3 renews its keys as it goes, and ends nobody.",
        ),
    };
    let message = fatal(&FatalResponse {
        sqlstate: "57P01",
        message,
        detail: None,
        hint: Some(hint),
    });
    Cut {
        reason: "keys_used_up",
        message,
        grace: GRACE,
    }
}
