//! The limits against a model: the list of the slots that are held.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Login(u8),
    Session(u8, u8),
    DropLogin(prop::sample::Index),
    DropSession(prop::sample::Index),
    Set(u32, u32, u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8).prop_map(Step::Login),
        4 => (0..4_u8, 0..3_u8).prop_map(|(source, project)| Step::Session(source, project)),
        3 => any::<prop::sample::Index>().prop_map(Step::DropLogin),
        3 => any::<prop::sample::Index>().prop_map(Step::DropSession),
        1 => (1..8_u32, 1..4_u32, 1..8_u32, 1..4_u32).prop_map(|(a, b, c, d)| Step::Set(a, b, c, d)),
    ];
    prop::collection::vec(step, 1..200)
}

/// How many of `held` are such as `is_one`.
fn count<T>(held: &[T], is_one: impl Fn(&T) -> bool) -> u32 {
    u32::try_from(held.iter().filter(|one| is_one(one)).count()).unwrap()
}

fn drop_one<T>(held: &mut Vec<T>, index: prop::sample::Index) {
    if !held.is_empty() {
        drop(held.swap_remove(index.index(held.len())));
    }
}

proptest! {
    /// The model is the list of the slots held: it can't leak.
    #[test]
    fn a_slot_is_given_exactly_when_every_limit_leaves_one(steps in steps()) {
        const OF_PROJECT: u32 = 3;
        let mut spec = LimitsSpec { sessions: 6, sessions_per_source: 3, logins: 6, logins_per_source: 3, ..WIDE };
        let (limits, now) = (limits(spec), Instant::now());
        let (mut logins, mut sessions) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Login(source) => {
                    let given = limits.login(client(&format!("203.0.113.{source}")), now);
                    let expected = count(&logins, |(of, _)| *of == source) < spec.logins_per_source
                        && count(&logins, |_| true) < spec.logins;
                    prop_assert_eq!(given.is_ok(), expected);
                    logins.extend(given.ok().map(|slot| (source, slot)));
                }
                Step::Session(source, name) => {
                    let address = client(&format!("2001:db8:0:{source}::1"));
                    let given = limits.session(&project(&format!("p{name}")), OF_PROJECT, address);
                    let expected = count(&sessions, |(of, _, _)| *of == source) < spec.sessions_per_source
                        && count(&sessions, |(_, of, _)| *of == name) < OF_PROJECT
                        && count(&sessions, |_| true) < spec.sessions;
                    prop_assert_eq!(given.is_ok(), expected);
                    sessions.extend(given.ok().map(|slot| (source, name, slot)));
                }
                Step::DropLogin(index) => drop_one(&mut logins, index),
                Step::DropSession(index) => drop_one(&mut sessions, index),
                Step::Set(sessions, sessions_per_source, logins, logins_per_source) => {
                    spec = LimitsSpec { sessions, sessions_per_source, logins, logins_per_source, ..WIDE };
                    limits.set(spec);
                }
            }
        }
        drop((logins, sessions));
        prop_assert!(nothing_is_taken(&limits));
    }
}
