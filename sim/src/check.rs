//! What holds in every step, and what holds when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use shoal_api::object;
use shoal_api::quantity::Quantity;
use shoal_api::time::Moment;
use shoal_control::controllers::pods::{has_ended, is_ready};
use shoal_control::known::{DEPLOYMENT, JOB, NODE, POD, REPLICA_SET};
use shoal_control::plan::{Write, after};
use shoal_control::snapshot::{Snapshot as _, controller_of, is_deleted};
use shoal_control::world::{Changed, World};

/// For so long after a change of a Deployment its former size counts as well: a rollout may still go by it.
const MEMORY_SECONDS: i64 = 90;

/// So long after a node died its pods are counted wrongly, and nobody can know.
const DISTURBED_SECONDS: i64 = 120;

/// Watches over a cluster.
#[derive(Default)]
pub(crate) struct Checker {
    /// Sizes of each Deployment, by its name, and when each was asked for.
    sizes: BTreeMap<String, Vec<(Moment, Size)>>,
    /// How the pods of each Job ended, by its identity.
    ends: BTreeMap<String, Ends>,
    disturbed: Option<Moment>,
    violation: Option<String>,
}

/// Identities of pods that ended.
#[derive(Default)]
struct Ends {
    succeeded: BTreeSet<String>,
    /// They failed, or somebody other than their Job took them away: it lets go of its own first.
    failed: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq)]
struct Size {
    least: i64,
    most: i64,
}

impl Checker {
    /// Something died: pods are missing that nobody took away.
    pub(crate) fn disturb(&mut self, now: Moment) {
        self.disturbed = self.disturbed.max(Some(now));
    }

    /// Notes what is asked for.
    pub(crate) fn note(&mut self, world: &World) {
        for deployment in world.list(&DEPLOYMENT, None) {
            let size = size(&deployment);
            let sizes = self.sizes.entry(object::name(&deployment).to_owned()).or_default();
            if sizes.last().is_none_or(|(_, last)| *last != size) {
                // The former one counts from now on for a while.
                if let Some((since, _)) = sizes.last_mut() {
                    *since = world.now();
                }
                sizes.push((world.now(), size));
            }
        }
    }

    /// Before a write: how many pods of the Deployment serve, if the write takes one away.
    pub(crate) fn before(&self, who: &str, write: &Write, world: &World) -> Option<String> {
        let Write::Delete { key, .. } = write else { return None };
        if who != "replicaset-controller" || key.kind != *POD {
            return None;
        }
        let pod = world.get(&POD, &key.namespace, &key.name)?;
        (is_ready(&pod) && !is_deleted(&pod)).then(|| deployment_of(world, &pod)).flatten()
    }

    /// After a write that took a pod away that served: enough must be left.
    pub(crate) fn after(&mut self, deployment: Option<String>, world: &World) {
        let Some(name) = deployment else { return };
        let now = world.now();
        if self.disturbed.is_some_and(|at| after(at, DISTURBED_SECONDS) > now) {
            return;
        }
        let Some(least) = self.bounds(&name, now).map(|(least, _)| least) else { return };
        let serving = pods_of(world, &name).filter(|pod| is_ready(pod)).count();
        if i64::try_from(serving).unwrap_or(i64::MAX) < least {
            let why = format!("{}: {serving} pods of {name} serve, {least} must", now.to_time());
            self.violation.get_or_insert(why);
        }
    }

    /// Notes how pods of Jobs end.
    pub(crate) fn saw(&mut self, changes: &[Changed]) {
        for (_, _, pod) in changes.iter().filter(|(kind, ..)| *kind == *POD) {
            let Some(owner) = controller_of(pod).filter(|owner| owner["kind"] == "Job") else { continue };
            let ends = self.ends.entry(owner["uid"].as_str().unwrap_or_default().to_owned()).or_default();
            let uid = object::uid(pod).to_owned();
            if pod["status"]["phase"] == "Succeeded" {
                ends.succeeded.insert(uid);
            } else if pod["status"]["phase"] == "Failed"
                || (is_deleted(pod) && object::finalizers(pod).next().is_some())
            {
                ends.failed.insert(uid);
            }
        }
    }

    /// A Job counts no more ends than there were.
    fn counts(&self, job: &Value) -> Result<(), String> {
        let none = Ends::default();
        let ends = self.ends.get(object::uid(job)).unwrap_or(&none);
        for (field, seen) in [("succeeded", &ends.succeeded), ("failed", &ends.failed)] {
            let uncounted = job["status"]["uncountedTerminatedPods"][field].as_array().map_or(0, Vec::len);
            let counted = job["status"][field].as_u64().unwrap_or_default();
            if counted + uncounted as u64 > seen.len() as u64 {
                return Err(format!(
                    "job {} counts {counted} and {uncounted} pods that {field}, {} did",
                    object::name(job),
                    seen.len()
                ));
            }
        }
        Ok(())
    }

    /// The bounds of a Deployment: the loosest of those that count.
    fn bounds(&self, name: &str, now: Moment) -> Option<(i64, i64)> {
        let sizes = self.sizes.get(name)?;
        let last = sizes.len().checked_sub(1)?;
        let counts =
            |(at, (since, _)): &(usize, &(Moment, Size))| *at == last || after(*since, MEMORY_SECONDS) > now;
        let valid: Vec<Size> = sizes.iter().enumerate().filter(counts).map(|(_, (_, size))| *size).collect();
        Some((valid.iter().map(|size| size.least).min()?, valid.iter().map(|size| size.most).max()?))
    }

    /// What holds after each step.
    pub(crate) fn check(&mut self, world: &World) -> Result<(), String> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let now = world.now();
        for deployment in world.list(&DEPLOYMENT, None) {
            let name = object::name(&deployment);
            let Some((_, most)) = self.bounds(name, now) else { continue };
            // A set that was told to shrink has its pods a moment longer: what is asked of all sets counts.
            let sets = world.owned_of(object::uid(&deployment), &REPLICA_SET);
            let asked: i64 = sets.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).sum();
            if asked > most {
                return Err(format!(
                    "{}: {asked} pods of {name} are asked for, {most} at most",
                    now.to_time()
                ));
            }
        }
        world.list(&JOB, None).iter().try_for_each(|job| self.counts(job))?;
        room(world)
    }
}

fn size(deployment: &Value) -> Size {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let number = |field: &str| rolling[field].as_i64().unwrap_or_default();
    if deployment["spec"]["strategy"]["type"] == "Recreate" {
        return Size { least: 0, most: wanted };
    }
    let (surge, mut unavailable) = (number("maxSurge"), number("maxUnavailable"));
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Size { least: wanted - unavailable.min(wanted), most: wanted + surge }
}

fn deployment_of(world: &World, pod: &Value) -> Option<String> {
    let set = controller_of(pod)?["name"].as_str()?;
    let set = world.get(&REPLICA_SET, object::namespace(pod), set)?;
    Some(controller_of(&set)?["name"].as_str()?.to_owned())
}

/// Pods that are there and not about to go.
fn pods_of<'w>(world: &'w World, deployment: &'w str) -> impl Iterator<Item = Arc<Value>> + 'w {
    let ours = move |pod: &Arc<Value>| {
        !is_deleted(pod) && !has_ended(pod) && object::label(pod, "app") == Some(deployment)
    };
    world.list(&POD, None).into_iter().filter(ours)
}

/// No node has more than it has room for.
fn room(world: &World) -> Result<(), String> {
    let cpu = |value: &Value| -> i64 {
        value.as_str().and_then(|text| text.parse::<Quantity>().ok()).map_or(0, Quantity::milli_value)
    };
    let mut used: BTreeMap<String, i64> = BTreeMap::new();
    for pod in world.list(&POD, None).iter().filter(|pod| !has_ended(pod)) {
        let Some(node) = pod["spec"]["nodeName"].as_str() else { continue };
        *used.entry(node.to_owned()).or_default() +=
            cpu(&pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]);
    }
    for node in world.list(&NODE, None) {
        let (all, used) =
            (cpu(&node["status"]["allocatable"]["cpu"]), used.get(object::name(&node)).copied().unwrap_or(0));
        if used > all {
            return Err(format!(
                "{}: {} gives {used}m of {all}m",
                world.now().to_time(),
                object::name(&node)
            ));
        }
    }
    Ok(())
}

/// All that was asked for is there, and nothing else.
pub(crate) fn settled(world: &World) -> Result<(), String> {
    let uids: BTreeSet<String> =
        world.objects().values().map(|object| object::uid(object).to_owned()).collect();
    for (key, object) in world.objects() {
        for owner in object::owners(object) {
            if !uids.contains(owner["uid"].as_str().unwrap_or_default()) {
                return Err(format!(
                    "{} {} is left over: its owner {} is gone",
                    key.kind.kind, key.name, owner["name"]
                ));
            }
        }
    }
    for pod in world.list(&POD, None) {
        let name = object::name(&pod);
        if is_deleted(&pod) {
            return Err(format!("pod {name} does not go"));
        }
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if world.get(&NODE, "", node).is_none() {
            return Err(format!("pod {name} is on no node: {}", pod["status"]["conditions"]));
        }
    }
    for deployment in world.list(&DEPLOYMENT, None) {
        complete(world, &deployment)?;
    }
    for job in world.list(&JOB, None) {
        let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
        if !conditions.into_iter().any(|known| known["type"] == "Complete" && known["status"] == "True") {
            return Err(format!("job {} is not complete: {}", object::name(&job), job["status"]));
        }
    }
    for node in world.list(&NODE, None) {
        if node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty()) {
            return Err(format!("node {} is tainted: {}", object::name(&node), node["spec"]["taints"]));
        }
        if !node["spec"]["podCIDR"].is_string() {
            return Err(format!("node {} has no range of addresses", object::name(&node)));
        }
    }
    Ok(())
}

fn complete(world: &World, deployment: &Value) -> Result<(), String> {
    let (name, wanted) = (object::name(deployment), deployment["spec"]["replicas"].as_i64().unwrap_or(1));
    let status = &deployment["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let all = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let seen = status["observedGeneration"] == deployment["metadata"]["generation"];
    if !seen || all.iter().any(|field| number(field) != wanted) {
        return Err(format!("deployment {name} wants {wanted} and has {status}"));
    }
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    let right =
        pods_of(world, name).filter(|pod| is_ready(pod) && pod["spec"]["containers"][0]["image"] == *image);
    let (right, there) = (right.count(), pods_of(world, name).count());
    if i64::try_from(right).ok() != Some(wanted) || right != there {
        return Err(format!("deployment {name} wants {wanted} pods: {there} are there, {right} are right"));
    }
    Ok(())
}
