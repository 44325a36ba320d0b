//! Apps: the short form that people write, expanded into a Deployment, a Service and an Ingress, and kept so.
//!
//! An object that an App makes has its name and belongs to it. One of this name that belongs to somebody else is left
//! alone, and the App says so.

mod expand;
mod status;

use serde_json::{Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use super::pods::number;
use crate::known::{APP, CRON_JOB, DEPLOYMENT, INGRESS, POD, SERVICE};
use crate::plan::{Controller, Event, Interest, Key, Plan, Write};
use crate::snapshot::{Snapshot, controller_of, is_deleted};

pub use expand::LABEL;

/// Annotation of what an App made: the hash of what it asked for.
const EXPANDED: &str = "shoal.dev/expanded";

/// Fields of specs that an App may stop asking for; all others it asks for at all times.
const OPTIONAL: [&str; 1] = ["tls"];

/// Expands Apps.
pub struct Apps;

/// What an App wants of one kind; none: nothing of this kind.
struct Wanted {
    kind: &'static GroupVersionKind,
    object: Option<Value>,
}

impl Controller for Apps {
    fn name(&self) -> &'static str {
        "app-controller"
    }

    fn manager(&self) -> &'static str {
        "shoal"
    }

    fn interests(&self) -> Vec<Interest> {
        let mut interests = vec![Interest::own(&APP), Interest::of(&POD, |_, _, pod| app_of_pod(pod))];
        for kind in [&*DEPLOYMENT, &SERVICE, &INGRESS, &CRON_JOB] {
            // What an App makes has its name; so has what is in its way.
            interests.push(Interest::of(kind, |world, _, object| {
                let key = Key::new(&APP, object::namespace(object), object::name(object));
                world.get(&APP, &key.namespace, &key.name).map(|_| key).into_iter().collect()
            }));
        }
        interests
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(app) = world.get(&APP, &key.namespace, &key.name).filter(|app| !is_deleted(app)) else {
            return Plan::default();
        };
        let mut plan = Plan::default();
        let mut taken = Vec::new();
        for wanted in expand::expand(&app) {
            if let Err(why) = keep(world, &app, wanted, &mut plan) {
                taken.push(why);
            }
        }
        let failure = taken.first().map(|why| ("NameTaken", why.as_str()));
        write_status(world, &app, failure, now, &mut plan);
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, now: Moment, failures: &[Status]) -> Plan {
        let (Some(app), Some(failure)) = (world.get(&APP, &key.namespace, &key.name), failures.first())
        else {
            return Plan::default();
        };
        let mut plan = Plan::default();
        let message = format!("The app cannot be expanded: {}", failure.message);
        plan.events.push(Event::warning(&APP, &app, "FailedExpand", message.clone()));
        write_status(world, &app, Some(("FailedExpand", &message)), now, &mut plan);
        plan
    }
}

fn app_of_pod(pod: &Value) -> Vec<Key> {
    let name = object::label(pod, LABEL);
    name.map(|name| Key::new(&APP, object::namespace(pod), name)).into_iter().collect()
}

/// Makes, changes or deletes one object, so that it is as wanted.
///
/// # Errors
/// The name belongs to an object that is not of this App.
fn keep(world: &dyn Snapshot, app: &Value, wanted: Wanted, plan: &mut Plan) -> Result<(), String> {
    let Wanted { kind, object } = wanted;
    let (namespace, name) = (object::namespace(app), object::name(app));
    let known = world.get(kind, namespace, name);
    match (known, object) {
        (None, None) => {}
        (None, Some(object)) => {
            let message = format!("Created {} {name}", kind.kind);
            let event = Event::normal(&APP, app, "Created", message);
            plan.write_and_tell(Write::create(kind, object), event);
        }
        (Some(known), None) => {
            if is_ours(app, &known) && !is_deleted(&known) {
                plan.writes.push(Write::delete(kind, &known, None));
            }
        }
        (Some(known), Some(_)) if !is_ours(app, &known) => {
            return Err(format!(
                "{} {name:?} exists and does not belong to this app: delete it, or give the app another name",
                kind.kind
            ));
        }
        (Some(known), Some(object)) => {
            if !is_deleted(&known) && !is_kept(&known, &object, app) {
                plan.writes.push(Write::update(kind, updated(&known, object, app)));
            }
        }
    }
    Ok(())
}

/// Whether an App made an object: this App, not one that had its name before.
fn is_ours(app: &Value, object: &Value) -> bool {
    controller_of(object).is_some_and(|owner| owner["uid"] == *object::uid(app))
}

/// Whether an object is as its App asked: it was asked for the same, and says it still.
fn is_kept(known: &Value, wanted: &Value, app: &Value) -> bool {
    let hash = object::annotation(known, EXPANDED);
    let mut wanted_spec = wanted["spec"].clone();
    if is_scaled(app) && kept_replicas(known, app).is_some() {
        wanted_spec["replicas"] = known["spec"]["replicas"].clone();
    }
    hash == object::annotation(wanted, EXPANDED)
        && super::system::covers(&known["spec"], &wanted_spec)
        && super::system::covers(&known["metadata"]["labels"], &wanted["metadata"]["labels"])
}

/// What is not ours to say stays: what the server gave, and the number of replicas where the load decides it.
fn updated(known: &Value, mut wanted: Value, app: &Value) -> Value {
    let mut new = known.clone();
    if let Some(spec) = new["spec"].as_object_mut() {
        spec.retain(|field, _| !OPTIONAL.contains(&field.as_str()) || wanted["spec"].get(field).is_some());
    }
    if let Some(replicas) = kept_replicas(known, app).filter(|_| is_scaled(app)) {
        wanted["spec"]["replicas"] = json!(replicas);
    }
    for (field, value) in wanted["spec"].as_object().into_iter().flatten() {
        new["spec"][field] = value.clone();
    }
    for part in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][part].as_object().into_iter().flatten() {
            new["metadata"][part][key] = value.clone();
        }
    }
    new
}

fn is_scaled(app: &Value) -> bool {
    app["spec"]["scale"].is_object()
}

/// The replicas that there are, where the App allows so many.
fn kept_replicas(known: &Value, app: &Value) -> Option<i64> {
    let (least, most) = expand::bounds(app);
    known["spec"]["replicas"].as_i64().filter(|replicas| (least..=most).contains(replicas))
}

fn write_status(
    world: &dyn Snapshot,
    app: &std::sync::Arc<Value>,
    failure: Option<(&str, &str)>,
    now: Moment,
    plan: &mut Plan,
) {
    let status = status::of(world, app, failure, now);
    if app["status"] == status {
        return;
    }
    let ready = |status: &Value| number(&status["readyReplicas"]) > 0;
    if !ready(&app["status"]) && ready(&status) {
        let url = status["url"].as_str().unwrap_or_default();
        plan.events.push(Event::normal(&APP, app, "Serving", format!("The app serves at {url}")));
    }
    let mut new = Value::clone(app);
    new["status"] = status;
    plan.writes.push(Write::status(&APP, new));
}
