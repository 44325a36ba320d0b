//! A hollow node: it renews its lease and says that its pods run, and runs nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_control::controllers::pods::{has_ended, is_ready};
use shoal_control::known::{LEASE, NODE, POD};
use shoal_control::plan::{Write, after};
use shoal_control::snapshot::{Snapshot as _, is_deleted};

use crate::cluster::Api;

/// Between two renewals of the lease, in seconds.
const RENEW_SECONDS: i64 = 10;

/// How long a pod takes to start or to end, in seconds, at most.
const POD_SECONDS_MAX: u64 = 4;

/// What nodes offer: pods ask for a tenth of a core each, so that it may run out.
const CORES: &str = "2";

/// One node.
pub(crate) struct Hollow {
    pub(crate) name: String,
    pub(crate) is_alive: bool,
    renewed: Option<Moment>,
    /// When each pod will have started, and when it will have ended, by its identity.
    starts: BTreeMap<String, Moment>,
    ends: BTreeMap<String, Moment>,
}

impl Hollow {
    pub(crate) fn new(name: &str) -> Self {
        let (starts, ends) = (BTreeMap::new(), BTreeMap::new());
        Self { name: name.into(), is_alive: true, renewed: None, starts, ends }
    }

    /// What a dead node forgets: everything that ran.
    pub(crate) fn kill(&mut self) {
        self.is_alive = false;
        self.starts.clear();
        self.ends.clear();
    }

    /// Does what is due.
    pub(crate) fn act(&mut self, api: &mut Api<'_>) {
        if !self.is_alive {
            return;
        }
        if self.renewed.is_none_or(|renewed| after(renewed, RENEW_SECONDS) <= api.now())
            && self.renew(api).is_some()
        {
            self.renewed = Some(api.now());
        }
        for pod in api.view().list(&POD, None) {
            if pod["spec"]["nodeName"] == *self.name {
                self.run(&pod, api);
            }
        }
    }

    /// Registers, renews the lease, and says that it is well; none where a write failed.
    fn renew(&mut self, api: &mut Api<'_>) -> Option<()> {
        let view = api.view();
        let now = api.now();
        let lease = json!({
            "metadata": {"namespace": "kube-node-lease", "name": self.name},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now.to_micro_time()},
        });
        let write = match view.get(&LEASE, "kube-node-lease", &self.name) {
            None => Write::create(&LEASE, lease),
            Some(known) => {
                let mut new = Value::clone(&known);
                new["spec"] = lease["spec"].clone();
                Write::update(&LEASE, new)
            }
        };
        api.write("node", write).ok()?;
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": now.to_time(), "lastTransitionTime": now.to_time(),
        });
        let write = match view.get(&NODE, "", &self.name) {
            None => Write::create(
                &NODE,
                json!({
                    "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}}, "spec": {},
                    "status": {
                        "allocatable": {"cpu": CORES, "memory": "4Gi", "pods": "110"}, "conditions": [ready],
                    },
                }),
            ),
            Some(node) => {
                if is_ready(&node) {
                    return Some(());
                }
                Write::patch_status(&NODE, &node, &json!({"conditions": [ready]}))
            }
        };
        api.write("node", write).ok().map(|_| ())
    }

    fn run(&mut self, pod: &Value, api: &mut Api<'_>) {
        let (uid, now) = (object::uid(pod).to_owned(), api.now());
        let mut soon = || after(now, i64::try_from(1 + api.chance.below(POD_SECONDS_MAX)).unwrap_or(1));
        if is_deleted(pod) {
            let ends = *self.ends.entry(uid.clone()).or_insert_with(&mut soon);
            if ends <= now {
                self.end(pod, api);
            }
            return;
        }
        let starts = *self.starts.entry(uid).or_insert_with(&mut soon);
        let once = pod["spec"]["restartPolicy"] == "Never";
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let ready = is_ready(pod);
        if starts > now || phase == "Succeeded" || (phase == "Running" && ready && !once) {
            return;
        }
        let time = now.to_time();
        let status = if once && phase == "Running" {
            json!({"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": time}]})
        } else {
            json!({"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": time},
            ]})
        };
        // What fails is tried again in the next second.
        let _ = api.write("node", Write::patch_status(&POD, pod, &status));
    }

    fn end(&self, pod: &Value, api: &mut Api<'_>) {
        let finalized = object::finalizers(pod).next().is_some();
        if finalized && !has_ended(pod) {
            let _ = api.write("node", Write::patch_status(&POD, pod, &json!({"phase": "Failed"})));
            return;
        }
        let _ = api.write("node", Write::delete_at_once(&POD, pod));
    }
}
