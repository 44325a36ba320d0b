//! Which replica answers: the one with the fewest requests, or the client's own where a Service asks for affinity.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use shoal_runtime::{InFlight, Replica, Serving};

use super::shards::Shards;

/// A replica as one Service sees it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) replica: Arc<Replica>,
    /// Made of the uid of its pod: ranks replicas for a client, the same on every node.
    pub(crate) rank: u64,
}

/// Replicas that are compared for one request. Comparing more costs more than it evens out: with two
/// choices the fullest of n replicas has log log n requests more than the emptiest.
const COMPARED_MAX: usize = 8;

/// Where the next comparison begins, so that equals take turns. Each port of a Service has its own: of one that many
/// shared, a Service whose requests come in step with another's would always get the same turn. So has each thread, made
/// when it is needed: most Services have one replica and no turns.
#[derive(Debug, Default)]
pub(crate) struct Turn(OnceLock<Shards<AtomicUsize>>);

impl Place {
    pub(crate) fn new(uid: &str, replica: Arc<Replica>) -> Self {
        Self { replica, rank: hash(uid) }
    }
}

/// What serves at a replica of `places`, with the request counted there. `client`: for whom always the same one is
/// taken; `not`: one that has just failed.
pub(crate) fn choose(
    places: &[Place],
    turn: &Turn,
    client: Option<IpAddr>,
    not: Option<&Arc<Replica>>,
) -> Option<(InFlight, Serving)> {
    let serving = |place: &&Place| {
        place.replica.is_serving() && not.is_none_or(|not| !Arc::ptr_eq(not, &place.replica))
    };
    let chosen = match (places, client) {
        // Whether it serves is seen when the request begins there.
        ([only], _) => Some(only).filter(|only| not.is_none_or(|not| !Arc::ptr_eq(not, &only.replica))),
        (_, Some(client)) => places.iter().filter(serving).max_by_key(|place| hash((client, place.rank))),
        (_, None) => {
            // A second choice for one request takes no turn, or every second replica would come first each time.
            let (before, after) = places.split_at(turn.next(not.is_none(), places.len()));
            let in_turn = after.iter().chain(before).filter(serving).take(COMPARED_MAX);
            in_turn.min_by_key(|place| place.replica.in_flight())
        }
    };
    // One that went away since was not there.
    chosen?.replica.begin()
}

impl Turn {
    /// The index of the one of `count` that comes first now.
    fn next(&self, is_taken: bool, count: usize) -> usize {
        let turn = self.0.get_or_init(Shards::default).own();
        let now = if is_taken { turn.fetch_add(1, Relaxed) } else { turn.load(Relaxed) };
        now.checked_rem(count).unwrap_or(0)
    }
}

/// The same in every process of this version.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use shoal_runtime::Endpoints;
    use shoal_runtime::fake::always;

    use super::*;

    fn places(endpoints: &Endpoints, count: usize) -> Vec<Place> {
        let uids = (0..count).map(|index| format!("uid-{index}"));
        uids.map(|uid| {
            endpoints.insert(&uid, Arc::new(always("hello")));
            Place::new(&uid, endpoints.replica(&uid))
        })
        .collect()
    }

    fn chosen(places: &[Place], turn: &Turn, client: Option<IpAddr>) -> Option<usize> {
        let (in_flight, _) = choose(places, turn, client, None)?;
        places.iter().position(|place| Arc::ptr_eq(&place.replica, in_flight.replica()))
    }

    #[test]
    fn the_replica_with_the_fewest_requests_is_chosen_and_equals_take_turns() {
        let endpoints = Endpoints::default();
        let (places, turn) = (places(&endpoints, 3), Turn::default());
        let mut counts = [0; 3];
        (0..30).for_each(|_| counts[chosen(&places, &turn, None).expect("one serves")] += 1);
        assert_eq!(counts, [10, 10, 10]);
        let _busy = [places[0].replica.enter(), places[2].replica.enter()];
        assert!((0..9).all(|_| chosen(&places, &turn, None) == Some(1)));
    }

    #[test]
    fn services_whose_requests_come_in_step_have_turns_of_their_own() {
        let endpoints = Endpoints::default();
        let services = [(); 2].map(|()| (places(&endpoints, 2), Turn::default()));
        let mut counts = [[0; 2]; 2];
        for _ in 0..10 {
            for ((places, turn), counts) in services.iter().zip(&mut counts) {
                counts[chosen(places, turn, None).expect("one serves")] += 1;
            }
        }
        assert_eq!(counts, [[5, 5], [5, 5]]);
    }

    #[test]
    fn a_request_is_counted_before_it_is_known_what_serves() {
        let endpoints = Endpoints::default();
        let places = places(&endpoints, 1);
        let (in_flight, _invoke) = choose(&places, &Turn::default(), None, None).expect("one serves");
        let removed = endpoints.remove("uid-0").expect("it was there");
        assert_eq!(
            removed.in_flight(),
            1,
            "whoever takes it away waits for this request, which has not been sent yet"
        );
        drop(in_flight);
        assert_eq!(removed.in_flight(), 0);
    }

    #[test]
    fn as_many_are_compared_as_the_limit() {
        let endpoints = Endpoints::default();
        let places = places(&endpoints, COMPARED_MAX + 1);
        let _busy: Vec<_> = places.iter().skip(1).map(|place| place.replica.enter()).collect();
        let turn = Turn::default();
        let found = (0..=COMPARED_MAX).filter(|_| chosen(&places, &turn, None) == Some(0)).count();
        assert_eq!(found, COMPARED_MAX, "all but the comparison that begins just after it");
    }

    #[test]
    fn only_what_serves_is_chosen_and_not_what_has_failed() {
        let (endpoints, turn) = (Endpoints::default(), Turn::default());
        assert_eq!(chosen(&[], &turn, None), None);
        let two = places(&endpoints, 2);
        endpoints.remove("uid-0");
        assert!((0..4).all(|_| chosen(&two, &turn, None) == Some(1)));
        assert!(choose(&two, &turn, None, Some(&two[1].replica)).is_none());
        endpoints.remove("uid-1");
        assert_eq!(chosen(&two, &turn, None), None);
        assert_eq!(chosen(&two[..1], &turn, None), None);
    }

    #[test]
    fn a_client_stays_with_its_replica_while_that_serves() {
        let endpoints = Endpoints::default();
        let (places, turn) = (places(&endpoints, 4), Turn::default());
        let clients = (1..=64).map(|last| IpAddr::from([10, 0, 0, last]));
        let own: HashMap<IpAddr, usize> =
            clients.map(|client| (client, chosen(&places, &turn, Some(client)).expect("one"))).collect();
        for index in 0..4 {
            assert!(own.values().filter(|chosen| **chosen == index).count() > 4, "they are spread");
        }
        endpoints.remove("uid-2");
        for (client, before) in own {
            let now = chosen(&places, &turn, Some(client)).expect("one");
            assert!(now == before || before == 2, "only those of the lost one move");
        }
    }
}
