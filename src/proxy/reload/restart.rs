//! What a reload can't change.

use crate::config::Config;

/// Says which changes wait for a restart.
pub(super) fn warn_of_restart(before: &Config, after: &Config) {
    for (key, changed) in [
        ("listen", before.listeners != after.listeners),
        ("certs", before.certs != after.certs),
        (
            "keys.encryption_key_file",
            before.encryption_key_file != after.encryption_key_file,
        ),
        ("admin.listen", before.admin != after.admin),
        ("admin.socket", before.control != after.control),
        ("log", before.log != after.log),
        (
            "runtime.workers",
            before.runtime.workers != after.runtime.workers,
        ),
        (
            "runtime.handshakes",
            before.runtime.handshakes != after.runtime.handshakes,
        ),
    ] {
        if changed {
            tracing::warn!(key, "this change takes effect when the gate is restarted");
        }
    }
}
