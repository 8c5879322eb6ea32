//! `keepalives_idle` and its like: `[tcp]` for all, and a project's own for its backend.

use std::time::Duration;

use super::section::Section;
use crate::relay::TcpTuning;

/// Linux's longest `TCP_KEEPIDLE` and `TCP_KEEPINTVL`, in seconds.
const LONGEST: u64 = 32_767;

/// Reads the keys; `default` is what holds where they say nothing.
pub(super) fn read(section: &mut Section<'_, '_>, default: TcpTuning) -> TcpTuning {
    let within = Duration::from_secs(1)..=Duration::from_secs(LONGEST);
    let idle = section.or_within("keepalives_idle", default.idle, &within);
    let interval = section.or_within("keepalives_interval", default.interval, &within);
    let count = section.or_within("keepalives_count", default.count, &(1..=127));
    let user_timeout = section.or_within(
        "tcp_user_timeout",
        default.user_timeout.unwrap_or_default(),
        &(Duration::ZERO..=Duration::from_secs(86_400)),
    );
    TcpTuning {
        idle,
        interval,
        count,
        user_timeout: (!user_timeout.is_zero()).then_some(user_timeout),
    }
}
