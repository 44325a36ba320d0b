//! An API in memory, for tests of whoever speaks to one: objects with versions, selectors, watches, merge patches,
//! graceful deletion of pods, outages. Nothing is defaulted, validated or refused for want of rights.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use serde_json::{Value, json};
use shoal_api::selector::{field, label};
use shoal_api::time::Moment;
use shoal_api::{Status, object, patch};
use tokio::sync::watch;

use crate::{Body, Client, Error, Transport};

/// An API in memory. Clones are one API.
#[derive(Clone, Default)]
pub struct Fake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    world: Mutex<World>,
    /// Raised with each change, and when the API goes or comes back.
    wakes: watch::Sender<u64>,
}

#[derive(Default)]
struct World {
    revision: u64,
    is_away: bool,
    objects: BTreeMap<Place, Value>,
    /// Revision, place, whether it is gone, the object.
    log: Vec<(u64, Place, bool, Value)>,
    requests: Vec<String>,
}

/// Where an object is: `/api/v1` and `pods`, namespace, name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    collection: String,
    namespace: String,
    name: String,
}

impl Fake {
    /// An API without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()), "test")
    }

    /// Goes away, or comes back: while it is away every request fails and every watch ends.
    pub fn set_away(&self, is_away: bool) {
        self.0.world.lock().is_away = is_away;
        self.wake();
    }

    /// What was asked so far, as `PATCH /api/v1/nodes/one/status`.
    pub fn requests(&self) -> Vec<String> {
        self.0.world.lock().requests.clone()
    }

    /// Forgets what happened before: a watch from an older revision gets 410.
    pub fn compact(&self) {
        self.0.world.lock().log.clear();
    }

    /// Is another API without objects, whose revisions begin anew: as one that was set back to an older state.
    pub fn set_back(&self) {
        let mut world = self.0.world.lock();
        let (is_away, requests) = (world.is_away, std::mem::take(&mut world.requests));
        *world = World { is_away, requests, ..World::default() };
        drop(world);
        self.wake();
    }

    fn wake(&self) {
        self.0.wakes.send_modify(|number| *number += 1);
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Body>, Error> {
        let method = request.method();
        let path = request.uri().path();
        {
            let mut world = self.0.world.lock();
            if world.is_away {
                return Err(Error::Unreachable { server: "the fake".into(), why: "it is away".into() });
            }
            world.requests.push(format!("{method} {path}"));
        }
        let Some((place, subresource)) = Place::of(path) else {
            return Ok(whole(404, &Status::no_such_path().to_value()));
        };
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let body = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut world = self.0.world.lock();
        if query.contains_key("watch") {
            let from = revision(&query);
            if from > world.revision {
                let ahead = Status::timeout(format!("Too large resource version: {from}"));
                return Ok(whole(ahead.code, &ahead.to_value()));
            }
            drop(world);
            return Ok(self.watch(place, &query));
        }
        let before = world.revision;
        let done = match *method {
            Method::GET if place.name.is_empty() => Ok(world.list(&place, &query)),
            Method::GET => world.found(&place).cloned(),
            Method::POST if place.name.is_empty() => world.create(place, body),
            Method::PUT => world.update(&place, &subresource, body),
            Method::PATCH => world.patch(&place, &body),
            Method::DELETE => world.delete(&place, &body),
            _ => Err(Status::method_not_allowed()),
        };
        let is_changed = world.revision != before;
        drop(world);
        if is_changed {
            self.wake();
        }
        Ok(match done {
            Ok(value) => whole(200, &value),
            Err(status) => whole(status.code, &status.to_value()),
        })
    }

    fn watch(&self, place: Place, query: &BTreeMap<String, String>) -> Response<Body> {
        let from = revision(query);
        let wants = wanted(query);
        let (api, wakes) = (self.clone(), self.0.wakes.subscribe());
        let lines = stream::unfold((from, wakes, false), move |(from, mut wakes, is_over)| {
            let (api, place, wants) = (api.clone(), place.clone(), wants.clone());
            async move {
                if is_over {
                    return None;
                }
                loop {
                    wakes.borrow_and_update();
                    let (text, reached, is_over) = api.0.world.lock().since(from, &place, &wants)?;
                    if !text.is_empty() {
                        return Some((text, (reached, wakes, is_over)));
                    }
                    wakes.changed().await.ok()?;
                }
            }
        });
        let body = StreamBody::new(lines.map(|text| Ok::<_, std::io::Error>(Frame::data(Bytes::from(text)))));
        Response::new(body.boxed_unsync())
    }
}

impl Transport for Fake {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let answer = self.answer(&request);
        async move { answer }.boxed()
    }

    fn server(&self) -> &str {
        "the fake"
    }
}

impl World {
    fn found(&self, place: &Place) -> Result<&Value, Status> {
        self.objects.get(place).ok_or_else(|| place.not_found())
    }

    fn list(&self, place: &Place, query: &BTreeMap<String, String>) -> Value {
        let wants = wanted(query);
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(other, object)| place.holds(other) && wants(object))
            .map(|(_, object)| object)
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.revision.to_string()}, "items": items})
    }

    fn create(&mut self, mut place: Place, mut object: Value) -> Result<Value, Status> {
        let uid = format!("uid-{}", self.revision + 1);
        let metadata = object::metadata_mut(&mut object);
        if let Some(prefix) = metadata.get("generateName").and_then(Value::as_str).map(str::to_owned) {
            metadata.entry("name").or_insert_with(|| json!(format!("{prefix}{uid}")));
        }
        metadata.entry("uid").or_insert_with(|| json!(uid));
        metadata.entry("creationTimestamp").or_insert_with(|| json!(Moment::from_seconds(0).to_time()));
        if !place.namespace.is_empty() {
            metadata.insert("namespace".into(), json!(place.namespace));
        }
        object::name(&object).clone_into(&mut place.name);
        if self.objects.contains_key(&place) {
            return Err(Status::already_exists(place.resource(), &place.name));
        }
        Ok(self.write(place, object))
    }

    fn update(&mut self, place: &Place, subresource: &str, mut object: Value) -> Result<Value, Status> {
        let old = self.found(place)?;
        let expected = object::resource_version(&object);
        if !expected.is_empty() && expected != object::resource_version(old) {
            return Err(Status::modified(place.resource(), &place.name));
        }
        if subresource.is_empty() {
            object["status"] = old["status"].clone();
        } else {
            let mut next = old.clone();
            next[subresource] = object[subresource].take();
            object = next;
        }
        Ok(self.write(place.clone(), object))
    }

    fn patch(&mut self, place: &Place, change: &Value) -> Result<Value, Status> {
        let mut object = self.found(place)?.clone();
        let uid = &change["metadata"]["uid"];
        if uid.is_string() && *uid != object["metadata"]["uid"] {
            return Err(Status::modified(place.resource(), &place.name));
        }
        let merged = patch::merge::apply(&mut object, change.clone());
        merged.map_err(|error| error.to_status())?;
        Ok(self.write(place.clone(), object))
    }

    fn delete(&mut self, place: &Place, options: &Value) -> Result<Value, Status> {
        let mut object = self.found(place)?.clone();
        let uid = &options["preconditions"]["uid"];
        if uid.is_string() && *uid != object["metadata"]["uid"] {
            return Err(Status::modified(place.resource(), &place.name));
        }
        let default = &object["spec"]["terminationGracePeriodSeconds"];
        let grace = options["gracePeriodSeconds"].as_u64().or_else(|| default.as_u64());
        let is_bound = object["spec"]["nodeName"].is_string() && place.collection.ends_with("/pods");
        if let (true, Some(grace @ 1..)) = (is_bound, grace.or(Some(30))) {
            let metadata = object::metadata_mut(&mut object);
            metadata.insert("deletionTimestamp".into(), json!(Moment::from_seconds(0).to_time()));
            metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
            return Ok(self.write(place.clone(), object));
        }
        self.revision += 1;
        object::metadata_mut(&mut object).insert("resourceVersion".into(), json!(self.revision.to_string()));
        self.objects.remove(place);
        self.log.push((self.revision, place.clone(), true, object.clone()));
        Ok(object)
    }

    fn write(&mut self, place: Place, mut object: Value) -> Value {
        self.revision += 1;
        object::metadata_mut(&mut object).insert("resourceVersion".into(), json!(self.revision.to_string()));
        self.log.push((self.revision, place.clone(), false, object.clone()));
        self.objects.insert(place, object.clone());
        object
    }

    /// The lines of a watch after a revision, the revision that they reach, and whether they are the last; none when it
    /// is over.
    fn since(&self, from: u64, place: &Place, wants: &Wants) -> Option<(String, u64, bool)> {
        if self.is_away {
            return None;
        }
        let oldest = self.log.first().map_or(self.revision, |(revision, ..)| revision - 1);
        if from < oldest {
            let gone = Status::expired(format!("too old resource version: {from}")).to_value();
            return Some((format!("{}\n", json!({"type": "ERROR", "object": gone})), from, true));
        }
        let mut text = String::new();
        for (_, _, is_gone, object) in self
            .log
            .iter()
            .filter(|(revision, at, _, object)| *revision > from && place.holds(at) && wants(object))
        {
            let kind = if *is_gone { "DELETED" } else { "MODIFIED" };
            text.push_str(&format!("{}\n", json!({"type": kind, "object": object})));
        }
        Some((text, self.revision, false))
    }
}

impl Place {
    fn of(path: &str) -> Option<(Self, String)> {
        let mut parts = path.trim_matches('/').split('/').map(str::to_owned);
        let root = parts.next()?;
        let mut collection = match root.as_str() {
            "api" => format!("/api/{}", parts.next()?),
            "apis" => format!("/apis/{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut plural = parts.next()?;
        let mut place = Self::default();
        let rest: Vec<String> = parts.collect();
        let mut rest = rest.as_slice();
        if plural == "namespaces"
            && let [namespace, inner, more @ ..] = rest
        {
            namespace.clone_into(&mut place.namespace);
            inner.clone_into(&mut plural);
            rest = more;
        }
        collection.push('/');
        collection.push_str(&plural);
        place.collection = collection;
        place.name = rest.first().cloned().unwrap_or_default();
        Some((place, rest.get(1).cloned().unwrap_or_default()))
    }

    /// Whether an object is in this collection.
    fn holds(&self, other: &Self) -> bool {
        self.collection == other.collection
            && (self.namespace.is_empty() || self.namespace == other.namespace)
    }

    fn resource(&self) -> shoal_api::status::Resource<'_> {
        let name = self.collection.rsplit('/').next().unwrap_or_default();
        shoal_api::status::Resource { group: "", name }
    }

    fn not_found(&self) -> Status {
        Status::not_found(self.resource(), &self.name)
    }
}

/// The revision that a request begins from.
fn revision(query: &BTreeMap<String, String>) -> u64 {
    query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default()
}

type Wants = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

fn wanted(query: &BTreeMap<String, String>) -> Wants {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let labels = label::Selector::parse(text("labelSelector")).unwrap_or_else(|_| label::Selector::nothing());
    let fields = field::Selector::parse(text("fieldSelector")).unwrap_or_default();
    Arc::new(move |object| labels.matches(&object["metadata"]["labels"]) && fields.matches(object))
}

fn whole(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    let mut answer = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}
