//! The benchmark's own figures: a run is only as good as its arithmetic.

#[path = "../benches/versus/scram.rs"]
mod scram;
#[path = "../benches/versus/stats.rs"]
mod stats;

use proptest::prelude::*;
use scram::Secret;
use stats::{Spread, percentile, short};

#[test]
fn the_median_of_an_even_count_lies_between_the_two_in_the_middle() {
    assert_eq!(Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
}

#[test]
fn the_middle_half_leaves_out_the_worst_and_the_best_windows() {
    let spread = Spread::of(&[900.0, 5.0, 3.0, 4.0, 6.0, 1.0, 7.0, 2.0]).unwrap();
    assert_eq!((spread.low, spread.median, spread.high), (2.0, 4.5, 6.0));
}

#[test]
fn no_values_have_no_spread() {
    assert_eq!(Spread::of(&[]), None);
}

#[test]
fn figures_are_told_with_three_digits() {
    let told = [0.0, 0.4567, 4.567, 45.67, 456.7, 4567.0, 1_234_567.0].map(short);
    let expected = ["0", "0.457", "4.57", "45.7", "457", "4,567", "1,234,567"];
    assert_eq!(told, expected);
}

#[test]
fn a_proof_is_accepted_and_a_changed_one_is_not() {
    let secret = Secret::derive();
    let first_bare = scram::client_first_bare(1);
    let server_first = scram::server_first(&first_bare, 2).unwrap();
    let client_final = secret.client_final(&first_bare, &server_first).unwrap();
    let accepted = secret.server_final(&first_bare, &server_first, &client_final);
    assert!(accepted.is_some_and(|server_final| server_final.starts_with("v=")));
    let other_first = scram::server_first(&first_bare, 3).unwrap();
    assert_eq!(
        secret.server_final(&first_bare, &other_first, &client_final),
        None
    );
}

#[test]
fn the_verifier_is_what_postgresql_keeps() {
    let verifier = Secret::derive().verifier();
    let keys = verifier
        .strip_prefix("SCRAM-SHA-256$4096:dmVyc3VzLWJlbmNoLXNsdA==$")
        .unwrap();
    assert!(keys.split(':').all(|key| key.len() == 44));
}

proptest! {
    #[test]
    fn a_percentile_is_the_least_value_that_so_many_do_not_exceed(
        mut values in prop::collection::vec(0.0..1e6_f64, 1..200),
        percent in 1_usize..=100,
    ) {
        values.sort_by(f64::total_cmp);
        let found = percentile(&values, percent);
        let reaches = |bound: f64| {
            values.iter().filter(|value| **value <= bound).count() * 100 >= percent * values.len()
        };
        prop_assert!(reaches(found));
        prop_assert!(values.iter().filter(|value| **value < found).all(|below| !reaches(*below)));
    }
}
