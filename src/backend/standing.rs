//! How an address has done so far: what outlives one login, and a reload.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::Instant;

/// For how long an address is set aside when it fails for the first time. Each failure that follows
/// without a success between doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest that an address is set aside.
const LONGEST: Duration = Duration::from_secs(30);

/// Of one address: how many sessions it has, and whether it is set aside.
#[derive(Debug, Default)]
pub(super) struct Standing {
    live: AtomicUsize,
    failure: Mutex<Option<Failure>>,
    /// Whether a login finds out whether it can be had again.
    is_probed: AtomicBool,
}

/// The last failure of an address that has not succeeded since.
#[derive(Debug, Clone, Copy)]
struct Failure {
    /// How many there were in a row.
    count: u32,
    at: Instant,
    until: Instant,
}

impl Standing {
    pub(super) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Sets the address aside, since what was begun with it at `began` has failed. Of many that fail
    /// at once only the first counts: one outage is one failure.
    pub(super) fn failed(&self, began: Instant, now: Instant) {
        let mut failure = self.lock();
        if failure.is_some_and(|last| last.at > began) {
            return;
        }
        let count = failure.map_or(0, |last| last.count);
        *failure = Some(Failure {
            count: count.saturating_add(1),
            at: now,
            until: now + jittered(wait(count), random()),
        });
    }

    /// Takes it back into use.
    pub(super) fn succeeded(&self) {
        *self.lock() = None;
    }

    /// When it failed, if it is still set aside.
    pub(super) fn set_aside(&self, now: Instant) -> Option<Instant> {
        let failure = *self.lock();
        failure
            .filter(|failure| failure.until > now)
            .map(|failure| failure.at)
    }

    /// Whether a login finds out at the moment whether it can be had again.
    pub(super) fn is_probed(&self) -> bool {
        self.is_probed.load(Ordering::Acquire)
    }

    /// The right to try the address. Of one that has failed and not succeeded since only one login has it
    /// at a time, until that is dropped: if packets vanish there, only that one waits.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        if self.lock().is_none() {
            return Some(Turn(None));
        }
        let was_probed = self.is_probed.swap(true, Ordering::AcqRel);
        (!was_probed).then(|| Turn(Some(Arc::clone(self))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long after so many failures before this one.
fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

/// Between half of it and all of it, so that not all who saw it fail come back at once.
fn jittered(wait: Duration, random: u32) -> Duration {
    let half = wait / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Any number; 0 should there be no randomness, which does no harm here.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    let _filled = rand::fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

/// The right to try an address, of a login that finds out about it if it had failed.
#[derive(Debug)]
#[must_use = "dropping it gives it to others"]
pub(super) struct Turn(Option<Arc<Standing>>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(standing) = &self.0 {
            standing.is_probed.store(false, Ordering::Release);
        }
    }
}

/// A session, or a login, that counts at its address until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct Live(Arc<Standing>);

impl Live {
    pub(super) fn new(standing: &Arc<Standing>) -> Self {
        standing.live.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(standing))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_address_is_set_aside_for_longer_each_time_but_never_for_long() {
        let standing = Standing::default();
        let mut now = Instant::now();
        assert_eq!(standing.set_aside(now), None);
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            standing.failed(now, now);
            assert_eq!(standing.set_aside(now), Some(now));
            let longest = Duration::from_secs(seconds);
            assert!(
                standing
                    .set_aside(now + longest / 2 - Duration::from_millis(1))
                    .is_some()
            );
            assert_eq!(standing.set_aside(now + longest), None, "{seconds}");
            now += longest;
        }
        standing.succeeded();
        standing.failed(now, now);
        assert_eq!(standing.set_aside(now + FIRST), None);
    }

    #[test]
    fn many_logins_that_fail_in_one_outage_are_one_failure() {
        let standing = Standing::default();
        let began = Instant::now();
        for step in 1..=100 {
            standing.failed(began, began + Duration::from_millis(step));
        }
        let first = began + Duration::from_millis(1);
        assert_eq!(standing.set_aside(first), Some(first));
        assert_eq!(standing.set_aside(first + FIRST), None);
    }

    #[test]
    fn an_address_that_has_failed_is_tried_by_one_at_a_time_until_it_has_succeeded() {
        let standing = Arc::new(Standing::default());
        let at_once = (standing.turn(), standing.turn());
        assert!(at_once.0.is_some() && at_once.1.is_some() && !standing.is_probed());
        let now = Instant::now();
        standing.failed(now, now);
        let turn = standing.turn();
        assert!(turn.is_some() && standing.is_probed() && standing.turn().is_none());
        // Those who came before it had failed have no say in that.
        drop(at_once);
        assert!(standing.turn().is_none());
        drop(turn);
        let turn = standing.turn().unwrap();
        standing.succeeded();
        assert!(standing.turn().is_some());
        drop(turn);
        assert!(!standing.is_probed());
    }

    #[test]
    fn the_wait_is_jittered_within_its_upper_half() {
        let wait = Duration::from_secs(8);
        assert_eq!(jittered(wait, 0), wait / 2);
        assert_eq!(jittered(wait, u32::MAX), wait);
        let middle = jittered(wait, u32::MAX / 2);
        assert!(middle > wait / 2 && middle < wait, "{middle:?}");
    }

    #[test]
    fn a_session_counts_until_its_guard_is_dropped() {
        let standing = Arc::default();
        let (one, two) = (Live::new(&standing), Live::new(&standing));
        assert_eq!(standing.live(), 2);
        drop(one);
        assert_eq!(standing.live(), 1);
        drop(two);
        assert_eq!(standing.live(), 0);
    }
}
