use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

mod model;

const WIDE: LimitsSpec = LimitsSpec {
    sessions: 1_000_000,
    sessions_per_project: 1_000_000,
    sessions_per_source: 1_000_000,
    logins: 1_000_000,
    logins_per_source: 1_000_000,
    connections_per_second_per_source: 1_000_000,
    connection_burst_per_source: 1_000_000,
    cancels_per_second_per_source: 20,
    refusals_explained_per_minute_per_source: 10,
};

fn limits(spec: LimitsSpec) -> Arc<Limits> {
    Arc::new(Limits::new(spec))
}

fn client(text: &str) -> ClientAddr {
    text.parse::<IpAddr>().unwrap().into()
}

fn project(text: &str) -> ProjectName {
    text.parse().unwrap()
}

fn nothing_is_taken(limits: &Limits) -> bool {
    let state = limits.lock();
    let logins = state.logins.is_empty() && state.telling.is_empty();
    logins && state.sessions.is_empty() && state.sessions_of_projects.is_empty()
}

#[test]
fn a_dropped_slot_is_free_again() {
    let limits = limits(LimitsSpec {
        logins: 1,
        sessions: 1,
        ..WIDE
    });
    let (a, acme, now) = (client("203.0.113.9"), project("acme"), Instant::now());
    for _ in 0..3 {
        let login = limits.login(a, now).unwrap();
        let session = limits.session(&acme, 5, a).unwrap();
        assert_eq!(limits.login(a, now).unwrap_err(), OverLimit::Logins(1));
        assert_eq!(
            limits.session(&acme, 5, a).unwrap_err(),
            OverLimit::Sessions(1)
        );
        drop((login, session));
        assert!(nothing_is_taken(&limits));
    }
}

#[test]
fn the_limit_that_is_in_the_way_is_named_with_its_value() {
    let (a, b) = (client("203.0.113.9"), client("203.0.113.8"));
    let (acme, other, now) = (project("acme"), project("other"), Instant::now());
    let limits = limits(LimitsSpec {
        sessions: 4,
        sessions_per_source: 3,
        logins: 3,
        logins_per_source: 2,
        ..WIDE
    });
    let _logins = [limits.login(a, now).unwrap(), limits.login(a, now).unwrap()];
    assert_eq!(
        limits.login(a, now).unwrap_err(),
        OverLimit::LoginsOfSource(2)
    );
    let _third = limits.login(b, now).unwrap();
    assert_eq!(limits.login(b, now).unwrap_err(), OverLimit::Logins(3));

    let _of_acme = [
        limits.session(&acme, 2, a).unwrap(),
        limits.session(&acme, 2, a).unwrap(),
    ];
    assert_eq!(
        limits.session(&acme, 2, a).unwrap_err(),
        OverLimit::SessionsOfProject(2)
    );
    let _of_other = limits.session(&other, 2, a).unwrap();
    assert_eq!(
        limits.session(&other, 2, a).unwrap_err(),
        OverLimit::SessionsOfSource(3)
    );
    let _last = limits.session(&other, 2, b).unwrap();
    assert_eq!(
        limits.session(&other, 3, b).unwrap_err(),
        OverLimit::Sessions(4)
    );
}

#[test]
fn new_connections_of_a_source_come_in_a_burst_and_then_at_their_rate() {
    let limits = limits(LimitsSpec {
        connections_per_second_per_source: 50,
        connection_burst_per_source: 3,
        ..WIDE
    });
    let (a, b, now) = (client("203.0.113.9"), client("203.0.113.8"), Instant::now());
    let at = |client, millis| {
        limits
            .login(client, now + Duration::from_millis(millis))
            .map(drop)
    };
    for _ in 0..3 {
        assert_eq!(at(a, 0), Ok(()));
    }
    assert_eq!(at(a, 0), Err(OverLimit::Connections(50)));
    assert_eq!(at(b, 0), Ok(()));
    assert_eq!(at(a, 19), Err(OverLimit::Connections(50)));
    assert_eq!(at(a, 20), Ok(()));
    assert_eq!(at(a, 20), Err(OverLimit::Connections(50)));
    assert!(nothing_is_taken(&limits));
}

#[test]
fn a_connection_that_another_limit_refuses_spends_nothing_of_the_rate() {
    let limits = limits(LimitsSpec {
        logins_per_source: 1,
        connections_per_second_per_source: 1,
        connection_burst_per_source: 2,
        ..WIDE
    });
    let (a, now) = (client("203.0.113.9"), Instant::now());
    let first = limits.login(a, now).unwrap();
    for _ in 0..10 {
        assert_eq!(
            limits.login(a, now).unwrap_err(),
            OverLimit::LoginsOfSource(1)
        );
    }
    drop(first);
    drop(limits.login(a, now).unwrap());
    assert_eq!(limits.login(a, now).unwrap_err(), OverLimit::Connections(1));
}

#[test]
fn all_addresses_of_an_ipv6_64_share_every_limit() {
    let limits = limits(LimitsSpec {
        sessions_per_source: 1,
        logins_per_source: 1,
        cancels_per_second_per_source: 1,
        refusals_explained_per_minute_per_source: 1,
        ..WIDE
    });
    let (acme, now) = (project("acme"), Instant::now());
    let (one, two) = (client("2001:db8:0:1::1"), client("2001:db8:0:1:ff::2"));
    let next_door = client("2001:db8:0:2::1");
    let _login = limits.login(one, now).unwrap();
    assert_eq!(
        limits.login(two, now).unwrap_err(),
        OverLimit::LoginsOfSource(1)
    );
    let _session = limits.session(&acme, 9, one).unwrap();
    assert_eq!(
        limits.session(&acme, 9, two).unwrap_err(),
        OverLimit::SessionsOfSource(1)
    );
    assert_eq!(limits.cancel(one, now), Ok(()));
    assert_eq!(limits.cancel(two, now), Err(OverLimit::Cancels(1)));
    assert!(limits.explained(one, now));
    assert!(!limits.explained(two, now));

    let _login = limits.login(next_door, now).unwrap();
    let _session = limits.session(&acme, 9, next_door).unwrap();
    assert_eq!(limits.cancel(next_door, now), Ok(()));
    assert!(limits.explained(next_door, now));
}

/// T28: behind a load balancer, one port after another of one client is still one source.
#[test]
fn a_source_is_the_client_whatever_its_port() {
    let limits = limits(LimitsSpec {
        logins_per_source: 1,
        ..WIDE
    });
    let from = |port| ClientAddr::from(std::net::SocketAddr::from(([203, 0, 113, 9], port)));
    let _slot = limits.login(from(1), Instant::now()).unwrap();
    let refused = limits.login(from(2), Instant::now()).unwrap_err();
    assert_eq!(refused, OverLimit::LoginsOfSource(1));
}

#[test]
fn the_eleventh_refusal_in_a_minute_is_not_explained() {
    let limits = limits(WIDE);
    let (a, now) = (client("203.0.113.9"), Instant::now());
    let at = |seconds| limits.explained(a, now + Duration::from_secs(seconds));
    assert!((0..10).all(|_| at(0)));
    assert!(!at(0));
    assert!(!at(5));
    assert!(at(6));
    assert!(!at(6));
    assert!(limits.explained(client("203.0.113.8"), now));
}

#[test]
fn a_budget_of_none_never_explains() {
    let limits = limits(LimitsSpec {
        refusals_explained_per_minute_per_source: 0,
        ..WIDE
    });
    let now = Instant::now();
    for seconds in [0, 60, 3_600] {
        let later = now + Duration::from_secs(seconds);
        assert!(!limits.explained(client("203.0.113.9"), later));
    }
}

#[test]
fn cancel_requests_have_a_rate_of_their_own() {
    let limits = limits(WIDE);
    let (a, now) = (client("203.0.113.9"), Instant::now());
    for _ in 0..20 {
        assert_eq!(limits.cancel(a, now), Ok(()));
    }
    assert_eq!(limits.cancel(a, now), Err(OverLimit::Cancels(20)));
    assert_eq!(limits.cancel(a, now + Duration::from_millis(50)), Ok(()));
    assert!(limits.explained(a, now));
    drop(limits.login(a, now).unwrap());
}

#[test]
fn lower_limits_let_nobody_new_in_and_throw_nobody_out() {
    let limits = limits(WIDE);
    let (a, acme, now) = (client("203.0.113.9"), project("acme"), Instant::now());
    let mut sessions: Vec<_> = (0..5)
        .map(|_| limits.session(&acme, 9, a).unwrap())
        .collect();
    let mut logins: Vec<_> = (0..5).map(|_| limits.login(a, now).unwrap()).collect();
    limits.set(LimitsSpec {
        sessions: 3,
        logins: 3,
        ..WIDE
    });
    while sessions.len() >= 3 {
        assert_eq!(
            limits.session(&acme, 9, a).unwrap_err(),
            OverLimit::Sessions(3)
        );
        assert_eq!(limits.login(a, now).unwrap_err(), OverLimit::Logins(3));
        drop((sessions.pop(), logins.pop()));
    }
    sessions.push(limits.session(&acme, 9, a).unwrap());
    logins.push(limits.login(a, now).unwrap());
    limits.set(WIDE);
    sessions.push(limits.session(&acme, 9, a).unwrap());
    drop((sessions, logins));
    assert!(nothing_is_taken(&limits));
}

#[test]
fn new_rates_are_in_force_at_once() {
    let limits = limits(WIDE);
    let (a, now) = (client("203.0.113.9"), Instant::now());
    assert!((0..10).all(|_| limits.explained(a, now)));
    limits.set(LimitsSpec {
        cancels_per_second_per_source: 1,
        ..WIDE
    });
    assert!(!limits.explained(a, now), "this rate is as it was");
    assert_eq!(limits.cancel(a, now), Ok(()));
    assert_eq!(limits.cancel(a, now), Err(OverLimit::Cancels(1)));
    limits.set(LimitsSpec {
        refusals_explained_per_minute_per_source: 2,
        ..WIDE
    });
    assert!(limits.explained(a, now) && limits.explained(a, now));
    assert!(!limits.explained(a, now));
}

#[test]
fn sources_that_have_gone_leave_nothing_behind() {
    let limits = limits(WIDE);
    let (acme, now) = (project("acme"), Instant::now());
    for bits in 0..100_000 {
        let client = IpAddr::V4(Ipv4Addr::from_bits(bits)).into();
        let login = limits.login(client, now).unwrap();
        drop((limits.session(&acme, 1, client).unwrap(), login));
        assert_eq!(limits.cancel(client, now), Ok(()));
        assert!(limits.explained(client, now));
    }
    assert!(nothing_is_taken(&limits));
}

#[test]
fn threads_share_the_limits_without_going_over_or_leaking() {
    const THREADS: usize = 4;
    let limits = limits(LimitsSpec {
        sessions: 3,
        logins: 2,
        ..WIDE
    });
    let (barrier, live) = (Barrier::new(THREADS), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limits, barrier, live) = (&limits, &barrier, &live);
            scope.spawn(move || {
                let (a, acme) = (client(&format!("203.0.113.{thread}")), project("acme"));
                barrier.wait();
                for _ in 0..20_000 {
                    let login = limits.login(a, Instant::now());
                    let session = limits.session(&acme, 3, a);
                    if session.is_ok() {
                        assert!(live.fetch_add(1, Ordering::SeqCst) < 3);
                        live.fetch_sub(1, Ordering::SeqCst);
                    }
                    drop((session, login));
                }
            });
        }
    });
    assert!(nothing_is_taken(&limits));
}

#[test]
fn a_panic_under_a_slot_gives_it_back() {
    let limits = limits(WIDE);
    let theirs = Arc::clone(&limits);
    let thread = std::thread::spawn(move || {
        let _slot = theirs.login(client("203.0.113.9"), Instant::now()).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert!(nothing_is_taken(&limits));
}

/// T22: what follows `FATAL:  ` in the client's terminal.
#[test]
fn a_client_reads_which_limit_and_how_much_it_is() {
    for (over, text) in [
        (OverLimit::Sessions(9), "too many connections (at most 9)"),
        (
            OverLimit::SessionsOfProject(9),
            "too many connections to this project (at most 9)",
        ),
        (
            OverLimit::SessionsOfSource(9),
            "too many connections from your address (at most 9)",
        ),
        (
            OverLimit::Logins(9),
            "too many connections are logging in (at most 9 at a time)",
        ),
        (
            OverLimit::LoginsOfSource(9),
            "too many connections from your address are logging in (at most 9 at a time)",
        ),
        (
            OverLimit::Connections(9),
            "too many new connections from your address (at most 9 per second)",
        ),
        (
            OverLimit::Cancels(9),
            "too many cancel requests from your address (at most 9 per second)",
        ),
    ] {
        assert_eq!(over.to_string(), text);
    }
}

#[test]
fn printing_a_slot_does_not_wait_for_the_lock() {
    let limits = limits(WIDE);
    let slot = limits.login(client("203.0.113.9"), Instant::now()).unwrap();
    let held = limits.lock();
    assert!(format!("{slot:?}").contains("Limits { .. }"));
    drop(held);
}

#[test]
fn few_are_told_at_once_and_each_place_comes_back() {
    let limits = limits(WIDE);
    let now = Instant::now();
    let a = client("203.0.113.9");
    let told: Vec<_> = (0..9).map_while(|_| limits.telling(a, now)).collect();
    assert_eq!(told.len(), TELLING_PER_SOURCE as usize);
    // A flood from everywhere.
    let others = (0..u32::MAX).map(|n| ClientAddr::from(IpAddr::from(Ipv4Addr::from_bits(n))));
    let crowd: Vec<_> = others
        .map_while(|other| limits.telling(other, now))
        .collect();
    assert_eq!(crowd.len() + told.len(), TELLING as usize);
    drop((told, crowd));
    assert!(nothing_is_taken(&limits));
    // Nobody is told who has no explanation left.
    while limits.explained(a, now) {}
    assert!(limits.telling(a, now).is_none());
}
