//! `metrics.k8s.io`: what nodes and pods use, read from the nodes when someone asks.
//!
//! A node counts seconds of processor time; two readings of them make a rate. Readings are kept for a while, so that who
//! asks often costs the nodes little, and nobody who asks costs them nothing.

mod exposition;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::ACCEPT;
use http::{Method, Request as HttpRequest, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_api::quantity::{Format, Quantity};
use shoal_api::resources::Verb;
use shoal_api::selector::{field, label};
use shoal_api::time::Moment;
use shoal_api::{Status, object, time};
use shoal_control::known;
use shoal_control::snapshot::Snapshot as _;
use tokio::time::{Instant, timeout};

use self::exposition::{Counters, Reading};
use super::Endpoint;
use crate::answer::Answer;
use crate::api::{Api, Request};
use crate::fair;
use crate::options::ListOptions;
use crate::registry::Served;
use crate::render;

/// A reading is good for so long, as with the metrics server of Kubernetes.
const FRESH: Duration = Duration::from_secs(15);
/// A reading that is older says nothing about now: its node is read twice.
const BEFORE_MAX: Duration = Duration::from_secs(120);
/// Between two readings of a node that was not read lately: long enough to tell, short enough to wait for.
const BETWEEN: Duration = Duration::from_secs(1);
/// For one reading, once the node is reached.
const READ_TIME: Duration = Duration::from_secs(5);
/// Bytes of one reading: a node of some thousand containers.
const BYTES_MAX: usize = 8 << 20;
/// Nodes that are read at once.
const NODES_AT_ONCE: usize = 16;

/// What was read from nodes, by their names.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, Arc<tokio::sync::Mutex<History>>>>);

/// The last two readings of a node.
#[derive(Default)]
struct History {
    before: Option<(Instant, Reading)>,
    last: Option<(Instant, Reading)>,
    /// When the node was asked last, in vain or not.
    asked: Option<Instant>,
}

/// How much something uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    /// Milliseconds since 1970: the end of the interval.
    at: i64,
    /// Milliseconds of the interval.
    window: i64,
    /// Billionths of a processor.
    cpu_nanos: i64,
    memory_bytes: i64,
}

/// What the containers of a node use, by namespace, pod and container; and the node itself.
#[derive(Default)]
struct OfNode {
    node: Option<Usage>,
    containers: HashMap<(String, String), Vec<(String, Usage)>>,
}

/// Answers `get` and `list` of `nodes` and `pods`.
///
/// # Errors
/// 400: a selector that cannot be; 404: there are no metrics of this object.
pub(crate) async fn answer(api: &Arc<Api>, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = ListOptions::read(&request.query)?;
    let target = &request.target;
    let chosen = chosen(api, served, request, &options)?;
    let is_of_nodes = target.resource == "nodes";
    let nodes: HashSet<&str> = chosen
        .iter()
        .filter_map(|object| {
            if is_of_nodes { Some(object::name(object)) } else { object["spec"]["nodeName"].as_str() }
        })
        .collect();
    let nodes: Vec<String> = nodes.into_iter().map(str::to_owned).collect();
    let read = fair::outside(Box::pin(read(api, nodes))).await;
    let found: Vec<Value> = chosen
        .iter()
        .filter_map(|object| if is_of_nodes { of_node(object, &read) } else { of_pod(object, &read) })
        .collect();
    if target.verb == Verb::Get {
        let one = found.first().ok_or_else(|| Status::not_found(served.named(), &target.name))?;
        return render::value(api, served, StatusCode::OK, one, wanted);
    }
    render::values(api, served, found, &json!({}), wanted, request.include())
}

/// The nodes or pods that are asked about, in the order of their names.
fn chosen(
    api: &Api,
    served: &Served,
    request: &Request,
    options: &ListOptions,
) -> Result<Vec<Arc<Value>>, Status> {
    let bad = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
    let labels = label::Selector::parse(&options.label_selector).map_err(|error| bad(&error))?;
    let fields = field::Selector::parse(&options.field_selector)
        .and_then(|fields| fields.for_fields(&served.fields()))
        .map_err(|error| bad(&error))?;
    let (namespace, name) = (request.target.namespace.as_str(), request.target.name.as_str());
    let kind = if served.resource.namespaced { &known::POD } else { &known::NODE };
    let view = api.world.view();
    let mut all = if request.target.verb == Verb::Get {
        // Who asks for one does not have all of them read.
        view.get(kind, namespace, name).into_iter().collect()
    } else {
        view.list(kind, (!namespace.is_empty()).then_some(namespace))
    };
    all.retain(|object| labels.matches(object) && fields.matches(object));
    Ok(all)
}

/// Reads nodes as far as is needed, many at once. Nodes that cannot be read are left out.
async fn read(api: &Arc<Api>, nodes: Vec<String>) -> HashMap<String, OfNode> {
    {
        // What is known of nodes that are gone is let go.
        let view = api.world.view();
        api.nodes.usage.0.lock().retain(|node, _| view.get(&known::NODE, "", node).is_some());
    }
    let each = nodes.into_iter().map(|node| {
        let history = api.nodes.usage.0.lock().entry(node.clone()).or_default().clone();
        async move {
            let mut history = history.lock().await;
            history.renew(|| fetched(api, &node)).await;
            let used = history.usage();
            (node, used)
        }
    });
    stream::iter(each).buffer_unordered(NODES_AT_ONCE).collect().await
}

impl History {
    /// Reads the node, if what was read is too old: once where an earlier reading is at hand, else twice. Nothing is
    /// changed before all was read: whoever asks may go away meanwhile, and the next one begins anew.
    async fn renew<F: Future<Output = Option<(Instant, Reading)>>>(&mut self, fetch: impl Fn() -> F) {
        if self.asked.is_some_and(|asked| asked.elapsed() < FRESH) {
            return;
        }
        let asked = Instant::now();
        let is_recent = self.last.as_ref().is_some_and(|(at, _)| at.elapsed() < BEFORE_MAX);
        let (before, last) = if is_recent {
            let last = fetch().await;
            (self.last.take(), last)
        } else {
            match fetch().await {
                Some(before) => {
                    tokio::time::sleep(BETWEEN).await;
                    (Some(before), fetch().await)
                }
                None => (None, None),
            }
        };
        *self = Self { before, last, asked: Some(asked) };
    }

    fn usage(&self) -> OfNode {
        let (Some((_, before)), Some((_, last))) = (&self.before, &self.last) else {
            return OfNode::default();
        };
        let mut used = OfNode { node: between(before.node, last.node), ..OfNode::default() };
        for (place, now) in &last.containers {
            let was = before.containers.get(place).copied().unwrap_or_default();
            if let Some(usage) = between(was, *now) {
                let [namespace, pod, container] = place.clone();
                used.containers.entry((namespace, pod)).or_default().push((container, usage));
            }
        }
        used
    }
}

/// One reading of a node; none: it cannot be had now.
async fn fetched(api: &Arc<Api>, node: &str) -> Option<(Instant, Reading)> {
    let fetch = async {
        let endpoint = Endpoint::of(api, node)?;
        let reached = super::reach(api, &endpoint).await?;
        let late = || format!("it did not come in {} seconds", READ_TIME.as_secs());
        let reading = timeout(READ_TIME, reading(api, &endpoint, reached)).await;
        reading.unwrap_or_else(|_| Err(Status::timeout(late())))
    };
    match fetch.await {
        Ok(reading) => Some((Instant::now(), reading)),
        Err(error) => {
            tracing::warn!(node, %error, "what a node uses cannot be read");
            None
        }
    }
}

/// Reads the node at the other end of a connection.
async fn reading(
    api: &Arc<Api>,
    endpoint: &Endpoint,
    reached: super::Reached<'_>,
) -> Result<Reading, Status> {
    let request = HttpRequest::builder().method(Method::GET).uri("/metrics/resource");
    let request = request.header(ACCEPT, "text/plain").body(Full::new(Bytes::new()));
    let answer = super::send(api, endpoint, reached, request.map_err(Status::internal)?).await?;
    if !answer.status().is_success() {
        return Err(super::refusal(answer).await);
    }
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|error| Status::unavailable(error.to_string()))?.to_bytes();
    Ok(Reading::parse(&String::from_utf8_lossy(&body), api.timestamp().as_millisecond()))
}

/// What was used between two readings; none: they do not tell.
fn between(before: Counters, last: Counters) -> Option<Usage> {
    let ((was, was_at), (is, at)) = (before.cpu_seconds?, last.cpu_seconds?);
    let window = at - was_at;
    // A counter that went back began anew.
    if window <= 0 || is < was {
        return None;
    }
    let nanos = (is - was) * 1e12 / window as f64;
    let whole = |number: f64| -> Option<i64> {
        // Beyond this a float does not hold every whole number.
        (number.is_finite() && (0.0..9e15).contains(&number)).then_some(number.round() as i64)
    };
    Some(Usage { at, window, cpu_nanos: whole(nanos)?, memory_bytes: whole(last.memory_bytes?)? })
}

impl Usage {
    fn amounts(&self) -> Value {
        let cpu = Quantity::canonical(&format!("{}n", self.cpu_nanos));
        let memory = Quantity::new(self.memory_bytes, Format::BinarySi).to_string();
        json!({"cpu": cpu.unwrap_or_else(|_| "0".into()), "memory": memory})
    }
}

/// `NodeMetrics` of a node.
fn of_node(node: &Value, read: &HashMap<String, OfNode>) -> Option<Value> {
    let usage = read.get(object::name(node))?.node?;
    let mut metrics = described("NodeMetrics", node, &usage);
    metrics["usage"] = usage.amounts();
    Some(metrics)
}

/// `PodMetrics` of a pod.
fn of_pod(pod: &Value, read: &HashMap<String, OfNode>) -> Option<Value> {
    let of_node = read.get(pod["spec"]["nodeName"].as_str()?)?;
    let place = (object::namespace(pod).to_owned(), object::name(pod).to_owned());
    let mut containers = of_node.containers.get(&place)?.clone();
    containers.sort_by(|(left, _), (right, _)| left.cmp(right));
    let (_, last) = containers.iter().max_by_key(|(_, usage)| usage.at)?;
    let mut metrics = described("PodMetrics", pod, last);
    let shown = containers.iter().map(|(name, usage)| json!({"name": name, "usage": usage.amounts()}));
    metrics["containers"] = shown.collect();
    Some(metrics)
}

fn described(kind: &str, of: &Value, usage: &Usage) -> Value {
    let time = Moment::from_seconds(usage.at.div_euclid(1000)).to_time();
    let window = time::Duration(usage.window.saturating_mul(1_000_000)).to_string();
    let mut metadata = json!({"name": object::name(of), "creationTimestamp": time});
    for field in ["namespace", "labels"] {
        if let Some(value) = of["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata[field] = value.clone();
        }
    }
    json!({
        "kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata,
        "timestamp": time, "window": window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(cpu: f64, at: i64, memory: f64) -> Counters {
        Counters { cpu_seconds: Some((cpu, at)), memory_bytes: Some(memory) }
    }

    #[test]
    fn two_readings_make_a_rate() {
        let usage = between(counters(10.0, 1_000, 0.0), counters(10.5, 3_000, 2048.0)).expect("they tell");
        assert_eq!(usage, Usage { at: 3_000, window: 2_000, cpu_nanos: 250_000_000, memory_bytes: 2048 });
        assert_eq!(usage.amounts(), json!({"cpu": "250m", "memory": "2Ki"}));
        for (before, last) in [
            (counters(10.0, 1_000, 0.0), counters(10.5, 1_000, 0.0)),
            (counters(10.0, 1_000, 0.0), counters(9.0, 2_000, 0.0)),
            (Counters::default(), counters(9.0, 2_000, 0.0)),
            (counters(0.0, 1_000, 0.0), counters(f64::INFINITY, 2_000, 0.0)),
            (counters(0.0, 1_000, 0.0), Counters { memory_bytes: None, ..counters(1.0, 2_000, 0.0) }),
        ] {
            assert_eq!(between(before, last), None, "{before:?} {last:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_a_node_is_read_takes_nothing_along() {
        let readings = std::cell::Cell::new(0_i64);
        let read = || async {
            readings.set(readings.get() + 1);
            let at = readings.get();
            let node = counters(at as f64, at * 1000, 1.0);
            Some((Instant::now(), Reading { node, ..Reading::default() }))
        };
        let silent = || std::future::pending();
        let mut history = History::default();
        let gone = timeout(READ_TIME, history.renew(silent)).await;
        assert!(gone.is_err() && history.asked.is_none(), "nobody knows that it was asked");
        history.renew(read).await;
        assert_eq!((readings.get(), history.usage().node.map(|usage| usage.window)), (2, Some(1000)));
        tokio::time::advance(FRESH).await;
        let gone = timeout(READ_TIME, history.renew(silent)).await;
        assert!(gone.is_err() && history.usage().node.is_some(), "what was read is still there");
        history.renew(read).await;
        assert_eq!((readings.get(), history.usage().node.map(|usage| usage.at)), (3, Some(3000)));
        history.renew(read).await;
        assert_eq!(readings.get(), 3, "it is fresh");
    }

    #[test]
    fn metrics_look_as_those_of_the_metrics_server() {
        let usage =
            Usage { at: 1_700_000_000_500, window: 15_020, cpu_nanos: 1_234_567, memory_bytes: 5 << 20 };
        let mut of_n1 = OfNode { node: Some(usage), ..OfNode::default() };
        of_n1.containers.insert(("a".into(), "p".into()), vec![("c".into(), usage)]);
        let read = HashMap::from([("n1".to_owned(), of_n1)]);
        let pod = json!({
            "metadata": {"name": "p", "namespace": "a", "labels": {"app": "x"}}, "spec": {"nodeName": "n1"},
        });
        assert_eq!(
            of_pod(&pod, &read),
            Some(json!({
                "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {
                    "name": "p", "namespace": "a", "labels": {"app": "x"},
                    "creationTimestamp": "2023-11-14T22:13:20Z",
                },
                "timestamp": "2023-11-14T22:13:20Z", "window": "15.02s",
                "containers": [{"name": "c", "usage": {"cpu": "1234567n", "memory": "5Mi"}}],
            }))
        );
        let node = |name: &str| of_node(&json!({"metadata": {"name": name}}), &read);
        assert_eq!(node("n1").expect("it was read")["usage"]["memory"], "5Mi");
        assert_eq!(node("n2"), None);
    }
}
