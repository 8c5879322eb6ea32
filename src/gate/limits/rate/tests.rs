use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const A: Source = Source::V4(1);
const B: Source = Source::V6(1);

/// How many of `tries` at the same moment are let through.
fn let_through(rates: &mut Rates, source: Source, now: u64, tries: usize) -> usize {
    (0..tries).filter(|_| rates.spend(source, now)).count()
}

#[test]
fn a_burst_and_then_the_rate_to_the_nanosecond() {
    let mut rates = Rates::new(Rate::new(50, SECOND, 200));
    let interval = SECOND / 50;
    assert_eq!(let_through(&mut rates, A, 7, 1_000), 200);
    for n in 1..=500 {
        let due = 7 + n * interval;
        assert!(!rates.spend(A, due - 1), "{n}");
        assert!(rates.spend(A, due), "{n}");
        assert!(!rates.spend(A, due), "{n}");
    }
}

#[test]
fn a_rest_gives_back_the_burst_and_no_more() {
    let mut rates = Rates::new(Rate::new(50, SECOND, 200));
    assert_eq!(let_through(&mut rates, A, 0, 1_000), 200);
    assert_eq!(let_through(&mut rates, A, SECOND, 1_000), 50);
    assert_eq!(let_through(&mut rates, A, 5 * SECOND, 1_000), 200);
    assert_eq!(let_through(&mut rates, A, 1_000 * SECOND, 1_000), 200);
}

#[test]
fn sources_do_not_spend_for_one_another() {
    let mut rates = Rates::new(Rate::new(1, SECOND, 3));
    assert_eq!(let_through(&mut rates, A, 0, 10), 3);
    assert_eq!(let_through(&mut rates, B, 0, 10), 3);
}

#[test]
fn ten_a_minute_is_ten_at_once_and_then_one_every_six_seconds() {
    let mut rates = Rates::new(Rate::new(10, MINUTE, 10));
    assert_eq!(let_through(&mut rates, A, 0, 11), 10);
    assert!(!rates.spend(A, 6 * SECOND - 1));
    assert_eq!(let_through(&mut rates, A, 6 * SECOND, 5), 1);
    assert_eq!(let_through(&mut rates, A, 66 * SECOND, 50), 10);
}

#[test]
fn none_per_period_is_never() {
    for rate in [
        Rate::new(0, MINUTE, 0),
        Rate::new(0, SECOND, 5),
        Rate::new(5, SECOND, 0),
    ] {
        let mut rates = Rates::new(rate);
        for now in [0, 1, MINUTE, u64::MAX] {
            assert!(!rates.spend(A, now), "{rate:?} {now}");
        }
        assert_eq!(rates.in_debt(0), 0);
    }
}

#[test]
fn a_million_sources_take_no_more_memory_than_one() {
    let mut rates = Rates::new(Rate::new(1, SECOND, 1));
    let before = rates.size();
    assert_eq!(before, 1 << 20);
    for source in 0..1_000_000 {
        assert!(
            rates.spend(Source::V6(source), 0),
            "a newcomer owes nothing"
        );
    }
    assert_eq!(rates.size(), before);
    assert_eq!(
        rates.in_debt(0),
        usize::from(SETS) * WAYS,
        "the table was really full"
    );
}

#[test]
fn a_crowd_does_not_wash_away_the_debt_of_who_owes_most() {
    let mut rates = Rates::new(Rate::new(50, SECOND, 200));
    assert_eq!(let_through(&mut rates, A, 0, 1_000), 200);
    for source in 0..200_000 {
        assert!(rates.spend(Source::V6(source), 0));
    }
    assert!(!rates.spend(A, 0));
}

#[test]
fn nobody_new_is_held_to_anothers_debt() {
    let mut rates = Rates::new(Rate::new(1, SECOND, 4));
    for source in 0..100_000 {
        assert_eq!(let_through(&mut rates, Source::V6(source), 0, 5), 4);
    }
}

#[test]
fn another_rate_starts_without_debts_and_the_same_one_keeps_them() {
    let slow = Rate::new(1, SECOND, 1_000_000);
    let mut rates = Rates::new(slow);
    assert_eq!(let_through(&mut rates, A, 0, 10), 10);
    let owed = rates.in_debt(0);
    rates.set(slow);
    assert_eq!(rates.in_debt(0), owed);
    rates.set(Rate::new(1, SECOND, 3));
    assert_eq!(let_through(&mut rates, A, 0, 10), 3);
}

#[test]
fn the_clock_never_goes_back() {
    let mut clock = Clock::default();
    let start = Instant::now();
    let later = start + std::time::Duration::from_nanos(5);
    assert_eq!(clock.read(start), 0);
    assert_eq!(clock.read(later), 5);
    assert_eq!(clock.read(start), 5);
}

/// A leaky bucket in exact arithmetic: `level` counts in `1 / period` of a token.
#[derive(Default)]
struct Bucket {
    level: u128,
    at: u64,
}

impl Bucket {
    fn spend(&mut self, (count, period, burst): (u32, u64, u32), now: u64) -> bool {
        let leaked = u128::from(now - self.at) * u128::from(count);
        self.level = self.level.saturating_sub(leaked);
        self.at = now;
        let after = self.level + u128::from(period);
        let fits = after <= u128::from(burst) * u128::from(period);
        if fits {
            self.level = after;
        }
        fits
    }
}

proptest! {
    /// Rates that divide the period, for which the nanosecond is exact.
    #[test]
    fn a_rate_does_what_a_leaky_bucket_does(
        count in prop::sample::select(vec![1, 2, 5, 10, 50, 1_000, 1_000_000]),
        period in prop::sample::select(vec![SECOND, MINUTE]),
        burst in 1..20_u32,
        steps in prop::collection::vec((0..4_u32, 0..3_u64, 0..40_u64), 1..300),
    ) {
        let mut rates = Rates::new(Rate::new(count, period, burst));
        let mut model = HashMap::<u32, Bucket>::new();
        let mut now = 0;
        for (source, nanos, tenths) in steps {
            now += nanos + tenths * period / u64::from(count) / 10;
            let expected = model.entry(source).or_default().spend((count, period, burst), now);
            prop_assert_eq!(rates.spend(Source::V4(source), now), expected);
        }
    }

    #[test]
    fn no_rate_is_ever_exceeded(
        count in 1..1_000_000_u32,
        burst in 1..100_u32,
        gaps in prop::collection::vec(0..10_000_000_u64, 1..300),
    ) {
        let mut rates = Rates::new(Rate::new(count, SECOND, burst));
        let (mut now, mut through) = (0, 0_u128);
        for gap in gaps {
            now += gap;
            through += u128::from(rates.spend(A, now));
            let most = u128::from(burst) + u128::from(now) * u128::from(count) / u128::from(SECOND);
            prop_assert!(through <= most);
        }
    }
}
