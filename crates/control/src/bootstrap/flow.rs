//! How requests share the API server when there are too many: the levels and schemas that Kubernetes begins with.

use serde_json::{Value, json};

const MASTERS: &str = "system:masters";
const NODES: &str = "system:nodes";
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";
const EVERYONE: [&str; 2] = ["system:unauthenticated", "system:authenticated"];

/// PriorityLevelConfigurations without their annotations.
pub(super) fn levels() -> Vec<Value> {
    let exempt = json!({
        "metadata": {"name": "exempt"},
        "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
    });
    let reject = json!({"type": "Reject"});
    let queue = |queues: u32, hand: u32| json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}});
    let limited = [
        ("catch-all", 5, 0, reject),
        ("system", 30, 33, queue(64, 6)),
        ("node-high", 40, 25, queue(64, 6)),
        ("leader-election", 10, 0, queue(16, 4)),
        ("workload-high", 40, 50, queue(128, 6)),
        ("workload-low", 100, 90, queue(128, 6)),
        ("global-default", 20, 50, queue(128, 6)),
    ];
    let limited = limited.into_iter().map(|(name, shares, lendable, response)| {
        json!({
            "metadata": {"name": name},
            "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
            }},
        })
    });
    std::iter::once(exempt).chain(limited).collect()
}

/// FlowSchemas without their annotations.
pub(super) fn schemas() -> Vec<Value> {
    let system_accounts = || accounts(&["*"]);
    let with_accounts = |users_: &[&str], names: &[&str]| [users(users_), accounts(names)].concat();
    let leases = || resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false);
    let (user, namespace) = (Some("ByUser"), Some("ByNamespace"));
    vec![
        schema("exempt", "exempt", 1, None, &groups(&[MASTERS]), everything()),
        schema("probes", "exempt", 2, None, &groups(&EVERYONE), probes()),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            user,
            &with_accounts(&[MANAGER, SCHEDULER], &["*"]),
            leases(),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            user,
            &with_accounts(&[MANAGER], &["endpoint-controller", "endpointslicemirroring-controller"]),
            resources(&["get", "create", "update"], "", &["endpoints"], false),
        ),
        schema("workload-leader-election", "leader-election", 200, user, &system_accounts(), leases()),
        schema("system-node-high", "node-high", 400, user, &groups(&[NODES]), of_nodes()),
        schema("system-nodes", "system", 500, user, &groups(&[NODES]), everything()),
        schema("kube-controller-manager", "workload-high", 800, namespace, &users(&[MANAGER]), everything()),
        schema("kube-scheduler", "workload-high", 800, namespace, &users(&[SCHEDULER]), everything()),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            namespace,
            &system_accounts(),
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            user,
            &groups(&["system:serviceaccounts"]),
            everything(),
        ),
        schema("global-default", "global-default", 9900, user, &groups(&EVERYONE), everything()),
        schema("catch-all", "catch-all", 10_000, user, &groups(&EVERYONE), everything()),
    ]
}

fn schema(
    name: &str,
    level: &str,
    precedence: u32,
    distinguisher: Option<&str>,
    subjects: &[Value],
    mut rule: Value,
) -> Value {
    rule["subjects"] = json!(subjects);
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if let Some(method) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

/// Accounts of kube-system.
fn accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(account).collect()
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    json!({"resourceRules": [rule(verbs, group, resources, cluster)]})
}

fn everything() -> Value {
    json!({
        "resourceRules": [rule(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn probes() -> Value {
    json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]})
}

fn of_nodes() -> Value {
    json!({"resourceRules": [
        rule(&["*"], "", &["nodes", "nodes/status"], true),
        rule(&["*"], "coordination.k8s.io", &["leases"], false),
    ]})
}
