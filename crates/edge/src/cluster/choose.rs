//! Which replica answers: the one with the fewest requests, or the client's own where a Service asks for affinity.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use shoal_runtime::{Invoke, Replica};

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

thread_local! {
    /// Where the next comparison begins, so that equals take turns.
    static TURN: Cell<usize> = const { Cell::new(0) };
}

impl Place {
    pub(crate) fn new(uid: &str, replica: Arc<Replica>) -> Self {
        Self { replica, rank: hash(uid) }
    }
}

/// A replica of `places` that serves, and what serves there. `client`: for whom always the same one is taken;
/// `not`: one that has just failed.
pub(crate) fn choose<'a>(
    places: &'a [Place],
    client: Option<IpAddr>,
    not: Option<&Arc<Replica>>,
) -> Option<(&'a Arc<Replica>, Arc<dyn Invoke>)> {
    let serving = |place: &&Place| {
        place.replica.is_serving() && not.is_none_or(|not| !Arc::ptr_eq(not, &place.replica))
    };
    let chosen = match (places, client) {
        ([only], _) => Some(only).filter(serving),
        (_, Some(client)) => places.iter().filter(serving).max_by_key(|place| hash((client, place.rank))),
        (_, None) => {
            // A second choice for one request takes no turn, or every second replica would come first each time.
            let turns = usize::from(not.is_none());
            let turn = TURN.with(|turn| turn.replace(turn.get().wrapping_add(turns)));
            let (before, after) = places.split_at(turn.checked_rem(places.len()).unwrap_or(0));
            let in_turn = after.iter().chain(before).filter(serving).take(COMPARED_MAX);
            in_turn.min_by_key(|place| place.replica.in_flight())
        }
    };
    let replica = &chosen?.replica;
    // One that went away since was not there.
    replica.invoke().map(|invoke| (replica, invoke))
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

    fn chosen(places: &[Place], client: Option<IpAddr>) -> Option<usize> {
        let (replica, _) = choose(places, client, None)?;
        places.iter().position(|place| Arc::ptr_eq(&place.replica, replica))
    }

    #[test]
    fn the_replica_with_the_fewest_requests_is_chosen_and_equals_take_turns() {
        let endpoints = Endpoints::default();
        let places = places(&endpoints, 3);
        let mut counts = [0; 3];
        (0..30).for_each(|_| counts[chosen(&places, None).expect("one serves")] += 1);
        assert_eq!(counts, [10, 10, 10]);
        let _busy = [places[0].replica.enter(), places[2].replica.enter()];
        assert!((0..9).all(|_| chosen(&places, None) == Some(1)));
    }

    #[test]
    fn as_many_are_compared_as_the_limit() {
        let endpoints = Endpoints::default();
        let places = places(&endpoints, COMPARED_MAX + 1);
        let _busy: Vec<_> = places.iter().skip(1).map(|place| place.replica.enter()).collect();
        let found = (0..=COMPARED_MAX).filter(|_| chosen(&places, None) == Some(0)).count();
        assert_eq!(found, COMPARED_MAX, "all but the comparison that begins just after it");
    }

    #[test]
    fn only_what_serves_is_chosen_and_not_what_has_failed() {
        let endpoints = Endpoints::default();
        assert_eq!(chosen(&[], None), None);
        let two = places(&endpoints, 2);
        endpoints.remove("uid-0");
        assert!((0..4).all(|_| chosen(&two, None) == Some(1)));
        assert!(choose(&two, None, Some(&two[1].replica)).is_none());
        endpoints.remove("uid-1");
        assert_eq!(chosen(&two, None), None);
        assert_eq!(chosen(&two[..1], None), None);
    }

    #[test]
    fn a_client_stays_with_its_replica_while_that_serves() {
        let endpoints = Endpoints::default();
        let places = places(&endpoints, 4);
        let clients = (1..=64).map(|last| IpAddr::from([10, 0, 0, last]));
        let own: HashMap<IpAddr, usize> =
            clients.map(|client| (client, chosen(&places, Some(client)).expect("one"))).collect();
        for index in 0..4 {
            assert!(own.values().filter(|chosen| **chosen == index).count() > 4, "they are spread");
        }
        endpoints.remove("uid-2");
        for (client, before) in own {
            let now = chosen(&places, Some(client)).expect("one");
            assert!(now == before || before == 2, "only those of the lost one move");
        }
    }
}
