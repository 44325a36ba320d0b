//! How many Events there may be, beside the hour that each of them lasts: when there are more, the oldest go, of those
//! namespaces first that have most. So a flood of one tenant pushes out its own.
//!
//! Old is what was not told for the longest time: an event that is counted again is new.

use crate::known::{EVENT, NAMESPACE};
use crate::plan::{Controller, Glance, Interest, Key, Plan, Write};
use crate::snapshot::{Sighting, Snapshot};
use shoal_api::GroupVersionKind;
use shoal_api::time::Moment;

/// Events that a cluster may have at least: some 20 MiB of memory and as much of disk, and what 1,000 Apps tell when
/// all of them are deployed.
pub const EVENTS_MAX: usize = 10_000;

/// Where there are so many namespaces that this is more than [`EVENTS_MAX`]: Events for each of them. A Deployment of
/// one pod tells seven.
pub const EVENTS_OF_NAMESPACE: usize = 10;

/// Events that go at once when there are too many, so that not each new one costs a look at all of them.
pub const EVENTS_PER_PLAN: usize = 1000;

/// Deletes the oldest Events when there are too many.
pub struct EventCleaning;

impl Controller for EventCleaning {
    fn name(&self) -> &'static str {
        "event-cleaner-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::of(&EVENT, |_, _, _| vec![all()]).when(concerns)]
    }

    fn plan(&self, world: &dyn Snapshot, _: &Key, now: Moment) -> Plan {
        let excess = world.count(&EVENT).saturating_sub(most(world));
        if excess == 0 {
            return Plan::default();
        }
        let mut plan = Plan::default();
        for gone in oldest(world.sightings(&EVENT), EVENTS_PER_PLAN) {
            let event = world.get(&EVENT, &gone.namespace, &gone.name);
            plan.writes.extend(event.map(|event| Write::delete_unchanged(&EVENT, &event, None)));
        }
        if excess > EVENTS_PER_PLAN {
            plan.requeue(now);
        }
        plan
    }
}

/// The key of all events.
fn all() -> Key {
    Key::new(&EVENT, "", "")
}

/// Whether there are too many now. Most of the time there are not, and then no event is looked at.
fn concerns(world: &dyn Snapshot, _: &GroupVersionKind, event: &Glance<'_>) -> bool {
    event.is_there && world.count(&EVENT) > most(world)
}

/// How many there may be.
fn most(world: &dyn Snapshot) -> usize {
    EVENTS_MAX.max(EVENTS_OF_NAMESPACE * world.count(&NAMESPACE))
}

/// So many of them, or all, of the namespaces that have most: each keeps its newest, as many as any other.
fn oldest(mut all: Vec<Sighting>, wanted: usize) -> Vec<Sighting> {
    // Of each namespace the newest first.
    all.sort_unstable_by(|one, other| {
        one.namespace.cmp(&other.namespace).then(other.version.cmp(&one.version))
    });
    let namespaces: Vec<&[Sighting]> = all.chunk_by(|one, next| one.namespace == next.namespace).collect();
    let sizes: Vec<usize> = namespaces.iter().map(|events| events.len()).collect();
    let kept = level(&sizes, wanted);
    let mut rest: Vec<Sighting> =
        namespaces.iter().flat_map(|events| events.iter().skip(kept)).cloned().collect();
    rest.sort_unstable_by_key(|one| one.version);
    rest.truncate(wanted);
    rest
}

/// The most that each namespace can keep so that `wanted` go, or all.
fn level(sizes: &[usize], wanted: usize) -> usize {
    let gone = |level: usize| -> usize { sizes.iter().map(|size| size.saturating_sub(level)).sum() };
    let (mut fits, mut fails) = (0, sizes.iter().max().map_or(0, |most| most + 1));
    while fails - fits > 1 {
        let middle = fits.midpoint(fails);
        if gone(middle) >= wanted { fits = middle } else { fails = middle }
    }
    fits
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::world::World;

    /// `a:5 b:2` are events of two namespaces, told in turn as they stand there.
    fn check(events: &str, wanted: usize, expected: &Expect) {
        let (mut all, mut version) = (Vec::new(), 0);
        for part in events.split(' ') {
            let (namespace, count) = part.split_once(':').expect("a namespace and a number");
            for _ in 0..count.parse().expect("a number") {
                version += 1;
                let (namespace, name) = (namespace.to_owned(), format!("e{version}"));
                all.push(Sighting { namespace, name, version });
            }
        }
        let gone = oldest(all, wanted);
        let shown: Vec<String> = gone.iter().map(|one| format!("{}/{}", one.namespace, one.name)).collect();
        expected.assert_eq(&shown.join(" "));
    }

    #[test]
    fn the_oldest_of_those_with_most_go() {
        check("a:5", 2, &expect!["a/e1 a/e2"]);
        // Who has few keeps them, however old they are.
        check("quiet:2 flood:6", 4, &expect!["flood/e3 flood/e4 flood/e5 flood/e6"]);
        // Those with as many lose as many: of the last round the oldest.
        check("quiet:1 a:4 b:4", 4, &expect!["a/e2 a/e3 b/e6 b/e7"]);
        check("quiet:1 a:4 b:4", 3, &expect!["a/e2 a/e3 b/e6"]);
        check("flood:2 quiet:1 flood:3", 3, &expect!["flood/e1 flood/e2 flood/e4"]);
        check("a:1 b:1 c:1", 2, &expect!["a/e1 b/e2"]);
        check("a:2", 9, &expect!["a/e1 a/e2"]);
    }

    fn told(world: &mut World, namespace: &str, count: usize) {
        let first = world.count(&EVENT);
        for at in first..first + count {
            world.apply(json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {},
                "metadata": {"namespace": namespace, "name": format!("e{at:05}"), "uid": format!("e{at}")}}));
        }
    }

    fn gone(world: &World) -> Vec<Key> {
        let plan = EventCleaning.plan(world, &all(), world.now());
        let deleted = |write: Write| match write {
            Write::Delete { key, .. } => key,
            other => panic!("{other:?}"),
        };
        plan.writes.into_iter().map(deleted).collect()
    }

    fn woken(world: &World) -> bool {
        let glance = Glance { namespace: "n", name: "e", is_there: true, text: b"{}" };
        let gone = Glance { is_there: false, ..glance };
        assert!(!concerns(world, &EVENT, &gone), "one event less is nobody's concern");
        concerns(world, &EVENT, &glance)
    }

    #[test]
    fn there_may_be_as_many_events_as_the_limit() {
        let mut world = World::new(Vec::new());
        told(&mut world, "quiet", 50);
        told(&mut world, "flood", EVENTS_MAX - 50);
        assert_eq!((woken(&world), gone(&world).len()), (false, 0));
        told(&mut world, "quiet", 1);
        let keys = gone(&world);
        assert_eq!((woken(&world), keys.len()), (true, EVENTS_PER_PLAN));
        assert!(keys.iter().all(|key| key.namespace == "flood"));
        assert_eq!((keys[0].name.as_str(), keys[EVENTS_PER_PLAN - 1].name.as_str()), ("e00050", "e01049"));
    }

    #[test]
    fn each_namespace_has_room_for_its_own() {
        let mut world = World::new(Vec::new());
        let namespaces = EVENTS_MAX / EVENTS_OF_NAMESPACE + 1;
        for at in 0..namespaces {
            world.apply(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{at}")}}),
            );
            told(&mut world, &format!("n{at}"), EVENTS_OF_NAMESPACE);
        }
        assert!(!woken(&world), "{} are allowed", namespaces * EVENTS_OF_NAMESPACE);
        told(&mut world, "n7", 1);
        let keys = gone(&world);
        assert_eq!((woken(&world), keys.len()), (true, EVENTS_PER_PLAN));
        for at in 0..namespaces {
            let lost = keys.iter().filter(|key| key.namespace == format!("n{at}")).count();
            assert!(lost <= if at == 7 { 2 } else { 1 }, "n{at} lost {lost}");
        }
    }
}
