//! The writes of a plan on their way: each is a task of its own, so many at the same time, in the order of the plan
//! where they need each other.

use std::panic::resume_unwind;
use std::sync::Arc;

use shoal_api::Status;
use shoal_control::plan::{Event, Group, WRITES_AT_ONCE, Write};
use tokio::task::{JoinError, JoinSet};

use super::Hands;

/// Writes that are under way.
struct Flight<'h> {
    hands: &'h Hands,
    under_way: JoinSet<Landed>,
    /// The first failure of a write that holds up what comes after it.
    held_up: Result<(), Status>,
    /// The first failure of another.
    failed: Result<(), Status>,
}

/// How a write ended.
struct Landed {
    done: Result<String, Status>,
    told: Vec<Event>,
    holds_up: bool,
}

/// Carries out writes, one group after the other, [`WRITES_AT_ONCE`] of them at the same time at most, and tells of those
/// that are done. A group does not wait for the one before it where its writes need nothing of that: a plan of many
/// alike is one stream.
///
/// # Errors
/// The first failure; those that hold nothing up count after those that do. Once one that holds up has failed, no more
/// are begun.
pub(super) async fn write(hands: &Hands, groups: Vec<Group>) -> Result<(), Status> {
    let mut flight = Flight { hands, under_way: JoinSet::new(), held_up: Ok(()), failed: Ok(()) };
    let goes_on: Vec<bool> = groups.windows(2).map(|pair| goes_on(&pair[0], &pair[1])).collect();
    for (at, group) in groups.into_iter().enumerate() {
        if at > 0 && !goes_on[at - 1] {
            flight.land_all().await;
        }
        let holds_up = group.holds_up();
        for (write, told) in group.writes.into_iter().zip(group.told) {
            flight.make_room().await;
            if flight.held_up.is_err() {
                break;
            }
            flight.begin(write, told, holds_up);
        }
    }
    flight.land_all().await;
    flight.held_up.and(flight.failed)
}

/// Whether the writes of a group need nothing of the group before it.
fn goes_on(before: &Group, group: &Group) -> bool {
    before.writes.last().zip(group.writes.first()).is_some_and(|(last, first)| last.goes_with(first))
}

impl Flight<'_> {
    fn begin(&mut self, write: Write, told: Vec<Event>, holds_up: bool) {
        let writer = Arc::clone(&self.hands.writer);
        self.under_way.spawn(async move { Landed { done: writer.write(write).await, told, holds_up } });
    }

    async fn make_room(&mut self) {
        while let Some(landed) = self.under_way.try_join_next() {
            self.landed(landed);
        }
        while self.under_way.len() >= WRITES_AT_ONCE
            && let Some(landed) = self.under_way.join_next().await
        {
            self.landed(landed);
        }
    }

    async fn land_all(&mut self) {
        while let Some(landed) = self.under_way.join_next().await {
            self.landed(landed);
        }
    }

    /// Tells of what is done, and remembers what is not.
    fn landed(&mut self, landed: Result<Landed, JoinError>) {
        let Landed { done, told, holds_up } = match landed {
            Ok(landed) => landed,
            // A panic is that of the plan, wherever it came up.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(cancelled) => {
                    Landed { done: Err(Status::internal(cancelled)), told: Vec::new(), holds_up: true }
                }
            },
        };
        let first = if holds_up { &mut self.held_up } else { &mut self.failed };
        match done {
            Ok(name) => told.into_iter().for_each(|event| self.hands.tell(event.named(&name))),
            Err(status) if first.is_ok() => *first = Err(status),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shoal_base::drain::{Drain, Drained};
    use shoal_control::known::{CONFIG_MAP, SECRET};
    use shoal_control::plan::Plan;
    use shoal_control::snapshot::Snapshot as _;
    use tokio::sync::mpsc;

    use super::super::tests::{SOON, map, server};
    use super::super::{Executor, catch_up};
    use super::*;

    fn event(name: &str) -> Event {
        let about = json!({"metadata": {"name": name, "namespace": "default"}});
        Event::normal(&CONFIG_MAP, &about, "Made", "{name} is made".into())
    }

    fn secret(name: &str) -> Write {
        Write::create(&SECRET, json!({"metadata": {"name": name, "namespace": "default"}}))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_plan_is_written_in_its_order_where_writes_need_each_other() {
        let (dir, drain) = (tempfile::tempdir().expect("a directory"), Drain::new());
        let running = server(&dir, &drain).await;
        let api = running.api.clone();
        let (events, mut told) = mpsc::channel(1000);
        let hands =
            Hands { api: api.clone(), writer: Arc::new(Executor::new(api.clone(), "test", "test")), events };
        let names = |of: &shoal_api::GroupVersionKind| -> Vec<String> {
            let objects = api.world.view().list(of, Some("default"));
            objects.iter().map(|object| shoal_api::object::name(object).to_owned()).collect()
        };

        // More than are under way at the same time, and all of them deleted after the last is made.
        let count = 2 * WRITES_AT_ONCE + 1;
        let mut plan = Plan::default();
        for at in 0..count {
            plan.write_and_tell(map(&format!("m{at}")), event(&format!("m{at}")));
        }
        write(&hands, plan.into_groups()).await.expect("all are made");
        catch_up(&api).await;
        assert_eq!(names(&CONFIG_MAP).len(), count);
        for at in 0..count {
            let told = told.try_recv().expect("each is told of").event;
            assert!(told.message.ends_with(" is made"), "{at}: {}", told.message);
        }
        let all = api.world.view().list(&CONFIG_MAP, Some("default"));
        let mut writes: Vec<Write> = all.iter().map(|map| Write::delete(&CONFIG_MAP, map, None)).collect();
        // They can be made anew only when they have gone.
        writes.extend((0..count).map(|at| map(&format!("m{at}"))));
        write(&hands, Plan { writes, ..Plan::default() }.into_groups()).await.expect("one after the other");

        // What fails holds up what comes after its neighbours, and those are told of.
        let mut plan = Plan::default();
        plan.write_and_tell(map("Not a name"), event("bad"));
        plan.write_and_tell(map("good"), event("good"));
        plan.write_and_tell(secret("never"), event("never"));
        let failure = write(&hands, plan.into_groups()).await.expect_err("a name that cannot be");
        assert_eq!(failure.reason, "Invalid");
        catch_up(&api).await;
        assert!(names(&CONFIG_MAP).contains(&"good".to_owned()));
        assert!(!names(&SECRET).contains(&"never".to_owned()));
        assert_eq!(told.try_recv().expect("of the neighbour").event.message, "good is made");
        assert!(told.try_recv().is_err(), "of nothing else");
        assert_eq!(drain.finish(SOON).await, Drained::Clean);
        running.ended().await;
    }
}
