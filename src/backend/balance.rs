//! Which address is tried first.

use std::sync::Arc;

use tokio::time::Instant;

use super::Endpoint;
use super::standing::random;

/// Which of a backend's addresses a session goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    /// The first that will have it, in the order of writing.
    Order,
    /// Any, each as likely as the others.
    Random,
    /// The one with the fewest sessions through this process; any of those that have equally few.
    LeastSessions,
}

/// See [`super::Backend::candidates`].
pub(super) fn candidates(
    endpoints: &[Arc<Endpoint>],
    balance: Balance,
    now: Instant,
) -> Vec<Arc<Endpoint>> {
    let mut good = Vec::with_capacity(endpoints.len());
    let mut aside: Option<((bool, Instant), &Arc<Endpoint>)> = None;
    for endpoint in endpoints {
        match endpoint.standing.set_aside(now) {
            None => good.push(Arc::clone(endpoint)),
            Some(failed) => {
                // One that nobody is trying is worth more than one that has waited longer.
                let rank = (endpoint.standing.is_probed(), failed);
                if aside.is_none_or(|(first, _)| rank < first) {
                    aside = Some((rank, endpoint));
                }
            }
        }
    }
    match balance {
        Balance::Order => {}
        Balance::Random => shuffle(&mut good),
        Balance::LeastSessions => {
            shuffle(&mut good);
            good.sort_by_cached_key(|endpoint| endpoint.live());
        }
    }
    good.extend(aside.map(|(_, endpoint)| Arc::clone(endpoint)));
    good
}

/// Fisher and Yates's.
fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        // The bias of a remainder is one in a thousand million for as few as these.
        items.swap(last, random() as usize % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::backend::{BackendTls, Dialling, NameCaching};
    use crate::relay::TcpTuning;

    fn endpoints(count: usize) -> Vec<Arc<Endpoint>> {
        let dialling = Dialling {
            tls: BackendTls::disable(),
            connect_timeout: Duration::from_secs(1),
            names: NameCaching::default(),
            tcp: TcpTuning::default(),
        };
        let make = |number| {
            let addr = format!("postgres://10.0.0.{number}").parse().unwrap();
            Arc::new(Endpoint::new(addr, &dialling).unwrap())
        };
        (1..=count).map(make).collect()
    }

    fn shown(candidates: &[Arc<Endpoint>]) -> Vec<String> {
        let show = |endpoint: &Arc<Endpoint>| {
            let addr = endpoint.addr().to_string();
            addr["postgres://10.0.0.".len()..].replace(":5432", "")
        };
        candidates.iter().map(show).collect()
    }

    #[test]
    fn an_address_in_good_standing_comes_before_one_set_aside_and_of_those_only_the_oldest() {
        let all = endpoints(4);
        let now = Instant::now();
        let order = |now| shown(&candidates(&all, Balance::Order, now));
        assert_eq!(order(now), ["1", "2", "3", "4"]);
        all[0].standing.failed(now, now);
        assert_eq!(order(now), ["2", "3", "4", "1"]);
        let later = now + Duration::from_millis(1);
        all[2].standing.failed(later, later);
        assert_eq!(order(later), ["2", "4", "1"]);
        for number in [1, 3] {
            all[number].standing.failed(later, later);
        }
        assert_eq!(order(later), ["1"], "all are set aside");
        assert_eq!(order(later + Duration::from_secs(60)), ["1", "2", "3", "4"]);
        all[1].standing.succeeded();
        assert_eq!(order(later), ["2", "1"]);
    }

    #[test]
    fn by_random_each_address_has_its_turn_as_the_first() {
        let all = endpoints(3);
        let firsts: HashSet<_> = (0..500)
            .map(|_| {
                candidates(&all, Balance::Random, Instant::now())[0]
                    .addr()
                    .to_string()
            })
            .collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn the_address_with_the_fewest_sessions_is_first_until_it_has_no_fewer() {
        let all = endpoints(3);
        let busy: Vec<_> = [0, 0, 1].map(|number: usize| all[number].enter()).into();
        let order = || shown(&candidates(&all, Balance::LeastSessions, Instant::now()));
        assert_eq!(order(), ["3", "2", "1"]);
        drop(busy);
        let firsts: HashSet<_> = (0..500).map(|_| order()[0].clone()).collect();
        assert_eq!(firsts.len(), 3, "equals take turns");
    }
}
