//! The node's own objects: that it is there, what it has, and that it lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_base::backoff::Backoff;
use shoal_client::{Cache, Client, Error, Patch, kinds};
use tokio::time::Instant;

use crate::config::{Config, Machine};
use crate::read::{items, text};
use crate::shared::Shared;

/// Between renewals of the lease, as kubelets do it.
const LEASE_EVERY: Duration = Duration::from_secs(10);
/// For how long the lease says that the node lives, as kubelets do it.
const LEASE_SECONDS: u32 = 40;
/// Between writings of a status in which nothing has changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// Between writings of a status that differs from what the API has: two who do not agree about it write no oftener.
const STATUS_AGAIN: Duration = Duration::from_secs(2);
/// Where leases of nodes are.
const LEASES: &str = "kube-node-lease";
/// What of a node its agent says.
pub(crate) fn status(machine: &Machine, name: &str, port: Option<u16>, old: &Value, now: Moment) -> Value {
    let kib = |bytes: u64| format!("{}Ki", bytes / 1024);
    let capacity = |memory: u64| json!({"cpu": machine.cpus.to_string(), "memory": kib(memory), "pods": machine.pods_max.to_string()});
    let addresses =
        machine.addresses.iter().map(|address| json!({"type": "InternalIP", "address": address.to_string()}));
    let addresses: Vec<Value> = addresses.chain([json!({"type": "Hostname", "address": name})]).collect();
    let condition = |kind: &str, is: &str, reason: &str, message: &str| {
        let before = items(&old["conditions"]).find(|one| one["type"] == kind && one["status"] == is);
        let since = before
            .and_then(|one| one["lastTransitionTime"].as_str())
            .map_or_else(|| now.to_time(), str::to_owned);
        json!({
            "type": kind, "status": is, "reason": reason, "message": message,
            "lastHeartbeatTime": now.to_time(), "lastTransitionTime": since,
        })
    };
    let mut status = json!({
        "capacity": capacity(machine.memory_bytes),
        "allocatable": capacity(machine.allocatable_bytes),
        "addresses": addresses,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "not measured: the node says so always"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "not measured: the node says so always"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "guests have no processes"),
            condition("Ready", "True", "KubeletReady", "the agent of the node runs"),
        ],
        "nodeInfo": {
            "architecture": machine.architecture, "bootID": machine.boot_id, "containerRuntimeVersion": format!("shoal://{}", machine.version),
            "kernelVersion": machine.kernel, "kubeProxyVersion": "", "kubeletVersion": format!("v{}-shoal", machine.version),
            "machineID": machine.machine_id, "operatingSystem": "linux", "osImage": machine.os_image, "systemUUID": machine.machine_id,
        },
    });
    if let Some(port) = port {
        status["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    }
    status
}

/// The node's object, before anybody has seen it. Its status is part of it: by what it can run the cluster measures the
/// range of addresses that it gives, and that stays.
fn object_of(config: &Config) -> Value {
    let name = &config.name;
    let mut labels: BTreeMap<&str, &str> =
        config.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    labels.insert("kubernetes.io/hostname", name);
    labels.insert("kubernetes.io/os", "linux");
    labels.insert("kubernetes.io/arch", &config.machine.architecture);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": status(&config.machine, name, config.port, &Value::Null, now()),
    })
}

/// Registers the node and says that it lives, for as long as the future is polled. `own` is the node as the API has it.
pub(crate) async fn live(shared: &Shared, own: &Cache) {
    let config = &*shared.config;
    let mut changes = own.changes();
    let mut backoff = Backoff::new(Duration::from_millis(200), LEASE_EVERY);
    let mut node = loop {
        match register(config).await {
            Ok(node) => break node,
            Err(error) => {
                tracing::debug!(%error, "the node is not registered yet");
                tokio::time::sleep(backoff.wait()).await;
            }
        }
    };
    tracing::info!(node = config.name, "the node is registered");
    // When, and how many pods.
    let mut said: Option<(Instant, u32)> = None;
    let mut renewed: Option<Instant> = None;
    loop {
        changes.borrow_and_update();
        let pods = pods_max(config, &node, own);
        let every =
            |of: u32| if of != pods || is_otherwise(&node, own) { STATUS_AGAIN } else { STATUS_EVERY };
        if said.is_none_or(|(at, of)| at.elapsed() >= every(of)) {
            match say(config, &node, pods).await {
                Ok(next) => {
                    node = next;
                    said = Some((Instant::now(), pods));
                }
                // Somebody has removed it; it lives all the same.
                Err(error) if error.is_not_found() => match register(config).await {
                    Ok(next) => {
                        node = next;
                        said = None;
                        continue;
                    }
                    Err(error) => tracing::debug!(%error, "the node is not registered again"),
                },
                Err(error) => tracing::debug!(%error, "the status of the node is not written"),
            }
        }
        if renewed.is_none_or(|renewed| renewed.elapsed() >= LEASE_EVERY) {
            renewed = Some(Instant::now());
            if let Err(error) = renew(&config.client, &config.name, object::uid(&node)).await {
                tracing::debug!(%error, "the lease of the node is not renewed");
                // Others may have taken it for dead meanwhile, or it may be lost with the node itself: as soon as there
                // is a way to the API, it says how it is.
                said = None;
            }
        }
        let rest = renewed.map_or(Duration::ZERO, |renewed| LEASE_EVERY.saturating_sub(renewed.elapsed()));
        let pods = pods_max(config, &node, own);
        let is_otherwise = said.is_some_and(|(_, of)| of != pods) || is_otherwise(&node, own);
        let rest = if is_otherwise { rest.min(STATUS_AGAIN) } else { rest };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            // What nobody tells of is looked at when the lease is due.
            Ok(()) = changes.changed(), if said.is_some() => {}
        }
    }
}

/// The node as the API has it now, if that is newer than what it was when its status was said.
fn newer(said: &Value, own: &Cache) -> Option<Arc<Value>> {
    own.get("", object::name(said)).filter(|seen| is_newer(seen, said))
}

/// How many pods the node takes: what the machine can run, by which the cluster measures the range of addresses that it
/// gives, and then no more than are in that range. No Service would find the others.
fn pods_max(config: &Config, said: &Value, own: &Cache) -> u32 {
    let range = newer(said, own).and_then(|seen| pod_cidr(&seen)).or_else(|| pod_cidr(said));
    range.map_or(u32::MAX, crate::addresses::count).min(config.machine.pods_max)
}

/// Whether the API has another status of the node than was said: somebody else has written it since.
fn is_otherwise(said: &Value, own: &Cache) -> bool {
    newer(said, own).is_some_and(|seen| ours(&seen["status"]) != ours(&said["status"]))
}

/// Whether a version of an object came after another. Versions are numbers everywhere; where they are not, what is seen is
/// right in the end.
fn is_newer(seen: &Value, than: &Value) -> bool {
    let version = |object: &Value| object::resource_version(object).parse::<u64>().ok();
    version(seen).zip(version(than)).is_none_or(|(seen, than)| seen > than)
}

/// What of a status this agent writes, but for the times.
fn ours(status: &Value) -> Value {
    const CONDITIONS: [&str; 4] = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
    let conditions = items(&status["conditions"]).filter(|one| CONDITIONS.contains(&text(&one["type"])));
    let conditions: Vec<Value> =
        conditions.map(|one| json!([one["type"], one["status"], one["reason"]])).collect();
    let fields = ["capacity", "allocatable", "addresses", "nodeInfo", "daemonEndpoints"];
    json!([conditions, fields.map(|field| &status[field])])
}

async fn register(config: &Config) -> Result<Value, Error> {
    match config.client.create(&kinds::NODES, &object_of(config)).await {
        Err(error) if error.is_already_there() => {
            let labels = &object_of(config)["metadata"]["labels"];
            let change = Patch::Merge(json!({"metadata": {"labels": labels}}));
            config.client.patch(&kinds::NODES, "", &config.name, "", &change).await
        }
        made => made,
    }
}

async fn say(config: &Config, node: &Value, pods_max: u32) -> Result<Value, Error> {
    let machine = Machine { pods_max, ..config.machine.clone() };
    let status = status(&machine, &config.name, config.port, &node["status"], now());
    let change = Patch::Merge(json!({"status": status}));
    config.client.patch(&kinds::NODES, "", &config.name, "status", &change).await
}

async fn renew(client: &Client, name: &str, uid: &str) -> Result<(), Error> {
    let renewed = json!({"spec": {"renewTime": now().to_micro_time()}});
    match client.patch(&kinds::LEASES, LEASES, name, "", &Patch::Merge(renewed)).await {
        Err(error) if error.is_not_found() => {}
        done => return done.map(drop),
    }
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": LEASES, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid},
        ]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now().to_micro_time()},
    });
    client.create(&kinds::LEASES, &lease).await.map(drop)
}

/// The net out of which the cluster wants pods of this node to have their addresses.
pub(crate) fn pod_cidr(node: &Value) -> Option<ipnet::Ipv4Net> {
    text(&node["spec"]["podCIDR"]).parse().ok()
}

/// The time.
pub(crate) fn now() -> Moment {
    Moment::from_micros(jiff::Timestamp::now().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_not_ours() {
        let machine = Machine { cpus: 4, ..Machine::default() };
        let said = status(&machine, "edge-1", None, &Value::Null, Moment::from_seconds(1));
        let later = status(&machine, "edge-1", None, &Value::Null, Moment::from_seconds(99));
        assert_eq!(ours(&said), ours(&later), "times do not count");
        let mut seen = said.clone();
        seen["images"] = json!([{"names": ["x"]}]);
        let others = json!({"type": "NetworkUnavailable", "status": "False"});
        seen["conditions"].as_array_mut().expect("a list").push(others);
        assert_eq!(ours(&said), ours(&seen));
        seen["conditions"][3]["status"] = json!("Unknown");
        assert_ne!(ours(&said), ours(&seen));
        let at = |version: &str| json!({"metadata": {"resourceVersion": version}});
        assert!(
            is_newer(&at("10"), &at("9")) && !is_newer(&at("9"), &at("10")) && !is_newer(&at("9"), &at("9"))
        );
        assert!(is_newer(&at("a"), &at("b")));
    }

    #[test]
    fn a_node_says_what_it_has_and_since_when_it_is_ready() {
        let machine = Machine {
            addresses: vec!["192.0.2.7".parse().expect("an address")],
            cpus: 4,
            memory_bytes: 8 << 30,
            allocatable_bytes: 6 << 30,
            pods_max: 100,
            version: "1.2.3".into(),
            ..Machine::default()
        };
        let at = Moment::from_seconds;
        let first = status(&machine, "edge-1", Some(10250), &Value::Null, at(1));
        assert_eq!(first["capacity"], json!({"cpu": "4", "memory": "8388608Ki", "pods": "100"}));
        assert_eq!(first["allocatable"]["memory"], "6291456Ki");
        assert_eq!(first["addresses"][0], json!({"type": "InternalIP", "address": "192.0.2.7"}));
        assert_eq!(first["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
        let later = status(&machine, "edge-1", None, &first, at(60));
        let ready = &later["conditions"][3];
        assert_eq!(
            (&ready["lastHeartbeatTime"], &ready["lastTransitionTime"]),
            (&json!("1970-01-01T00:01:00Z"), &json!("1970-01-01T00:00:01Z"))
        );
    }
}
