//! CertificateSigningRequests: those of nodes are approved, what is approved is signed, what is done is removed.

use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;

use crate::access::{Authorize, User};
use crate::certificates::{Asked, CLIENT, LEGACY, NODE_CLIENT, NODE_SERVING, condition, is_issued};
use crate::known::CERTIFICATE_SIGNING_REQUEST;
use crate::plan::{Controller, Interest, Key, Plan, Write, after, read_time};
use crate::rbac::Attributes;
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// How long a request is kept after somebody decided about it, in seconds.
const DECIDED_SECONDS: i64 = 60 * 60;

/// How long a request waits for a decision, in seconds.
const PENDING_SECONDS: i64 = 24 * 60 * 60;

/// When to ask again whether a node may have what it asks for, in seconds: roles may have changed.
const ASK_AGAIN_SECONDS: i64 = 60;

/// Approves the client certificates of nodes that may have them.
pub struct NodeCertificateApproval {
    /// Decides whether whoever asks may.
    pub authorizer: Arc<dyn Authorize>,
}

/// Has approved requests signed.
pub struct CertificateSigning;

/// Deletes requests that are done, and those that nobody decides about.
pub struct CertificateCleaning;

impl Controller for NodeCertificateApproval {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&CERTIFICATE_SIGNING_REQUEST)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(request) = pending(world, key).filter(|it| it["spec"]["signerName"] == NODE_CLIENT) else {
            return Plan::default();
        };
        let asked = Asked::of(&request).filter(|asked| asked.is_node_client(&request["spec"]["usages"]));
        let Some(asked) = asked else { return Plan::default() };
        let own = request["spec"]["username"] == *asked.common_name;
        let ways = [
            (
                "selfnodeclient",
                own,
                "Auto approving self kubelet client certificate after SubjectAccessReview.",
            ),
            ("nodeclient", true, "Auto approving kubelet client certificate after SubjectAccessReview."),
        ];
        let user = requester(&request);
        let allowed = |subresource: &str| {
            let access = Attributes {
                verb: "create",
                group: "certificates.k8s.io",
                version: "*",
                resource: "certificatesigningrequests",
                subresource,
                ..Attributes::default()
            };
            self.authorizer.allows(&user, &access)
        };
        let way = ways.into_iter().find(|(subresource, fits, _)| *fits && allowed(subresource));
        let Some((_, _, message)) = way else {
            return Plan { requeue_at: Some(after(now, ASK_AGAIN_SECONDS)), ..Plan::default() };
        };
        Plan::write(approve(&request, message, now))
    }
}

impl Controller for CertificateSigning {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&CERTIFICATE_SIGNING_REQUEST)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, _: Moment) -> Plan {
        let Some(request) = world.get(&CERTIFICATE_SIGNING_REQUEST, "", &key.name) else {
            return Plan::default();
        };
        let ours =
            [CLIENT, NODE_CLIENT, NODE_SERVING, LEGACY].contains(&text(&request["spec"]["signerName"]));
        let approved = condition(&request, "Approved").is_some();
        let refused = ["Denied", "Failed"].iter().any(|name| condition(&request, name).is_some());
        if !ours || !approved || refused || is_issued(&request) || is_deleted(&request) {
            return Plan::default();
        }
        let resource_version = object::resource_version(&request).into();
        Plan::write(Write::Sign { key: key.clone(), resource_version })
    }
}

impl Controller for CertificateCleaning {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&CERTIFICATE_SIGNING_REQUEST)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let found = world.get(&CERTIFICATE_SIGNING_REQUEST, "", &key.name);
        let Some(request) = found.filter(|request| !is_deleted(request)) else { return Plan::default() };
        let Some(end) = end(&request) else { return Plan::default() };
        if end > now {
            return Plan { requeue_at: Some(end), ..Plan::default() };
        }
        Plan::write(Write::delete_unchanged(&CERTIFICATE_SIGNING_REQUEST, &request, None))
    }
}

/// A request about which nobody has decided.
fn pending(world: &dyn Snapshot, key: &Key) -> Option<Arc<Value>> {
    let request = world.get(&CERTIFICATE_SIGNING_REQUEST, "", &key.name)?;
    let decided = ["Approved", "Denied"].iter().any(|name| condition(&request, name).is_some());
    (!decided && !is_issued(&request) && !is_deleted(&request)).then_some(request)
}

/// Who sent a request, as its spec tells.
fn requester(request: &Value) -> User {
    let spec = &request["spec"];
    let texts = |list: &Value| items(list).map(|item| text(item).to_string()).collect();
    let extra = spec["extra"].as_object().into_iter().flatten();
    User {
        name: text(&spec["username"]).into(),
        uid: text(&spec["uid"]).into(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

fn approve(request: &Value, message: &str, now: Moment) -> Write {
    let mut object = request.clone();
    let time = now.to_time();
    let mut conditions: Vec<Value> = items(&request["status"]["conditions"]).cloned().collect();
    conditions.push(json!({
        "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message,
        "lastUpdateTime": time, "lastTransitionTime": time,
    }));
    object["status"]["conditions"] = json!(conditions);
    Write::Update { kind: CERTIFICATE_SIGNING_REQUEST.clone(), subresource: "approval", object }
}

/// When a request is removed. What is approved but not signed stays: somebody may sign it yet.
fn end(request: &Value) -> Option<Moment> {
    let decided = ["Denied", "Failed"].iter().find_map(|name| condition(request, name));
    let decided = decided.or_else(|| condition(request, "Approved").filter(|_| is_issued(request)));
    if let Some(condition) = decided {
        return read_time(&condition["lastUpdateTime"]).map(|time| after(time, DECIDED_SECONDS));
    }
    let pending = items(&request["status"]["conditions"]).next().is_none();
    let made = read_time(&request["metadata"]["creationTimestamp"]).filter(|_| pending);
    made.map(|time| after(time, PENDING_SECONDS))
}
