//! Events: what people read when they ask what happened to a pod.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use shoal_api::object;
use shoal_api::time::Moment;
use shoal_client::{Client, Patch, kinds};
use tokio::sync::mpsc;

use crate::node::now;

/// Events that wait to be written. More come only when the API is away, and then nobody reads them in time.
const QUEUE_MAX: usize = 1024;
/// Events that are remembered, to count those that say the same.
const REMEMBERED_MAX: usize = 1024;
/// Longest message of an event, as Kubernetes has it.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Takes events. Never waits.
#[derive(Clone)]
pub(crate) struct Recorder(mpsc::Sender<Happened>);

/// Something that happened to an object.
pub(crate) struct Happened {
    object: Arc<Value>,
    /// `spec.containers{web}`; empty: the object as a whole.
    field: String,
    is_warning: bool,
    reason: &'static str,
    message: String,
}

impl Recorder {
    /// A recorder, and the events that it takes.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Happened>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self(sender), receiver)
    }

    /// Something that is as it should be.
    pub(crate) fn normal(&self, object: &Arc<Value>, container: &str, reason: &'static str, message: String) {
        self.record(object, container, false, reason, message);
    }

    /// Something that somebody should look at.
    pub(crate) fn warning(
        &self,
        object: &Arc<Value>,
        container: &str,
        reason: &'static str,
        message: String,
    ) {
        self.record(object, container, true, reason, message);
    }

    fn record(
        &self,
        object: &Arc<Value>,
        container: &str,
        is_warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let field = match container {
            "" => String::new(),
            name => {
                let is_init = crate::read::named(&object["spec"]["initContainers"], name).is_some();
                format!("spec.{}{{{name}}}", if is_init { "initContainers" } else { "containers" })
            }
        };
        // A full queue means that the API is away: the log of this process has it all the same.
        let _ = self.0.try_send(Happened { object: object.clone(), field, is_warning, reason, message });
    }
}

/// What makes two events one.
type Key = (String, String, &'static str, String);

/// Writes events until nobody records any more.
pub(crate) async fn write(client: Client, node: String, mut happened: mpsc::Receiver<Happened>) {
    let mut known: HashMap<Key, (String, u32)> = HashMap::new();
    let mut last_ns = 0;
    while let Some(mut one) = happened.recv().await {
        one.message.truncate(one.message.floor_char_boundary(MESSAGE_BYTES_MAX));
        let now = now();
        let namespace = namespace(&one.object).to_owned();
        let key: Key = (object::uid(&one.object).into(), one.field.clone(), one.reason, one.message.clone());
        if let Some((name, count)) = known.get_mut(&key) {
            *count = count.saturating_add(1);
            let change = json!({"count": *count, "lastTimestamp": now.to_time()});
            let written = client.patch(&kinds::EVENTS, &namespace, name, "", &Patch::Merge(change)).await;
            if !written.is_err_and(|error| error.is_not_found()) {
                continue;
            }
        }
        // Events are listed by their names, and told by the second: those of the same second stay in order.
        last_ns = u64::try_from(now.micros()).unwrap_or_default().saturating_mul(1000).max(last_ns + 1);
        let event = event(&one, &node, now, last_ns);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        match client.create(&kinds::EVENTS, &event).await {
            Ok(made) => drop(known.insert(key, (object::name(&made).into(), 1))),
            Err(error) => tracing::debug!(%error, reason = one.reason, "an event is not written"),
        }
    }
}

/// Events of objects without a namespace are in the default one.
fn namespace(of: &Value) -> &str {
    Some(object::namespace(of)).filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

fn event(happened: &Happened, node: &str, now: Moment, number: u64) -> Value {
    let of = &*happened.object;
    let mut involved = json!({
        "kind": of["kind"], "apiVersion": of["apiVersion"], "name": object::name(of), "uid": object::uid(of),
        "resourceVersion": object::resource_version(of),
    });
    for (field, text) in [("namespace", object::namespace(of)), ("fieldPath", &happened.field)] {
        if !text.is_empty() {
            involved[field] = json!(text);
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{}.{number:016x}", object::name(of)), "namespace": namespace(of)},
        "involvedObject": involved, "reason": happened.reason, "message": happened.message,
        "type": if happened.is_warning { "Warning" } else { "Normal" },
        "source": {"component": "shoal-node", "host": node},
        "reportingComponent": "shoal-node", "reportingInstance": node,
        "firstTimestamp": now.to_time(), "lastTimestamp": now.to_time(), "count": 1,
    })
}
