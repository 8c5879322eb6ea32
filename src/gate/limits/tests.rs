//! Limits, with a clock that the test turns.

use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn origin(text: &str) -> Origin {
    ClientAddr::from(text.parse::<IpAddr>().unwrap()).into()
}

fn acme() -> ProjectName {
    "acme".parse().unwrap()
}

/// Values that limit nothing, to be narrowed.
fn wide() -> LimitValues {
    LimitValues {
        sessions: 1_000_000,
        sessions_per_project: 1_000_000,
        sessions_per_source: 1_000_000,
        logins: 1_000_000,
        logins_per_source: 1_000_000,
        connections_per_source: Rate::per_second(1_000_000),
        cancels_per_source: Rate::per_second(1_000_000),
        explanations_per_source: Rate::per_second(1_000_000),
    }
}

fn limits(values: LimitValues) -> (Limits, Instant) {
    let epoch = Instant::now();
    (Limits::new(values, epoch), epoch)
}

#[test]
fn an_ipv6_source_is_its_64() {
    assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:1"));
    assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
    assert_eq!(origin("2001:db8::1").to_string(), "2001:db8::/64");
}

#[test]
fn t23_an_ipv4_mapped_source_is_ipv4() {
    assert_eq!(origin("::ffff:203.0.113.9"), origin("203.0.113.9"));
    assert_ne!(origin("203.0.113.9"), origin("203.0.113.8"));
}

#[test]
fn a_session_slot_comes_back_by_drop() {
    let (limits, _) = limits(LimitValues {
        sessions_per_project: 1,
        ..wide()
    });
    let take =
        |project: &str| limits.session(origin("203.0.113.9"), &project.parse().unwrap(), None);
    let held = take("acme").unwrap();
    assert_eq!(take("acme").unwrap_err(), OverLimit::SessionsPerProject(1));
    let other = take("other").unwrap();
    assert_eq!((limits.sessions(), limits.sessions_of(&acme())), (2, 1));
    drop(held);
    let again = take("acme").unwrap();
    drop((again, other));
    assert_eq!((limits.sessions(), limits.sessions_of(&acme())), (0, 0));
}

#[test]
fn each_limit_says_which_it_is_and_takes_nothing_when_it_refuses() {
    let narrow = [
        (
            LimitValues {
                sessions: 2,
                ..wide()
            },
            OverLimit::Sessions(2),
        ),
        (
            LimitValues {
                sessions_per_project: 2,
                ..wide()
            },
            OverLimit::SessionsPerProject(2),
        ),
        (
            LimitValues {
                sessions_per_source: 2,
                ..wide()
            },
            OverLimit::SessionsPerSource(2),
        ),
    ];
    for (values, over) in narrow {
        let (limits, _) = limits(values);
        let take = || limits.session(origin("2001:db8::1"), &acme(), None);
        let held = (take().unwrap(), take().unwrap());
        for _ in 0..3 {
            assert_eq!(take().unwrap_err(), over);
        }
        assert_eq!((limits.sessions(), limits.sessions_of(&acme())), (2, 2));
        drop(held);
        assert!(take().is_ok());
    }
    for (values, over) in [
        (
            LimitValues {
                logins: 2,
                ..wide()
            },
            OverLimit::Logins(2),
        ),
        (
            LimitValues {
                logins_per_source: 2,
                ..wide()
            },
            OverLimit::LoginsPerSource(2),
        ),
    ] {
        let (limits, now) = limits(values);
        let take = || limits.login(origin("2001:db8::1"), now);
        let _held = (take().unwrap(), take().unwrap());
        assert_eq!(take().unwrap_err(), over);
        assert_eq!(limits.logins(), 2);
    }
}

#[test]
fn a_project_s_own_limit_goes_before_the_general_one() {
    let (limits, _) = limits(LimitValues {
        sessions_per_project: 1,
        ..wide()
    });
    let take = |own| limits.session(origin("203.0.113.9"), &acme(), own);
    let _held = (take(Some(2)).unwrap(), take(Some(2)).unwrap());
    assert_eq!(take(Some(2)).unwrap_err(), OverLimit::SessionsPerProject(2));
    assert_eq!(take(Some(0)).unwrap_err(), OverLimit::SessionsPerProject(0));
}

#[test]
fn after_a_limit_was_lowered_guards_stay_valid_and_nobody_new_comes_in() {
    let (limits, now) = limits(wide());
    let mut held: Vec<_> = (0..10)
        .map(|_| limits.login(origin("203.0.113.9"), now).unwrap())
        .collect();
    limits.set(LimitValues {
        logins: 3,
        ..wide()
    });
    for left in (3..10).rev() {
        assert_eq!(
            limits.login(origin("203.0.113.9"), now).unwrap_err(),
            OverLimit::Logins(3)
        );
        held.truncate(left);
        assert_eq!(limits.logins() as usize, left);
    }
    held.pop();
    let _again = limits.login(origin("203.0.113.9"), now).unwrap();
    assert_eq!(limits.values().logins, 3);
}

#[test]
fn what_is_not_held_is_not_remembered() {
    let (limits, now) = limits(wide());
    for low in 0..1000_u32 {
        drop(limits.login(Origin::V4(low.into()), now));
        drop(limits.session(Origin::V4(low.into()), &acme(), None));
    }
    assert_eq!(
        limits.0.logins_per_source.keys() + limits.0.sessions_per_source.keys(),
        0
    );
    assert_eq!(limits.0.sessions_per_project.keys(), 0);
}

#[test]
fn a_rate_grants_its_count_at_once_and_then_evenly() {
    let (limits, start) = limits(LimitValues {
        cancels_per_source: Rate::per_second(10),
        ..wide()
    });
    let cancel =
        |millis| limits.cancel(origin("203.0.113.9"), start + Duration::from_millis(millis));
    for _ in 0..10 {
        assert_eq!(cancel(0), Ok(()));
    }
    let over = Err(OverLimit::CancelsPerSource(Rate::per_second(10)));
    assert_eq!((cancel(0), cancel(99)), (over, over));
    assert_eq!(
        (cancel(100), cancel(100), cancel(200)),
        (Ok(()), over, Ok(()))
    );
    assert_eq!(limits.cancel(origin("203.0.113.8"), start), Ok(()));
    let granted = (0..20).filter(|_| cancel(10_000).is_ok()).count();
    assert_eq!(granted, 10);
}

#[test]
fn refusals_are_explained_ten_times_a_minute_to_a_source() {
    let (limits, start) = limits(LimitValues::default());
    let explain =
        |seconds| limits.may_explain(origin("2001:db8::1"), start + Duration::from_secs(seconds));
    assert_eq!((0..100).filter(|_| explain(0)).count(), 10);
    assert_eq!((0..100).filter(|_| explain(6)).count(), 1);
    assert_eq!((0..100).filter(|_| explain(66)).count(), 10);
}

#[test]
fn a_rate_of_zero_grants_nothing_and_a_clock_that_stands_is_no_harm() {
    let (limits, start) = limits(LimitValues {
        cancels_per_source: Rate::per_second(0),
        ..wide()
    });
    assert!(limits.cancel(origin("203.0.113.9"), start).is_err());
    limits.set(LimitValues {
        cancels_per_source: Rate::per_second(1),
        ..wide()
    });
    assert!(
        limits
            .cancel(origin("203.0.113.9"), start - Duration::from_secs(1))
            .is_ok()
    );
    assert!(
        limits
            .cancel(origin("203.0.113.9"), start - Duration::from_secs(2))
            .is_err()
    );
}

#[test]
fn a_million_sources_take_no_memory_and_forgive_no_debt() {
    let start = Instant::now();
    let limiter = RateLimiter::new(start);
    let rate = Rate::per_minute(10);
    let debtor = origin("203.0.113.9");
    while limiter.take(debtor, rate, start) {}
    let before = limiter.heap_size();
    for first in 0..1_000_000_u64 {
        limiter.take(Origin::V6(first << 8), rate, start);
    }
    assert_eq!(limiter.heap_size(), before);
    assert!(before < 1 << 20, "{before}");
    assert!(!limiter.take(debtor, rate, start));
}

#[test]
fn guards_taken_and_dropped_by_many_threads_are_all_given_back() {
    const THREADS: u32 = 4;
    let (limits, now) = limits(LimitValues {
        sessions: THREADS - 1,
        ..wide()
    });
    let granted: u32 = thread::scope(|scope| {
        let work = |number: u32| {
            let limits = limits.clone();
            scope.spawn(move || {
                let mut granted = 0;
                for _ in 0..2_000 {
                    let session = limits.session(Origin::V4(number.into()), &acme(), None);
                    granted += u32::from(session.is_ok());
                    assert!(limits.sessions() < THREADS);
                    drop(limits.login(Origin::V4(number.into()), now));
                }
                granted
            })
        };
        let threads: Vec<_> = (0..THREADS).map(work).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(granted > 0);
    assert_eq!(
        (
            limits.sessions(),
            limits.logins(),
            limits.sessions_of(&acme())
        ),
        (0, 0, 0)
    );
}

proptest! {
    /// The model: a leaky bucket in exact numbers.
    #[test]
    fn a_source_alone_gets_what_a_leaky_bucket_gives(
        count in 1..20_u32, waits in vec(0..2_000_u64, 1..200),
    ) {
        let start = Instant::now();
        let limiter = RateLimiter::new(start);
        let (rate, mut now, mut level, mut left_at) = (Rate::per_second(count), 0_u64, 0_u64, 0_u64);
        let price = 1_000_000_000 / u64::from(count);
        for wait in waits {
            now += wait * 250_000;
            level = level.saturating_sub(now - left_at);
            left_at = now;
            let expected = level + price <= 1_000_000_000;
            level += if expected { price } else { 0 };
            let granted = limiter.take(origin("203.0.113.9"), rate, start + Duration::from_nanos(now));
            prop_assert_eq!(granted, expected);
        }
    }

    /// However many sources come, nobody ever gets more than their own rate.
    #[test]
    fn nobody_gets_more_than_their_rate_in_a_crowd(order in vec(0..64_u8, 0..600)) {
        let start = Instant::now();
        let limiter = RateLimiter::new(start);
        let mut granted = [0; 64];
        for (crowd, who) in order.into_iter().enumerate() {
            granted[usize::from(who)] += u32::from(limiter.take(Origin::V6(who.into()), Rate::per_second(3), start));
            for stranger in 0..100 {
                limiter.take(Origin::V6(1_000 + crowd as u64 * 100 + stranger), Rate::per_second(3), start);
            }
        }
        prop_assert!(granted.iter().all(|count| *count <= 3), "{:?}", granted);
    }
}
