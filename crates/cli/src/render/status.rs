//! What `shoal status` shows: a cluster on one screen.

mod json;

use std::fmt::Write as _;

pub use json::status_json;

use anstyle::Style;
use serde_json::Value;

use super::deploy::{Stage, app_failure, is_scheduled, stage};
use super::world::{age, condition, is_owned, items, name, namespace, number, text, trouble};
use super::{BAD, Cell, GOOD, NAME, QUIET, TITLE, WARNING, columns, plain, styled};

/// The objects that a status is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cluster<'a> {
    /// Nodes.
    pub nodes: &'a [Value],
    /// Apps.
    pub apps: &'a [Value],
    /// Deployments.
    pub deployments: &'a [Value],
    /// Jobs.
    pub jobs: &'a [Value],
    /// Pods.
    pub pods: &'a [Value],
    /// Services.
    pub services: &'a [Value],
    /// Ingresses.
    pub ingresses: &'a [Value],
    /// Events.
    pub events: &'a [Value],
}

/// Lines of one part; what is beyond is counted: all parts fit on a screen of some 50 lines.
const ROWS_MAX: usize = 15;
/// Pods in trouble that are named.
const TROUBLES_MAX: usize = 6;
/// Warnings, the last ones.
const WARNINGS_MAX: usize = 4;
/// Characters of a message: one line of a wide terminal, beside the name.
const MESSAGE_MAX: usize = 110;

/// A cluster on one screen. `now` is in seconds since 1970.
pub fn status(cluster: &Cluster<'_>, now: i64) -> String {
    let parts = [
        nodes(cluster, now),
        workloads(cluster, now),
        jobs(cluster, now),
        troubles(cluster),
        warnings(cluster, now),
    ];
    let shown: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if shown.is_empty() {
        return "nothing is here yet\n".into();
    }
    shown.join("\n")
}

/// A part with its title, the rows behind it, and how many more there are.
fn part(title: &str, note: &str, mut rows: Vec<Vec<Cell>>, max: usize) -> String {
    let more = rows.len().saturating_sub(max);
    rows.truncate(max);
    let note = if note.is_empty() { String::new() } else { format!("  {}", styled(QUIET, note)) };
    let mut shown = format!("{}{note}\n{}", styled(TITLE, title), columns("  ", &rows));
    if more > 0 {
        let _ = writeln!(shown, "  {}", styled(QUIET, &format!("and {more} more")));
    }
    shown
}

/// Whether a node says that it is ready.
pub fn is_ready(node: &Value) -> bool {
    condition(node, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

/// A quantity of memory for people; nodes say theirs in KiB.
fn memory(quantity: &str) -> String {
    let kib = quantity.strip_suffix("Ki").and_then(|number| number.parse::<u64>().ok());
    kib.and_then(|kib| kib.checked_mul(1024)).map_or_else(|| quantity.to_owned(), super::size)
}

fn nodes(cluster: &Cluster<'_>, now: i64) -> String {
    if cluster.nodes.is_empty() {
        return String::new();
    }
    let ready = cluster.nodes.iter().filter(|node| is_ready(node)).count();
    let row = |node: &Value| {
        let pods = cluster.pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name(node)).count();
        let (style, word) = match (is_ready(node), node["spec"]["unschedulable"] == true) {
            (false, _) => (BAD, "not ready"),
            (true, true) => (WARNING, "closed to new pods"),
            (true, false) => (GOOD, "ready"),
        };
        vec![
            Cell::new(NAME, plain(name(node))),
            Cell::new(style, word),
            Cell::plain(format!("{pods} pod{}", if pods == 1 { "" } else { "s" })),
            Cell::plain(plain(&format!(
                "{} cpu, {} memory",
                text(node, "/status/capacity/cpu"),
                memory(text(node, "/status/capacity/memory"))
            ))),
            Cell::new(QUIET, age(text(node, "/metadata/creationTimestamp"), now)),
        ]
    };
    let mut sorted: Vec<&Value> = cluster.nodes.iter().collect();
    sorted.sort_by_key(|node| (is_ready(node), name(node)));
    let note = format!("{ready} of {} ready", cluster.nodes.len());
    part("Nodes", &note, sorted.into_iter().map(row).collect(), ROWS_MAX)
}

/// Deployments, under the names of their Apps where they have one.
fn workloads(cluster: &Cluster<'_>, now: i64) -> String {
    if cluster.deployments.is_empty() && cluster.apps.is_empty() {
        return String::new();
    }
    let mut rows: Vec<(bool, Vec<Cell>)> =
        cluster.deployments.iter().map(|deployment| workload(cluster, deployment, now)).collect();
    let is_expanded = |app: &&Value| cluster.deployments.iter().any(|deployment| is_owned(deployment, app));
    rows.extend(cluster.apps.iter().filter(|app| !is_expanded(app)).map(|app| {
        let (state, found) = unexpanded(app);
        let reason = found.map_or("not expanded yet", |found| text(found, "/reason"));
        let style = if state == State::Failed { BAD } else { WARNING };
        (false, vec![full_name(app), Cell::new(style, "-"), Cell::new(style, plain(reason))])
    }));
    // What is not well stands first; the rest by name, as the API lists it.
    rows.sort_by_key(|(is_well, _)| *is_well);
    let well = rows.iter().filter(|(is_well, _)| *is_well).count();
    let note = format!("{well} of {} well", rows.len());
    part("Apps and Deployments", &note, rows.into_iter().map(|(_, row)| row).collect(), ROWS_MAX)
}

fn full_name(object: &Value) -> Cell {
    Cell::new(NAME, plain(&format!("{}/{}", namespace(object), name(object))))
}

fn workload(cluster: &Cluster<'_>, deployment: &Value, now: i64) -> (bool, Vec<Cell>) {
    let (wanted, ready) = replicas(deployment);
    let (state, word) = state(deployment);
    let style = match state {
        State::Serving => GOOD,
        State::Zero => QUIET,
        State::Failed => BAD,
        State::Going | State::Scheduled => WARNING,
    };
    let row = vec![
        full_name(deployment),
        Cell::new(if ready >= wanted { Style::new() } else { WARNING }, format!("{ready}/{wanted}")),
        Cell::new(style, plain(&word)),
        Cell::new(QUIET, age(text(deployment, "/metadata/creationTimestamp"), now)),
        Cell::plain(plain(
            &urls_to(cluster, deployment).iter().map(Url::shown).collect::<Vec<_>>().join(" "),
        )),
    ];
    (state.is_well(), row)
}

/// How it is with an App that has no Deployment, with the condition that says so.
fn unexpanded(app: &Value) -> (State, Option<&Value>) {
    let state = match app_failure(app) {
        Some(_) => return (State::Failed, condition(app, "Failed")),
        None if is_scheduled(app) => State::Scheduled,
        None => State::Going,
    };
    (state, condition(app, "Ready"))
}

/// How it is with a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Zero,
    Going,
    Failed,
    /// It is an App that runs by a schedule, and has no replicas.
    Scheduled,
}

impl State {
    fn is_well(self) -> bool {
        matches!(self, Self::Serving | Self::Zero)
    }
}

/// How it is with a Deployment, with a word for it.
fn state(deployment: &Value) -> (State, String) {
    match stage(deployment) {
        Stage::Done if replicas(deployment).0 == 0 => (State::Zero, "scaled to zero".into()),
        Stage::Done => (State::Serving, "serving".into()),
        Stage::Failed { reason, .. } => (State::Failed, reason),
        Stage::Going(what) => (State::Going, what),
    }
}

/// Replicas that are wanted, and those that are ready.
fn replicas(deployment: &Value) -> (i64, i64) {
    (number(deployment, "/spec/replicas"), number(deployment, "/status/readyReplicas"))
}

/// The URLs that are to lead to a workload, through the Services that select its pods.
fn urls_to(cluster: &Cluster<'_>, deployment: &Value) -> Vec<Url> {
    let services = services_of(cluster.services, deployment);
    let is_near = |ingress: &&Value| namespace(ingress) == namespace(deployment);
    let near = cluster.ingresses.iter().filter(is_near);
    near.flat_map(|ingress| urls_of(ingress, cluster.ingresses, |service| services.contains(&service)))
        .collect()
}

/// The names of the Services that select the pods of a workload.
fn services_of<'a>(services: &'a [Value], workload: &Value) -> Vec<&'a str> {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let selects = |service: &&Value| {
        let selector = service["spec"]["selector"].as_object();
        namespace(service) == namespace(workload)
            && selector.is_some_and(|wanted| {
                !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
            })
    };
    services.iter().filter(selects).map(name).collect()
}

/// A URL of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Where a host is left open, the address of the edge stands, or `*` while nobody has said where it is.
    pub url: String,
    /// The older Ingress that has this host and path, as `NAMESPACE/NAME`; then requests go there.
    pub taken_by: Option<String>,
}

impl Url {
    /// As it is shown beside others.
    fn shown(&self) -> String {
        match &self.taken_by {
            Some(other) => format!("({} is that of ingress {other})", self.url),
            None => self.url.clone(),
        }
    }
}

/// The URLs of an Ingress that lead to such a Service. `all`: the Ingresses of the cluster, as far as they are known.
pub(super) fn urls_of<'a>(ingress: &'a Value, all: &[Value], leads: impl Fn(&'a str) -> bool) -> Vec<Url> {
    let secured: Vec<&str> =
        items(ingress, "/spec/tls").flat_map(|tls| items(tls, "/hosts")).filter_map(Value::as_str).collect();
    let mut urls = Vec::new();
    for rule in items(ingress, "/spec/rules") {
        let host = text(rule, "/host");
        let is_secured = secured.contains(&host);
        let scheme = if is_secured { "https" } else { "http" };
        let place = place(ingress, host, is_secured);
        let paths = items(rule, "/http/paths").filter(|path| leads(text(path, "/backend/service/name")));
        urls.extend(paths.map(|path| Url {
            url: format!("{scheme}://{place}{}", text(path, "/path")),
            taken_by: owner(ingress, all, &route(host, path)),
        }));
    }
    urls
}

/// Host, path and whether it is exact: what no two routes share.
type Route<'a> = (&'a str, &'a str, bool);

fn route<'a>(host: &'a str, path: &'a Value) -> Route<'a> {
    let (is_exact, path) = (text(path, "/pathType") == "Exact", text(path, "/path"));
    (host, if is_exact { path } else { path.trim_end_matches('/') }, is_exact)
}

/// The Ingress that has a route of this one, where that is another: the oldest of those that an edge of Shoal serves.
fn owner(ingress: &Value, all: &[Value], wanted: &Route<'_>) -> Option<String> {
    fn age(one: &Value) -> [&str; 3] {
        [text(one, "/metadata/creationTimestamp"), namespace(one), name(one)]
    }
    let has = |one: &&Value| {
        items(one, "/spec/rules")
            .any(|rule| items(rule, "/http/paths").any(|path| route(text(rule, "/host"), path) == *wanted))
    };
    let is_served = |one: &&Value| items(one, "/status/loadBalancer/ingress").next().is_some();
    let older = all.iter().filter(|one| age(one) < age(ingress)).filter(is_served).filter(has);
    older.min_by_key(|one| age(one)).map(|one| format!("{}/{}", namespace(one), name(one)))
}

/// `HOST[:PORT]`. The status of an Ingress of Shoal names two ports: for plain requests, and for those over TLS.
fn place(ingress: &Value, host: &str, is_secured: bool) -> String {
    let reached = items(ingress, "/status/loadBalancer/ingress").next().unwrap_or(&Value::Null);
    let address = match (text(reached, "/ip"), text(reached, "/hostname")) {
        ("", "") => "*".into(),
        ("", name) => name.to_owned(),
        (ip, _) if ip.contains(':') => format!("[{ip}]"),
        (ip, _) => ip.to_owned(),
    };
    let (at, usual) = if is_secured { (1, 443) } else { (0, 80) };
    let port = reached.pointer(&format!("/ports/{at}/port")).and_then(Value::as_u64);
    let port = port.filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
    let host = if host.is_empty() { address.as_str() } else { host };
    format!("{host}{port}")
}

/// How it is with a Job, in a word.
fn job_state(job: &Value) -> &'static str {
    let has = |kind: &str| condition(job, kind).is_some_and(|found| text(found, "/status") == "True");
    match (has("Complete"), has("Failed"), job["spec"]["suspend"] == true) {
        (true, ..) => "done",
        (_, true, _) => "failed",
        (_, _, true) => "suspended",
        _ => "running",
    }
}

fn jobs(cluster: &Cluster<'_>, now: i64) -> String {
    if cluster.jobs.is_empty() {
        return String::new();
    }
    let row = |job: &Value| {
        let word = job_state(job);
        let style = match word {
            "done" => GOOD,
            "failed" => BAD,
            "suspended" => QUIET,
            _ => WARNING,
        };
        let ended =
            format!("{} of {}", number(job, "/status/succeeded"), number(job, "/spec/completions").max(1));
        vec![
            full_name(job),
            Cell::new(style, word),
            Cell::plain(ended),
            Cell::new(QUIET, age(text(job, "/metadata/creationTimestamp"), now)),
        ]
    };
    let mut sorted: Vec<&Value> = cluster.jobs.iter().collect();
    // The newest first: moments in this form are in order as texts.
    sorted.sort_by_key(|job| std::cmp::Reverse(text(job, "/metadata/creationTimestamp")));
    part("Jobs", "", sorted.into_iter().map(row).collect(), ROWS_MAX)
}

fn troubles(cluster: &Cluster<'_>) -> String {
    let rows: Vec<Vec<Cell>> = cluster
        .pods
        .iter()
        .filter_map(|pod| Some((pod, trouble(pod).filter(|trouble| !trouble.is_start)?)))
        .map(|(pod, trouble)| {
            vec![full_name(pod), Cell::new(BAD, plain(&trouble.reason)), Cell::plain(short(&trouble.message))]
        })
        .collect();
    if rows.is_empty() { String::new() } else { part("Pods in trouble", "", rows, TROUBLES_MAX) }
}

fn warnings(cluster: &Cluster<'_>, now: i64) -> String {
    let rows: Vec<Vec<Cell>> = newest_warnings(cluster.events.iter())
        .into_iter()
        .map(|event| {
            let object = &event["involvedObject"];
            let about = format!("{}/{}", text(object, "/kind").to_lowercase(), text(object, "/name"));
            vec![
                Cell::new(QUIET, age(moment(event), now)),
                Cell::new(NAME, plain(&about)),
                Cell::new(WARNING, plain(text(event, "/reason"))),
                Cell::plain(short(text(event, "/message"))),
            ]
        })
        .collect();
    if rows.is_empty() { String::new() } else { part("Last warnings", "", rows, usize::MAX) }
}

/// The last warnings, the newest first.
pub(super) fn newest_warnings<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut warnings: Vec<&Value> = events.filter(|event| text(event, "/type") == "Warning").collect();
    warnings.sort_by_key(|event| std::cmp::Reverse(moment(event)));
    warnings.truncate(WARNINGS_MAX);
    warnings
}

/// When an event was last seen; each of its kinds of writers has another field.
pub(super) fn moment(event: &Value) -> &str {
    let fields = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    fields.into_iter().map(|field| text(event, field)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// A message on one line of a screen.
fn short(message: &str) -> String {
    cut(message, MESSAGE_MAX)
}

/// A message on one line, cut where it has more characters than this.
pub(super) fn cut(message: &str, most: usize) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = plain(&line);
    match shown.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

#[cfg(test)]
mod tests;
