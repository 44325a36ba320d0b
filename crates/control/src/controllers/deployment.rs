//! Deployments: ReplicaSets of one template after the other, so that enough pods serve at any time.
//!
//! Each plan goes one step, from the statuses of the ReplicaSets; what they come to wakes it again. The steps, the
//! arithmetic and the words are those of Kubernetes 1.32.

mod scale;
mod sets;
mod status;
mod template;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{Status, object};

use self::scale::{surge_max, unavailable_max};
use self::sets::{Set, Sets};
use super::pods::{self, number};
use crate::known::{DEPLOYMENT, POD, REPLICA_SET};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, controller_of, is_deleted, text};

pub use template::hash;

/// Keeps the ReplicaSets of Deployments.
pub struct Deployments;

/// One step of a Deployment: what it has, and what is to be written.
struct Step<'w> {
    world: &'w dyn Snapshot,
    now: Moment,
    /// As it is stored.
    stored: &'w Value,
    /// As it shall be; only its status and annotations change.
    deployment: Value,
    sets: Sets,
    plan: Plan,
}

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![
            Interest::own(&DEPLOYMENT),
            Interest::of(&REPLICA_SET, |world, _, set| pods::managers(world, &DEPLOYMENT, set)),
            Interest::of(&POD, |world, _, pod| recreated_by(world, pod)),
        ]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(deployment) = world.get(&DEPLOYMENT, &key.namespace, &key.name) else {
            return Plan::default();
        };
        let claimed = pods::claim(world, (&DEPLOYMENT, &deployment), &REPLICA_SET, None, |_| true);
        let mut step = Step {
            world,
            now,
            stored: &deployment,
            deployment: Value::clone(&deployment),
            sets: Sets::of(&deployment, claimed.objects),
            plan: Plan { writes: claimed.writes, ..Plan::default() },
        };
        step.run();
        step.finish()
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, now: Moment, failures: &[Status]) -> Plan {
        let (Some(deployment), Some(failure)) =
            (world.get(&DEPLOYMENT, &key.namespace, &key.name), failures.first())
        else {
            return Plan::default();
        };
        let name = template::set_name(&deployment);
        if world.get(&REPLICA_SET, &key.namespace, &name).is_some() {
            return Plan::default();
        }
        let message = format!("Failed to create new replica set {name:?}: {}", failure.message);
        let mut new = Value::clone(&deployment);
        status::progressing(&mut new["status"], "False", "ReplicaSetCreateError", &message, now);
        let mut plan = Plan::default();
        plan.events.push(Event::warning(&DEPLOYMENT, &deployment, "ReplicaSetCreateError", message));
        if new["status"] != deployment["status"] {
            plan.writes.push(Write::status(&DEPLOYMENT, new));
        }
        plan
    }
}

impl Step<'_> {
    fn run(&mut self) {
        if crate::words::selector(&self.deployment["spec"]["selector"]).is_everything() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.plan.events.push(Event::warning(&DEPLOYMENT, self.stored, "SelectingAll", message.into()));
            self.deployment["status"]["observedGeneration"] =
                self.deployment["metadata"]["generation"].clone();
            return;
        }
        if is_deleted(self.stored) {
            self.count();
            return;
        }
        status::note_pause(&mut self.deployment, self.now);
        let paused = self.deployment["spec"]["paused"] == true;
        if paused || self.is_scaled() {
            self.adopt_newest(false);
            self.scale_in_proportion();
            if paused {
                self.forget_old();
            }
            self.count();
            return;
        }
        if self.deployment["spec"]["strategy"]["type"] == "Recreate" {
            self.recreate();
        } else {
            self.roll();
        }
        if status::is_complete(&self.deployment, &self.deployment["status"]) {
            self.forget_old();
        }
        status::roll_out(self);
    }

    /// Whether the wanted number has changed since the sets were last scaled.
    fn is_scaled(&self) -> bool {
        let wanted = self.replicas();
        self.sets
            .all()
            .any(|set| set.replicas() > 0 && set.wanted_before().is_some_and(|before| before != wanted))
    }

    /// One step of a rolling update: first up, then down.
    fn roll(&mut self) {
        self.adopt_newest(true);
        if self.scale_up_newest() {
            return;
        }
        self.scale_down_old();
    }

    /// One step of an update that stops everything old before it starts anything new.
    fn recreate(&mut self) {
        self.adopt_newest(false);
        let mut stopped = false;
        for at in 0..self.sets.old.len() {
            if self.sets.old[at].replicas() > 0 {
                self.resize_old(at, 0);
                stopped = true;
            }
        }
        if stopped || self.old_pods_run() {
            return;
        }
        self.adopt_newest(true);
        let wanted = self.replicas();
        if self.sets.new.as_ref().is_some_and(|new| !new.is_fresh && new.replicas() != wanted) {
            self.resize_newest(wanted);
        }
    }

    fn old_pods_run(&self) -> bool {
        // One that has not seen that it wants none may be about to make some.
        let counted = self.sets.old.iter().any(|set| set.status_replicas() > 0 || !set.has_seen());
        let runs = |set: &Set| {
            let pods = self.world.owned_of(object::uid(&set.object), &POD);
            pods.iter().any(|pod| !pods::has_ended(pod))
        };
        counted || self.sets.old.iter().any(runs)
    }

    /// Brings the newest set up to date, or makes it, and notes its revision.
    fn adopt_newest(&mut self, make: bool) {
        let revision = self.sets.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        if let Some(new) = &mut self.sets.new {
            new.annotate(&self.deployment, revision, !new.is_fresh);
            let patience = number(&self.deployment["spec"]["minReadySeconds"]);
            if number(&new.object["spec"]["minReadySeconds"]) != patience {
                new.object["spec"]["minReadySeconds"] = json!(patience);
            }
            let (revision, name) = (new.revision(), new.name().to_owned());
            status::note_revision(&mut self.deployment, revision);
            status::note_found(&mut self.deployment, &name, self.now);
            return;
        }
        if make {
            self.make_newest(revision);
        }
    }

    fn make_newest(&mut self, revision: i64) {
        let name = template::set_name(&self.deployment);
        let namespace = object::namespace(self.stored);
        if self.world.get(&REPLICA_SET, namespace, &name).is_some() {
            // Another template has this hash, or somebody else this name: the next one will be salted.
            let collisions = number(&self.deployment["status"]["collisionCount"]) + 1;
            self.deployment["status"]["collisionCount"] = json!(collisions);
            self.plan.requeue(self.now);
            return;
        }
        let mut set = Set::new(template::set_for(&self.deployment, &name));
        let replicas = self.sets.room_for_newest(&self.deployment, 0);
        set.object["spec"]["replicas"] = json!(replicas);
        set.annotate(&self.deployment, revision, false);
        set.note_sizes(self.replicas(), self.replicas() + surge_max(&self.deployment));
        if replicas > 0 {
            self.tell_scaled("up", &name, 0, replicas);
        }
        status::note_revision(&mut self.deployment, revision);
        if status::has_deadline(&self.deployment) {
            let message = format!("Created new replica set {name:?}");
            let status = &mut self.deployment["status"];
            status::progressing(status, "True", "NewReplicaSetCreated", &message, self.now);
        }
        self.sets.new = Some(set);
    }

    /// Old sets that nobody needs for going back.
    fn forget_old(&mut self) {
        let Some(limit) = self.deployment["spec"]["revisionHistoryLimit"].as_i64() else { return };
        let limit = usize::try_from(limit).unwrap_or_default();
        let mut old: Vec<&Set> = self.sets.old.iter().filter(|set| !is_deleted(&set.object)).collect();
        let excess = old.len().saturating_sub(limit);
        old.sort_by_key(|set| (set.revision(), set.created()));
        let idle = old.into_iter().take(excess).filter(|set| set.is_idle());
        let writes: Vec<Write> = idle.map(|set| Write::delete(&REPLICA_SET, &set.object, None)).collect();
        self.plan.writes.extend(writes);
    }

    /// Counts what there is, without judging how the rollout goes.
    fn count(&mut self) {
        self.deployment["status"] = status::counted(&self.deployment, &self.sets, self.now);
    }

    fn replicas(&self) -> i64 {
        number(&self.deployment["spec"]["replicas"])
    }

    fn tell_scaled(&mut self, way: &str, set: &str, from: i64, to: i64) {
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        self.plan.events.push(Event::normal(&DEPLOYMENT, self.stored, "ScalingReplicaSet", message));
    }

    /// All that changed: sets first, then the status that tells of them.
    fn finish(mut self) -> Plan {
        let changed = self.sets.all().filter_map(Set::write);
        let writes: Vec<Write> = changed.collect();
        self.plan.writes.extend(writes);
        if self.deployment["status"] != self.stored["status"]
            || self.deployment["metadata"]["annotations"] != self.stored["metadata"]["annotations"]
        {
            self.plan.writes.push(Write::status(&DEPLOYMENT, self.deployment));
        }
        self.plan
    }
}

/// The Deployment of a pod, where it waits for its pods to go.
fn recreated_by(world: &dyn Snapshot, pod: &Value) -> Vec<Key> {
    let namespace = object::namespace(pod);
    let set = controller_of(pod).filter(|owner| owner["kind"] == "ReplicaSet");
    let Some(set) = set.and_then(|set| world.get(&REPLICA_SET, namespace, text(&set["name"]))) else {
        return Vec::new();
    };
    let mut keys = pods::managers(world, &DEPLOYMENT, &set);
    keys.retain(|key| {
        world
            .get(&DEPLOYMENT, namespace, &key.name)
            .is_some_and(|deployment| deployment["spec"]["strategy"]["type"] == "Recreate")
    });
    keys
}
