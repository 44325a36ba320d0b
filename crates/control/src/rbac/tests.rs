//! Who may do what, asked and answered.

use serde_json::{Value, json};
use shoal_api::object;

use super::*;

/// An authorizer with the default objects, aggregated, and with more.
fn authorizer(more: &[Value]) -> Authorizer {
    let mut objects = bootstrap::objects();
    for name in ["view", "edit", "admin"] {
        let roles: Vec<Value> =
            objects.iter().filter(|object| object["kind"] == "ClusterRole").cloned().collect();
        let sum = objects.iter_mut().find(|object| object::name(object) == name).expect("a default role");
        sum["rules"] = aggregate::rules(sum, roles.iter()).expect("it has no rules yet");
    }
    let mut authorizer = Authorizer::default();
    objects.iter().chain(more).for_each(|object| authorizer.apply(object));
    authorizer
}

#[expect(clippy::needless_pass_by_value, reason = "callers write it as json!")]
fn role(kind: &str, namespace: &str, name: &str, rules: Value) -> Value {
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

#[expect(clippy::needless_pass_by_value, reason = "callers write it as json!")]
fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({
        "kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects,
    })
}

fn user(name: &str) -> User {
    User::new(name, &[AUTHENTICATED])
}

/// `get apps/deployments/scale default web` or `get /path`.
fn ask(authorizer: &Authorizer, user: &User, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let attributes = match *words {
        [verb, path] => Attributes::path(verb, path),
        [verb, what, namespace, name] => {
            let parts: Vec<&str> = what.split('/').collect();
            let subresource = parts.get(2).copied().unwrap_or_default();
            let (namespace, name) = (namespace.trim_matches('-'), name.trim_matches('-'));
            let group = parts[0].trim_matches('-');
            Attributes { subresource, ..Attributes::resource(verb, group, parts[1], namespace, name) }
        }
        _ => panic!("{words:?}"),
    };
    let decision = authorizer.authorize(user, &attributes);
    if decision.allowed {
        format!("yes: {}", decision.reason)
    } else {
        forbidden(user, &attributes, &decision.reason).message
    }
}

#[test]
fn what_is_allowed_says_by_what_and_what_is_not_reads_as_that_of_kubernetes() {
    let authorizer = authorizer(&[
        role(
            "Role",
            "default",
            "r",
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"], "resourceNames": ["a"]}]),
        ),
        binding("default", "rb", ("Role", "r"), json!([{"kind": "ServiceAccount", "name": "bot"}])),
        binding("", "gone", ("ClusterRole", "gone"), json!([{"kind": "User", "name": "eve"}])),
        role(
            "ClusterRole",
            "",
            "scaler",
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]}]),
        ),
        binding("", "scaler", ("ClusterRole", "scaler"), json!([{"kind": "Group", "name": "ops"}])),
    ]);
    let bot = user("system:serviceaccount:default:bot");
    let ops = User::new("joe", &["ops"]);
    let allowed =
        r#"yes: RBAC: allowed by RoleBinding "rb/default" of Role "r" to ServiceAccount "bot/default""#;
    let scaler =
        r#"yes: RBAC: allowed by ClusterRoleBinding "scaler" of ClusterRole "scaler" to Group "ops""#;
    for (user, asked, answer) in [
        (&User::new("admin", &[MASTERS]), "delete -/nodes - n", "yes: "),
        (&bot, "get -/pods default a", allowed),
        (&bot, "get -/pods/log default a", allowed),
        (
            &bot,
            "get -/pods/exec default a",
            r#"pods "a" is forbidden: User "system:serviceaccount:default:bot" cannot get resource "pods/exec" in API group "" in the namespace "default""#,
        ),
        (
            &bot,
            "get -/pods default b",
            r#"pods "b" is forbidden: User "system:serviceaccount:default:bot" cannot get resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            &bot,
            "get -/pods other a",
            r#"pods "a" is forbidden: User "system:serviceaccount:default:bot" cannot get resource "pods" in API group "" in the namespace "other""#,
        ),
        (
            &bot,
            "list -/pods default -",
            r#"pods is forbidden: User "system:serviceaccount:default:bot" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (
            &user("bob"),
            "list -/secrets default -",
            r#"secrets is forbidden: User "bob" cannot list resource "secrets" in API group "" in the namespace "default""#,
        ),
        (
            &user("bob"),
            "list apps/deployments - -",
            r#"deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
        ),
        (&user("bob"), "get /metrics", r#"forbidden: User "bob" cannot get path "/metrics""#),
        (&user("<b>"), "get /metrics", r#"forbidden: User "&lt;b&gt;" cannot get path "/metrics""#),
        (
            &user("bob"),
            "get /openapi/v3/apis",
            r#"yes: RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#,
        ),
        (
            &user("eve"),
            "get -/pods default a",
            r#"pods "a" is forbidden: User "eve" cannot get resource "pods" in API group "" in the namespace "default": RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#,
        ),
        (&ops, "patch apps/deployments/scale default web", scaler),
        (
            &ops,
            "patch apps/deployments default web",
            r#"deployments.apps "web" is forbidden: User "joe" cannot patch resource "deployments" in API group "apps" in the namespace "default""#,
        ),
    ] {
        assert_eq!(ask(&authorizer, user, asked), answer, "{asked}");
    }
}

#[test]
fn events_are_followed() {
    let mut authorizer = authorizer(&[]);
    let bob = user("bob");
    let may = |authorizer: &Authorizer| ask(authorizer, &bob, "get -/pods default a").starts_with("yes");
    let role = role(
        "ClusterRole",
        "",
        "reader",
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]),
    );
    let bound = binding("default", "b", ("ClusterRole", "reader"), json!([{"kind": "User", "name": "bob"}]));
    assert!(!may(&authorizer));
    authorizer.apply(&bound);
    assert!(!may(&authorizer), "the role is not there yet");
    authorizer.apply(&role);
    assert!(may(&authorizer));
    let other = binding("default", "b", ("ClusterRole", "reader"), json!([{"kind": "User", "name": "eve"}]));
    authorizer.apply(&other);
    assert!(!may(&authorizer), "the binding names another user now");
    authorizer.apply(&bound);
    authorizer.remove(&bound);
    assert!(!may(&authorizer));
    authorizer.apply(&bound);
    authorizer.remove(&role);
    assert!(!may(&authorizer));
}

#[test]
fn a_service_account_needs_a_namespace_and_a_whole_name() {
    for (subject, may) in [
        (json!({"kind": "ServiceAccount", "name": "bot", "namespace": "default"}), true),
        (json!({"kind": "ServiceAccount", "name": "bot"}), false),
        (json!({"kind": "ServiceAccount", "name": "", "namespace": "default:bot"}), false),
        (json!({"kind": "Nobody", "name": "system:serviceaccount:default:bot"}), false),
    ] {
        let authorizer = authorizer(&[binding("", "b", ("ClusterRole", "cluster-admin"), json!([subject]))]);
        let bot = user("system:serviceaccount:default:bot");
        assert_eq!(ask(&authorizer, &bot, "get -/secrets default a").starts_with("yes"), may, "{subject}");
    }
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let authorizer = authorizer(&[
        binding("default", "e", ("ClusterRole", "admin"), json!([{"kind": "User", "name": "bob"}])),
        role(
            "ClusterRole",
            "",
            "binder",
            json!([{"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["view"]}]),
        ),
        binding("default", "f", ("ClusterRole", "binder"), json!([{"kind": "User", "name": "joe"}])),
    ]);
    let (bob, joe, masters) = (user("bob"), user("joe"), User::new("root", &[MASTERS]));
    let own = role(
        "Role",
        "default",
        "own",
        json!([{"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "resourceNames": ["x"]}]),
    );
    let more = role(
        "Role",
        "default",
        "more",
        json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["nodes", "pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
        ]),
    );
    let message = |result: Result<(), shoal_api::Status>| result.err().map(|status| status.message);
    assert_eq!(message(escalation::check_role(&authorizer, &bob, &own, None)), None);
    assert_eq!(message(escalation::check_role(&authorizer, &masters, &more, None)), None);
    assert_eq!(
        message(escalation::check_role(&authorizer, &bob, &more, Some(&more))),
        None,
        "nothing changes"
    );
    assert_eq!(
        message(escalation::check_role(&authorizer, &bob, &more, None)).as_deref(),
        Some(
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}\n\
             {NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}"
        )
    );
    let written = |version: &str| {
        let mut more = more.clone();
        more["apiVersion"] = json!(version);
        escalation::check(&authorizer, &bob, &more, None).is_ok()
    };
    assert_eq!([GROUP, "example.com"].map(|group| written(&format!("{group}/v1"))), [false, true]);
    let mut sum = role("ClusterRole", "", "sum", json!([]));
    sum["aggregationRule"] = json!({"clusterRoleSelectors": [{}]});
    assert_eq!(
        message(escalation::check_role(&authorizer, &bob, &sum, None)).as_deref(),
        Some(
            "clusterroles.rbac.authorization.k8s.io \"sum\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
        )
    );
    let bind =
        |role| binding("default", "new", ("ClusterRole", role), json!([{"kind": "User", "name": "eve"}]));
    assert_eq!(message(escalation::check_binding(&authorizer, &bob, &bind("view"), None)), None);
    assert_eq!(
        message(escalation::check_binding(&authorizer, &joe, &bind("view"), None)),
        None,
        "by the verb bind"
    );
    let refused =
        message(escalation::check_binding(&authorizer, &joe, &bind("admin"), None)).expect("refused");
    assert!(
        refused.starts_with("rolebindings.rbac.authorization.k8s.io \"new\" is forbidden: user \"joe\""),
        "{refused}"
    );
    assert_eq!(
        message(escalation::check_binding(&authorizer, &bob, &bind("gone"), None)).as_deref(),
        Some("clusterrole.rbac.authorization.k8s.io \"gone\" not found")
    );
}

#[test]
fn a_rule_is_covered_by_wider_ones_only() {
    let rule = |value: Value| Rule::from_value(&value);
    let pods = |verbs: Value, resources: Value, names: Value| {
        rule(json!({"verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names}))
    };
    let url = |url: &str| rule(json!({"verbs": ["get"], "nonResourceURLs": [url]}));
    for (held, wanted, is_covered) in [
        (
            pods(json!(["*"]), json!(["*"]), json!([])),
            pods(json!(["get"]), json!(["a/b"]), json!(["x"])),
            true,
        ),
        (
            pods(json!(["get"]), json!(["pods"]), json!(["x"])),
            pods(json!(["get"]), json!(["pods"]), json!([])),
            false,
        ),
        (
            pods(json!(["get"]), json!(["pods"]), json!(["x"])),
            pods(json!(["get"]), json!(["pods"]), json!(["x", "y"])),
            false,
        ),
        (
            pods(json!(["get"]), json!(["*/log"]), json!([])),
            pods(json!(["get"]), json!(["pods/log"]), json!([])),
            true,
        ),
        (
            pods(json!(["get"]), json!(["*/log"]), json!([])),
            pods(json!(["get"]), json!(["pods"]), json!([])),
            false,
        ),
        (
            pods(json!(["get"]), json!(["pods"]), json!([])),
            pods(json!(["*"]), json!(["pods"]), json!([])),
            false,
        ),
        (url("/api/*"), url("/api/v1"), true),
        (url("/api/*"), url("/api"), false),
        (url("/api/*"), url("/api/v1/*"), true),
        (url("/api/v1"), url("/api/*"), false),
        (url("*"), url("/x"), true),
    ] {
        assert_eq!(
            covers(std::slice::from_ref(&held), std::slice::from_ref(&wanted)).is_ok(),
            is_covered,
            "{held} {wanted}"
        );
    }
}

fn pod(name: &str, node: &str, secret: &str) -> Value {
    json!({
        "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node, "serviceAccountName": "bot",
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": secret}}}], "envFrom": [{"configMapRef": {"name": "env"}}]}],
            "volumes": [{"persistentVolumeClaim": {"claimName": "disk"}}, {"projected": {"sources": [{"configMap": {"name": "root"}}]}}],
        },
    })
}

#[test]
fn a_node_reads_what_its_pods_use_and_nothing_else() {
    let volume = json!({"kind": "PersistentVolume", "metadata": {"name": "pv"},
        "spec": {"claimRef": {"namespace": "default", "name": "disk"}, "csi": {"nodePublishSecretRef": {"namespace": "csi", "name": "key"}}}});
    let mut mirror = pod("mirror", "n1", "stolen");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut authorizer = authorizer(&[pod("a", "n1", "s1"), pod("b", "n2", "s2"), volume, mirror]);
    let node = User::new("system:node:n1", &["system:nodes", AUTHENTICATED]);
    let unrelated = "no relationship found between node 'n1' and this object";
    for (asked, answer) in [
        ("get -/secrets default s1", "yes"),
        ("get -/secrets default s2", unrelated),
        ("get -/secrets default stolen", unrelated),
        ("list -/secrets default -", "No Object name found"),
        ("update -/secrets default s1", "can only read resources of this type"),
        ("get -/secrets csi key", "yes"),
        ("get -/configmaps default env", "yes"),
        ("get -/configmaps default root", "yes"),
        ("get -/persistentvolumeclaims default disk", "yes"),
        ("get -/persistentvolumes - pv", "yes"),
        ("list -/persistentvolumes - -", "can only get individual resources of this type"),
        ("create -/serviceaccounts/token default bot", "yes"),
        ("create -/serviceaccounts/token default other", unrelated),
        ("create -/serviceaccounts default bot", "can only create token subresource of service account"),
        ("get -/pods default a", "yes"),
        ("get -/pods default b", unrelated),
        ("list -/pods default -", "can only list/watch pods with spec.nodeName field selector"),
        ("update -/pods/status default a", "yes"),
        ("update -/pods default a", ""),
        ("get -/nodes - n1", "yes"),
        ("get -/nodes - n2", "node 'n1' cannot read 'n2', only its own Node object"),
        ("list -/nodes - -", "node 'n1' cannot read all nodes, only its own Node object"),
        ("patch -/nodes/status - n1", "yes"),
        ("delete -/nodes - n1", ""),
        ("update coordination.k8s.io/leases kube-node-lease n1", "yes"),
        (
            "update coordination.k8s.io/leases kube-node-lease n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "get coordination.k8s.io/leases default n1",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        ("create certificates.k8s.io/certificatesigningrequests - -", "yes"),
        ("list -/services - -", "yes"),
        ("get apps/deployments default web", ""),
    ] {
        let said = ask(&authorizer, &node, asked);
        assert!(said.starts_with(answer) || said.ends_with(answer), "{asked}: {said}");
        assert_eq!(said.starts_with("yes"), answer == "yes", "{asked}: {said}");
    }
    let fields = [("spec.nodeName", "n1")];
    let own = Attributes { fields: &fields, ..Attributes::resource("watch", "", "pods", "", "") };
    assert!(authorizer.authorize(&node, &own).allowed);
    let fields = [("spec.nodeName", "n2")];
    assert!(!authorizer.authorize(&node, &Attributes { fields: &fields, ..own }).allowed);
    assert!(!authorizer.authorize(&user("system:node:n1"), &own).allowed, "not in the group of nodes");
    authorizer.remove(&pod("a", "n1", "s1"));
    assert!(!ask(&authorizer, &node, "get -/secrets default s1").starts_with("yes"));
    assert!(!ask(&authorizer, &node, "get -/persistentvolumes - pv").starts_with("yes"));
}

#[test]
fn a_secret_is_readable_as_long_as_one_pod_uses_it() {
    let mut authorizer = authorizer(&[pod("a", "n1", "s"), pod("b", "n1", "s")]);
    let node = User::new("system:node:n1", &["system:nodes"]);
    let may = |authorizer: &Authorizer| ask(authorizer, &node, "get -/secrets default s").starts_with("yes");
    authorizer.remove(&pod("a", "n1", "s"));
    assert!(may(&authorizer));
    authorizer.apply(&pod("b", "n1", "other"));
    assert!(!may(&authorizer));
}

#[test]
fn the_default_roles_are_those_of_kubernetes() {
    let objects = bootstrap::objects();
    let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
    assert_eq!(["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"].map(count), [64, 45, 7, 7]);
    let authorizer = authorizer(&[
        binding("default", "v", ("ClusterRole", "view"), json!([{"kind": "User", "name": "viewer"}])),
        binding("default", "e", ("ClusterRole", "edit"), json!([{"kind": "User", "name": "editor"}])),
        binding("default", "a", ("ClusterRole", "admin"), json!([{"kind": "User", "name": "admin"}])),
    ]);
    for (asked, may) in [
        ("get -/pods default a", [true, true, true]),
        ("get -/secrets default a", [false, true, true]),
        ("create apps/deployments default a", [false, true, true]),
        ("create rbac.authorization.k8s.io/roles default a", [false, false, true]),
        ("delete -/resourcequotas default a", [false, false, false]),
        ("get -/nodes - a", [false, false, false]),
    ] {
        let said =
            ["viewer", "editor", "admin"].map(|name| ask(&authorizer, &user(name), asked).starts_with("yes"));
        assert_eq!(said, may, "{asked}");
    }
    let discovery = User::new(ANONYMOUS, &[UNAUTHENTICATED]);
    assert!(ask(&authorizer, &discovery, "get /livez").starts_with("yes"));
    assert!(!ask(&authorizer, &discovery, "get /api").starts_with("yes"));
}

#[test]
fn defaults_come_back_and_additions_stay() {
    let wanted = bootstrap::objects();
    let find = |kind: &str, name: &str| {
        let is_it = |object: &&Value| object["kind"] == kind && object::name(object) == name;
        wanted.iter().find(is_it).expect("a default object").clone()
    };
    let role = find("ClusterRole", "system:node-problem-detector");
    assert_eq!(bootstrap::reconciled(&role, &role), None);
    let mut changed = role.clone();
    changed["rules"] = json!([{"verbs": ["get"], "apiGroups": ["x"], "resources": ["y"]}]);
    let mended = bootstrap::reconciled(&changed, &role).expect("rules are missing");
    assert_eq!(mended["rules"].as_array().map(Vec::len), Some(4));
    assert_eq!(bootstrap::reconciled(&mended, &role), None);
    changed["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(bootstrap::reconciled(&changed, &role), None);
    let binding = find("ClusterRoleBinding", "cluster-admin");
    let mut empty = binding.clone();
    empty["subjects"] = json!([]);
    assert_eq!(bootstrap::reconciled(&empty, &binding), Some(binding));
    for whole in &wanted {
        assert_eq!(bootstrap::reconciled(whole, whole), None, "{whole}");
    }
}

#[test]
fn reviews_are_answered_as_those_of_kubernetes() {
    let authorizer = authorizer(&[]);
    let review = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": null},
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "create", "resource": "pods"}},
    });
    let answer = |user: &User| {
        review::self_subject_access(&authorizer, user, &review).expect("valid")["status"].clone()
    };
    assert_eq!(answer(&User::new("admin", &[MASTERS])), json!({"allowed": true}));
    assert_eq!(answer(&user("bob")), json!({"allowed": false}));
    let message = |result: Result<Value, shoal_api::Status>| result.expect_err("refused").message;
    assert_eq!(
        message(review::subject_access(&authorizer, &json!({"spec": {"resourceAttributes": {}}}))),
        ".authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be specified"
    );
    assert_eq!(
        message(review::self_subject_access(&authorizer, &user("bob"), &json!({"spec": {}}))),
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
         nonResourceAttributes or resourceAttributes must be specified"
    );
    let local = json!({"metadata": {"namespace": "a"}, "spec": {"user": "bob", "resourceAttributes": {"namespace": "b"}}});
    assert_eq!(
        message(review::local_subject_access(&authorizer, "a", &local)),
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace"
    );
    assert_eq!(
        message(review::self_subject_rules(&authorizer, &user("bob"), &json!({}))),
        "no namespace on request"
    );
    let rules = json!({"spec": {"namespace": "default"}});
    let rules =
        review::self_subject_rules(&authorizer, &User::new("admin", &[MASTERS, AUTHENTICATED]), &rules)
            .expect("valid");
    assert_eq!(rules["spec"], json!({}));
    let status = &rules["status"];
    assert_eq!(
        status["resourceRules"][0],
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        "{status}"
    );
    assert_eq!(status["nonResourceRules"][2]["nonResourceURLs"][0], "/healthz");
    assert_eq!(status["incomplete"], false);
    assert_eq!(
        review::self_subject(&user("bob"), "2026-01-01T00:00:00Z")["status"],
        json!({"userInfo": {"username": "bob", "groups": ["system:authenticated"]}})
    );
}
