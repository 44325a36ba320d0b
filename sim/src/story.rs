//! Stories: what happens to a cluster, a line each, and what it shows then.
//!
//! ```text
//! nodes 3
//! deployment web replicas=3 surge=1 unavailable=0
//! tick 30
//! image web 2
//! kill node-1
//! show pods
//! ```

use std::fmt::Write as _;

use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, object};
use shoal_control::controllers::pods::is_ready;
use shoal_control::known::{DEPLOYMENT, JOB, NODE, POD};
use shoal_control::plan::Propagation;
use shoal_control::snapshot::Snapshot as _;

use crate::cluster::Cluster;
use crate::fault::Faults;

/// Where all that a story tells of lives.
pub(crate) const NAMESPACE: &str = "default";

/// Runs a story; gives it back with what each line showed below it.
///
/// # Errors
/// A line that cannot be read, or what did not hold.
pub fn tell(seed: u64, script: &str) -> Result<String, String> {
    let mut cluster = Cluster::new(seed);
    let mut told = String::new();
    for line in script.lines().filter(|line| !line.starts_with("  ")) {
        told.push_str(line);
        told.push('\n');
        let shown = act(&mut cluster, line).map_err(|why| format!("{told}! {why}"))?;
        for line in shown.lines() {
            let _ = writeln!(told, "  {line}");
        }
    }
    Ok(told)
}

/// Does what one line says; gives what it shows.
///
/// # Errors
/// The line cannot be read, or something did not hold.
pub fn act(cluster: &mut Cluster, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.parse::<i64>().map_err(|_| format!("{word:?} is no number in {line:?}"));
    match words.as_slice() {
        [] => {}
        [first, ..] if first.starts_with('#') => {}
        ["nodes", count] => {
            let before = cluster.nodes().len();
            for at in 0..usize::try_from(number(count)?).unwrap_or_default() {
                cluster.add_node(&format!("node-{}", before + at + 1));
            }
        }
        ["deployment", name, options @ ..] => {
            let deployment = deployment(name, options)?;
            cluster.user(|world| world.apply(deployment));
        }
        ["job", name, options @ ..] => {
            let job = job(name, options)?;
            cluster.user(|world| world.apply(job));
        }
        ["parallelism", name, count] => {
            let count = number(count)?;
            change(cluster, &JOB, name, |spec| spec["parallelism"] = json!(count))?;
        }
        ["suspend", name] => change(cluster, &JOB, name, |spec| spec["suspend"] = json!(true))?,
        ["continue", name] => change(cluster, &JOB, name, |spec| spec["suspend"] = json!(false))?,
        ["image", name, image] => change(cluster, &DEPLOYMENT, name, |spec| {
            spec["template"]["spec"]["containers"][0]["image"] = json!(image);
        })?,
        ["scale", name, count] => {
            let count = number(count)?;
            change(cluster, &DEPLOYMENT, name, |spec| spec["replicas"] = json!(count))?;
        }
        ["pause", name] => change(cluster, &DEPLOYMENT, name, |spec| spec["paused"] = json!(true))?,
        ["resume", name] => change(cluster, &DEPLOYMENT, name, |spec| spec["paused"] = json!(false))?,
        ["delete", name] => {
            let is_there = |kind: &&&GroupVersionKind| cluster.world.get(kind, NAMESPACE, name).is_some();
            let kinds: [&GroupVersionKind; 2] = [&DEPLOYMENT, &JOB];
            let Some(kind) = kinds.iter().find(is_there) else {
                return Err(format!("there is no deployment and no job {name:?}"));
            };
            cluster.user(|world| world.delete(kind, NAMESPACE, name, Some(Propagation::Background)));
        }
        ["tick", seconds] => cluster.tick(u64::try_from(number(seconds)?).unwrap_or_default())?,
        ["kill", name] => cluster.kill(name)?,
        ["revive", name] => cluster.revive(name)?,
        ["outage", seconds] => cluster.cut(number(seconds)?),
        ["rough"] => cluster.faults = Faults::ROUGH,
        ["calm"] => cluster.calm(),
        ["settled"] => cluster.has_settled()?,
        ["show", what] => return show(cluster, what),
        _ => return Err(format!("{line:?} is no line of a story")),
    }
    Ok(String::new())
}

fn change(
    cluster: &mut Cluster,
    kind: &GroupVersionKind,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), String> {
    if cluster.world.get(kind, NAMESPACE, name).is_none() {
        return Err(format!("there is no {} {name:?}", kind.kind));
    }
    cluster.user(|world| world.change(kind, NAMESPACE, name, |object| change(&mut object["spec"])));
    Ok(())
}

fn option(options: &[&str], name: &str, default: i64) -> Result<i64, String> {
    let given = options.iter().filter_map(|option| option.split_once('='));
    for (key, value) in given {
        if key == name {
            return value.parse().map_err(|_| format!("{value:?} is no number for {name}"));
        }
    }
    Ok(default)
}

fn template(name: &str, restart: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "containers": [{"name": "c", "image": "1", "resources": {"requests": {"cpu": "100m"}}}],
            "restartPolicy": restart,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
            ],
        },
    })
}

fn deployment(name: &str, options: &[&str]) -> Result<Value, String> {
    let strategy = if options.contains(&"recreate") {
        json!({"type": "Recreate"})
    } else {
        json!({"type": "RollingUpdate", "rollingUpdate": {
            "maxSurge": option(options, "surge", 1)?, "maxUnavailable": option(options, "unavailable", 0)?,
        }})
    };
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": option(options, "replicas", 1)?, "selector": {"matchLabels": {"app": name}},
            "minReadySeconds": option(options, "patience", 0)?, "strategy": strategy,
            "template": template(name, "Always"),
        },
    }))
}

fn job(name: &str, options: &[&str]) -> Result<Value, String> {
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "completions": option(options, "completions", 1)?, "parallelism": option(options, "parallelism", 1)?,
            "backoffLimit": 1000, "selector": {"matchLabels": {"app": name}}, "template": template(name, "Never"),
        },
    }))
}

fn show(cluster: &mut Cluster, what: &str) -> Result<String, String> {
    let world = &cluster.world;
    let (kind, line): (_, fn(&Value) -> String) = match what {
        "pods" => (&POD, pod_line),
        "deployments" => (&DEPLOYMENT, deployment_line),
        "jobs" => (&JOB, job_line),
        "nodes" => (&NODE, node_line),
        "writes" => return Ok(cluster.take_trace().iter().map(|line| format!("{line}\n")).collect()),
        _ => return Err(format!("{what:?} cannot be shown")),
    };
    Ok(world.list(kind, None).iter().map(|object| line(object) + "\n").collect())
}

fn pod_line(pod: &Value) -> String {
    format!(
        "{} image {} on {} {}{}{}",
        object::label(pod, "app").unwrap_or_default(),
        pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default(),
        pod["spec"]["nodeName"].as_str().unwrap_or("-"),
        pod["status"]["phase"].as_str().unwrap_or("Pending"),
        if is_ready(pod) { " ready" } else { "" },
        if object::deletion_timestamp(pod).is_some() { " going" } else { "" },
    )
}

fn deployment_line(deployment: &Value) -> String {
    let status = &deployment["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let told = status["conditions"].as_array().into_iter().flatten();
    let told = told.map(|one| format!(" {}={}", one["type"], one["reason"]).replace('"', ""));
    format!(
        "{} {}/{} ready, {} new, {} available{}",
        object::name(deployment),
        number("readyReplicas"),
        deployment["spec"]["replicas"],
        number("updatedReplicas"),
        number("availableReplicas"),
        told.collect::<String>(),
    )
}

fn job_line(job: &Value) -> String {
    let number = |field: &str| job["status"][field].as_i64().unwrap_or_default();
    format!(
        "{} {}/{} done, {} active, {} failed{}",
        object::name(job),
        number("succeeded"),
        job["spec"]["completions"],
        number("active"),
        number("failed"),
        if job["status"]["completionTime"].is_string() { ", complete" } else { "" },
    )
}

fn node_line(node: &Value) -> String {
    let ready = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = ready.into_iter().find(|one| one["type"] == "Ready").map(|one| one["status"].clone());
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let taints = taints.map(|one| format!(" {}:{}", one["key"], one["effect"]).replace('"', ""));
    format!(
        "{} {} {}{}",
        object::name(node),
        ready.unwrap_or_default().as_str().unwrap_or("-"),
        node["spec"]["podCIDR"].as_str().unwrap_or("-"),
        taints.collect::<String>(),
    )
}
