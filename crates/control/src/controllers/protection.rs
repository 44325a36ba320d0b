//! Claims that pods use, and volumes that claims have, are kept until nobody does: a finalizer, which admission has put there,
//! holds them after their deletion, and is taken away here.

use serde_json::Value;
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, object};

use crate::admission::protection::{CLAIM_FINALIZER, VOLUME_FINALIZER};
use crate::known::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD};
use crate::plan::{Controller, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// Lets go of claims that no pod uses.
pub struct Claims;

/// Lets go of volumes that are bound to no claim.
pub struct Volumes;

impl Controller for Claims {
    fn name(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        let of_pods = Interest::of(&POD, claims).when(|_, _, pod| pod.has("volumes"));
        vec![Interest::own(&PERSISTENT_VOLUME_CLAIM), of_pods]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        release(world, key, CLAIM_FINALIZER, |claim| {
            let pods = world.list(&POD, Some(object::namespace(claim)));
            // The agents of nodes do not start a pod whose claim is being deleted: one without a node never uses it.
            pods.iter().any(|pod| {
                !text(&pod["spec"]["nodeName"]).is_empty()
                    && claim_names(pod).any(|name| name == object::name(claim))
            })
        })
    }
}

impl Controller for Volumes {
    fn name(&self) -> &'static str {
        "pv-protection-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&PERSISTENT_VOLUME)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        release(world, key, VOLUME_FINALIZER, |volume| volume["status"]["phase"] == "Bound")
    }
}

/// Takes the finalizer of a deleted object away, unless it is in use.
fn release(world: &dyn Snapshot, key: &Key, finalizer: &str, is_used: impl FnOnce(&Value) -> bool) -> Plan {
    let Some(held) = world.get(&key.kind, &key.namespace, &key.name) else { return Plan::default() };
    let is_ours = object::finalizers(&held).any(|one| one == finalizer);
    if !is_deleted(&held) || !is_ours || is_used(&held) {
        return Plan::default();
    }
    Plan::write(Write::drop_finalizer(&key.kind, &held, finalizer))
}

/// The claims of a pod.
fn claims(_: &dyn Snapshot, _: &GroupVersionKind, pod: &Value) -> Vec<Key> {
    let namespace = object::namespace(pod);
    claim_names(pod).map(|name| Key::new(&PERSISTENT_VOLUME_CLAIM, namespace, &name)).collect()
}

/// Those that its volumes name, and those that are made for it, named after both.
fn claim_names(pod: &Value) -> impl Iterator<Item = String> {
    items(&pod["spec"]["volumes"]).filter_map(|volume| {
        let named = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
        let own = || format!("{}-{}", object::name(pod), text(&volume["name"]));
        named.or_else(|| volume.get("ephemeral").map(|_| own()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_claims_of_a_pod_are_those_it_names_and_its_own() {
        let pod = json!({"metadata": {"name": "db-0"}, "spec": {"volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "b", "emptyDir": {}},
            {"name": "c", "ephemeral": {"volumeClaimTemplate": {}}},
        ]}});
        assert_eq!(claim_names(&pod).collect::<Vec<_>>(), ["data", "db-0-c"]);
    }
}
