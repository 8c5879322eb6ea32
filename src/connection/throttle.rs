//! [`Throttle`]: refusals that come in crowds are counted, not written down one by one. Whoever is
//! refused costs nothing to send again, and a log that fills the disk is a denial of service.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::refusal::Reason;

/// Lines of one reason that the log takes in a [`WINDOW`].
const LINES: u32 = 20;

/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Lets a bounded number of lines of each reason through.
#[derive(Debug, Default)]
pub struct Throttle {
    windows: Mutex<HashMap<Reason, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

impl Throttle {
    /// Whether a line about `reason` may be written now, and how many have not been written since
    /// the last one that was.
    pub(super) fn let_through(&self, reason: Reason, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(reason).or_insert(Window {
            began: now,
            lines: 0,
            suppressed: 0,
        });
        if now.saturating_duration_since(window.began) >= WINDOW {
            window.began = now;
            window.lines = 0;
        }
        if window.lines == LINES {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_refusals_is_counted_and_each_reason_has_its_own_share() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let written = |reason, now| {
            (0..1_000)
                .filter(|_| throttle.let_through(reason, now).is_some())
                .count()
        };
        assert_eq!(written(Reason::TooMany, start), LINES as usize);
        assert_eq!(written(Reason::AddressDenied, start), LINES as usize);
        // The next one that is written tells of those that were not.
        let next = throttle.let_through(Reason::TooMany, start + WINDOW);
        assert_eq!(next, Some(1_000 - u64::from(LINES)));
        assert_eq!(
            throttle.let_through(Reason::TooMany, start + WINDOW),
            Some(0)
        );
    }
}
