//! What `shoal status --json` shows: the same cluster for programs, whole.

use serde_json::{Value, json};

use super::super::world::{is_owned, name, namespace, number, text, trouble};
use super::{Cluster, State, is_ready, job_state, moment, replicas, state, unexpanded, urls_to};

/// A cluster for programs. Texts are as the API has them.
pub fn status_json(cluster: &Cluster<'_>) -> String {
    let apps = cluster
        .apps
        .iter()
        .filter(|app| !cluster.deployments.iter().any(|deployment| is_owned(deployment, app)));
    let workloads = cluster.deployments.iter().map(|deployment| workload(cluster, deployment));
    let workloads: Vec<Value> = workloads.chain(apps.map(without_deployment)).collect();
    let warnings = cluster.events.iter().filter(|event| text(event, "/type") == "Warning");
    let all = json!({
        "nodes": cluster.nodes.iter().map(|node| self::node(cluster, node)).collect::<Vec<_>>(),
        "workloads": workloads,
        "jobs": cluster.jobs.iter().map(job).collect::<Vec<_>>(),
        "troubles": cluster.pods.iter().filter_map(in_trouble).collect::<Vec<_>>(),
        "warnings": warnings.map(warning).collect::<Vec<_>>(),
    });
    super::super::json(&all)
}

fn node(cluster: &Cluster<'_>, node: &Value) -> Value {
    let pods = cluster.pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name(node)).count();
    json!({
        "name": name(node),
        "ready": is_ready(node),
        "schedulable": node["spec"]["unschedulable"] != true,
        "pods": pods,
        "cpu": text(node, "/status/capacity/cpu"),
        "memory": text(node, "/status/capacity/memory"),
    })
}

fn workload(cluster: &Cluster<'_>, deployment: &Value) -> Value {
    let (wanted, ready) = replicas(deployment);
    let (state, word) = state(deployment);
    let is_app = cluster.apps.iter().any(|app| is_owned(deployment, app));
    json!({
        "kind": if is_app { "App" } else { "Deployment" },
        "namespace": namespace(deployment),
        "name": name(deployment),
        "wanted": wanted,
        "ready": ready,
        "state": state_name(state),
        "detail": word,
        "urls": urls_to(cluster, deployment).iter().filter(|url| url.taken_by.is_none()).map(|url| &url.url).collect::<Vec<_>>(),
    })
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Serving => "serving",
        State::Zero => "zero",
        State::Going => "going",
        State::Failed => "failed",
        State::Scheduled => "scheduled",
    }
}

/// An App that has no Deployment; of one with a schedule there never is one.
fn without_deployment(app: &Value) -> Value {
    let (state, found) = unexpanded(app);
    let detail = found.map_or("", |found| text(found, "/message"));
    json!({
        "kind": "App", "namespace": namespace(app), "name": name(app), "wanted": 0, "ready": 0,
        "state": state_name(state), "detail": detail, "urls": [],
    })
}

fn job(job: &Value) -> Value {
    json!({
        "namespace": namespace(job),
        "name": name(job),
        "state": job_state(job),
        "wanted": number(job, "/spec/completions").max(1),
        "succeeded": number(job, "/status/succeeded"),
    })
}

fn in_trouble(pod: &Value) -> Option<Value> {
    let found = trouble(pod).filter(|trouble| !trouble.is_start)?;
    Some(json!({
        "namespace": namespace(pod), "pod": name(pod), "reason": found.reason, "message": found.message,
    }))
}

fn warning(event: &Value) -> Value {
    let object = &event["involvedObject"];
    json!({
        "namespace": text(object, "/namespace"),
        "kind": text(object, "/kind"),
        "name": text(object, "/name"),
        "reason": text(event, "/reason"),
        "message": text(event, "/message"),
        "at": moment(event),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_without_a_deployment_is_told_as_it_is() {
        let metadata = json!({"name": "shop", "namespace": "team"});
        let failed = |status: &str, reason: &str| {
            json!([
                {"type": "Ready", "status": "False", "reason": "Starting", "message": "0 of 0"},
                {"type": "Failed", "status": status, "reason": reason, "message": "not ours"},
            ])
        };
        for (schedule, conditions, state, detail) in [
            ("", failed("True", "NameTaken"), "failed", "not ours"),
            ("", failed("True", "FailedExpand"), "failed", "not ours"),
            ("", failed("False", "AsExpected"), "going", "0 of 0"),
            ("0 * * * *", failed("False", "AsExpected"), "scheduled", "0 of 0"),
            ("0 * * * *", failed("True", "NameTaken"), "failed", "not ours"),
        ] {
            let app = json!({
                "metadata": metadata, "spec": {"schedule": schedule}, "status": {"conditions": conditions},
            });
            let apps = [app];
            let cluster = Cluster { apps: &apps, ..Cluster::default() };
            let shown: Value = serde_json::from_str(&status_json(&cluster)).expect("JSON");
            let workload = &shown["workloads"][0];
            assert_eq!(
                (&workload["state"], &workload["detail"]),
                (&json!(state), &json!(detail)),
                "{schedule}"
            );
            let reason =
                if state == "failed" { text(&apps[0], "/status/conditions/1/reason") } else { "Starting" };
            let screen = super::super::status(&cluster, 0);
            assert!(screen.contains(reason) && screen.contains("0 of 1 well"), "{screen}");
        }
    }

    #[test]
    fn programs_see_the_same_whole() {
        let metadata = |name: &str| json!({"name": name, "namespace": "team", "uid": name});
        let deployment = json!({
            "metadata": {"name": "shop", "namespace": "team", "generation": 1, "ownerReferences": [{"uid": "app"}]},
            "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "shop"}}}},
            "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1, "readyReplicas": 1},
        });
        let apps = [
            json!({"metadata": {"name": "shop", "namespace": "team", "uid": "app"}}),
            json!({
                "metadata": metadata("later"), "status": {"conditions": [{"type": "Ready", "message": "wait"}]},
            }),
        ];
        let pods = [json!({
            "metadata": metadata("shop-1"), "spec": {"nodeName": "one"},
            "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "\u{1b}"}}}]},
        })];
        let nodes = [json!({"metadata": {"name": "one"}, "spec": {"unschedulable": true}})];
        let jobs = [json!({"metadata": metadata("move"), "status": {"succeeded": 1}})];
        let events = [
            json!({"type": "Normal"}),
            json!({
                "type": "Warning", "reason": "Failed", "message": "no", "eventTime": "2026-01-01T00:00:00Z",
                "involvedObject": {"kind": "Pod", "name": "shop-1", "namespace": "team"},
            }),
        ];
        let cluster = Cluster {
            nodes: &nodes,
            apps: &apps,
            deployments: std::slice::from_ref(&deployment),
            jobs: &jobs,
            pods: &pods,
            events: &events,
            ..Cluster::default()
        };
        let shown: Value = serde_json::from_str(&status_json(&cluster)).expect("JSON");
        let expected = json!({
            "nodes": [{"name": "one", "ready": false, "schedulable": false, "pods": 1, "cpu": "", "memory": ""}],
            "workloads": [
                {
                    "kind": "App", "namespace": "team", "name": "shop", "wanted": 2, "ready": 1, "state": "going",
                    "detail": "1 of 2 replicas ready", "urls": [],
                },
                {
                    "kind": "App", "namespace": "team", "name": "later", "wanted": 0, "ready": 0, "state": "going",
                    "detail": "wait", "urls": [],
                },
            ],
            "jobs": [{"namespace": "team", "name": "move", "state": "running", "wanted": 1, "succeeded": 1}],
            "troubles": [{"namespace": "team", "pod": "shop-1", "reason": "ErrImagePull", "message": "\u{1b}"}],
            "warnings": [{
                "namespace": "team", "kind": "Pod", "name": "shop-1", "reason": "Failed", "message": "no",
                "at": "2026-01-01T00:00:00Z",
            }],
        });
        assert_eq!(shown, expected);
    }
}
