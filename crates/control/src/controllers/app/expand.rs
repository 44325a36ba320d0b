//! What an App stands for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use shoal_api::object;
use shoal_api::quantity::Quantity;

use super::{EXPANDED, Wanted};
use crate::controllers::deployment;
use crate::controllers::pods::{managed_by, number};
use crate::known::{APP, CRON_JOB, DEPLOYMENT, INGRESS, SERVICE};
use crate::snapshot::{items, text};

/// Label of the pods of an App: its name. Its Deployment and Service select by it.
pub const LABEL: &str = "shoal.dev/app";

/// Port of an App's Service that does not say another.
const PORT: i64 = 80;

/// Most replicas of an App that does not say how many.
const REPLICAS_MAX: i64 = i32::MAX as i64;

/// How few and how many replicas an App may have.
pub(super) fn bounds(app: &Value) -> (i64, i64) {
    let scale = &app["spec"]["scale"];
    if !scale.is_object() {
        let replicas = app["spec"]["replicas"].as_i64().unwrap_or(1);
        return (replicas, replicas);
    }
    let least = scale["min"].as_i64().unwrap_or(1).max(0);
    (least, scale["max"].as_i64().unwrap_or(REPLICAS_MAX).max(least))
}

/// The objects of an App; of kinds that it does not need, none.
pub(super) fn expand(app: &Value) -> Vec<Wanted> {
    let scheduled = !text(&app["spec"]["schedule"]).is_empty();
    let routed = items(&app["spec"]["routes"]).next().is_some();
    let when = |is: bool, make: fn(&Value) -> Value| is.then(|| complete(app, &make(app)));
    vec![
        Wanted { kind: &DEPLOYMENT, object: when(!scheduled, deployment_of) },
        Wanted { kind: &SERVICE, object: when(!scheduled, service_of) },
        Wanted { kind: &INGRESS, object: when(!scheduled && routed, ingress_of) },
        Wanted { kind: &CRON_JOB, object: when(scheduled, cron_job_of) },
    ]
}

/// Names the object, its owner, and what was asked for.
fn complete(app: &Value, spec: &Value) -> Value {
    let mut labels = app["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.extend(own_labels(app));
    let hash = deployment::hash(spec, None);
    json!({
        "metadata": {
            "name": object::name(app), "namespace": object::namespace(app), "labels": labels,
            "annotations": {EXPANDED: hash}, "ownerReferences": [managed_by(&APP, app)],
        },
        "spec": spec,
    })
}

fn own_labels(app: &Value) -> Map<String, Value> {
    let name = json!(object::name(app));
    let labels = [
        ("app.kubernetes.io/managed-by", json!("shoal")),
        ("app.kubernetes.io/name", name.clone()),
        (LABEL, name),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn port(app: &Value) -> i64 {
    app["spec"]["port"].as_i64().unwrap_or(PORT)
}

fn deployment_of(app: &Value) -> Value {
    let (least, most) = bounds(app);
    json!({
        "replicas": app["spec"]["replicas"].as_i64().unwrap_or(least).clamp(least, most),
        "selector": {"matchLabels": {LABEL: object::name(app)}},
        "template": template(app, "Always"),
    })
}

fn cron_job_of(app: &Value) -> Value {
    json!({
        "schedule": app["spec"]["schedule"], "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": {"template": template(app, "OnFailure")}},
    })
}

fn template(app: &Value, restart: &str) -> Value {
    let mut labels = app["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.extend(own_labels(app));
    let mut metadata = json!({"labels": labels});
    let annotations = grants(app);
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let (mounts, volumes) = directories(app);
    let mut container = json!({"name": "app", "image": app["spec"]["component"]});
    if restart == "Always" {
        container["ports"] = json!([{"name": "http", "containerPort": port(app), "protocol": "TCP"}]);
    }
    let environment: Vec<Value> = (app["spec"]["env"].as_object().into_iter().flatten())
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    for (field, list) in [
        ("args", items(&app["spec"]["args"]).cloned().collect()),
        ("env", environment),
        ("volumeMounts", mounts),
    ] {
        if !list.is_empty() {
            container[field] = Value::Array(list);
        }
    }
    let memory = &app["spec"]["limits"]["memory"];
    if !memory.is_null() {
        // As the server keeps it, so that it is found unchanged.
        let canonical = Quantity::canonical(text(memory)).unwrap_or_else(|_| shown(memory));
        container["resources"] = json!({"limits": {"memory": canonical}});
    }
    let mut spec = json!({"containers": [container], "restartPolicy": restart});
    if !volumes.is_empty() {
        spec["volumes"] = Value::Array(volumes);
    }
    let account = text(&app["spec"]["serviceAccountName"]);
    if !account.is_empty() {
        spec["serviceAccountName"] = json!(account);
    }
    json!({"metadata": metadata, "spec": spec})
}

/// What the pods may reach and use, as the annotations that nodes read.
fn grants(app: &Value) -> BTreeMap<String, String> {
    let (grants, limits) = (&app["spec"]["grants"], &app["spec"]["limits"]);
    let mut annotations = BTreeMap::new();
    for (field, annotation) in [
        ("outbound", "shoal.dev/allow-outbound"),
        ("listen", "shoal.dev/allow-listen"),
        ("keyvalue", "shoal.dev/keyvalue"),
        ("blobstore", "shoal.dev/blobstore"),
    ] {
        let named: Vec<String> = items(&grants[field]).map(shown).collect();
        if !named.is_empty() {
            annotations.insert(annotation.to_owned(), named.join(","));
        }
    }
    for (field, annotation) in [
        ("timeout", "shoal.dev/timeout"),
        ("cpu", "shoal.dev/cpu-time"),
        ("concurrency", "shoal.dev/concurrency"),
    ] {
        if !limits[field].is_null() {
            annotations.insert(annotation.to_owned(), shown(&limits[field]));
        }
    }
    for (key, value) in grants["config"].as_object().into_iter().flatten() {
        annotations.insert(format!("config.shoal.dev/{key}"), shown(value));
    }
    annotations
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The mounts of the container, and their volumes.
fn directories(app: &Value) -> (Vec<Value>, Vec<Value>) {
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    for (at, directory) in items(&app["spec"]["grants"]["directories"]).enumerate() {
        let name = format!("directory-{at}");
        let mut mount = json!({"name": name, "mountPath": directory["path"]});
        if directory["readOnly"] == true {
            mount["readOnly"] = json!(true);
        }
        let mut volume = json!({"name": name});
        if !directory["configMap"].is_null() {
            volume["configMap"] = json!({"name": directory["configMap"]});
        } else if !directory["secret"].is_null() {
            volume["secret"] = json!({"secretName": directory["secret"]});
        } else if !directory["claim"].is_null() {
            volume["persistentVolumeClaim"] = json!({"claimName": directory["claim"]});
        } else {
            volume["emptyDir"] = json!({});
        }
        mounts.push(mount);
        volumes.push(volume);
    }
    (mounts, volumes)
}

fn service_of(app: &Value) -> Value {
    json!({
        "selector": {LABEL: object::name(app)},
        "ports": [{"name": "http", "port": port(app), "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
    })
}

fn ingress_of(app: &Value) -> Value {
    let backend = json!({"service": {"name": object::name(app), "port": {"name": "http"}}});
    let mut hosts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut secrets: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for route in items(&app["spec"]["routes"]) {
        let host = text(&route["host"]);
        let path = Some(text(&route["path"])).filter(|path| !path.is_empty()).unwrap_or("/");
        let known = hosts.entry(host).or_default();
        known.push(json!({"path": path, "pathType": "Prefix", "backend": backend}));
        let secret = text(&route["tlsSecretName"]);
        if !secret.is_empty() {
            let named = secrets.entry(secret).or_default();
            if !host.is_empty() && !named.contains(&json!(host)) {
                named.push(json!(host));
            }
        }
    }
    let rule = |(host, paths): (&str, Vec<Value>)| {
        let mut rule = json!({"http": {"paths": paths}});
        if !host.is_empty() {
            rule["host"] = json!(host);
        }
        rule
    };
    let mut spec = json!({"rules": hosts.into_iter().map(rule).collect::<Vec<_>>()});
    let tls: Vec<Value> =
        secrets.into_iter().map(|(secret, hosts)| json!({"secretName": secret, "hosts": hosts})).collect();
    if !tls.is_empty() {
        spec["tls"] = Value::Array(tls);
    }
    spec
}

/// Where an App is reached: under its first route, or within the cluster. `ingress`: the one that it made; its status says
/// where the edge is, and at which ports it takes plain requests and those over TLS.
pub(super) fn url(app: &Value, ingress: &Value) -> String {
    let Some(route) = items(&app["spec"]["routes"]).next() else {
        let port = port(app);
        let port = if port == PORT { String::new() } else { format!(":{port}") };
        return format!("http://{}.{}{port}", object::name(app), object::namespace(app));
    };
    let is_secured = !text(&route["tlsSecretName"]).is_empty();
    let (scheme, at, usual) = if is_secured { ("https", 1, 443) } else { ("http", 0, 80) };
    let edge = &ingress["status"]["loadBalancer"]["ingress"][0];
    let address = match (text(&edge["ip"]), text(&edge["hostname"])) {
        ("", "") => "localhost".to_owned(),
        ("", name) => name.to_owned(),
        (ip, _) if ip.contains(':') => format!("[{ip}]"),
        (ip, _) => ip.to_owned(),
    };
    let host = Some(text(&route["host"])).filter(|host| !host.is_empty()).unwrap_or(&address);
    let port = edge["ports"][at]["port"].as_i64().filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = Some(text(&route["path"])).filter(|path| *path != "/").unwrap_or_default();
    format!("{scheme}://{host}{port}{path}")
}

/// How many replicas an App asks for now.
pub(super) fn wanted(deployment: &Value) -> i64 {
    number(&deployment["spec"]["replicas"])
}
